import { FleetError } from "../../errors.ts";
import { nearest } from "../../fleet/suggest.ts";
import { inertLine } from "../../inert.ts";
import type { AttemptsAsked } from "../../publish/publisher.ts";
import { FLEET_STATES, type FleetState } from "../../results.ts";
import { EACH, type StatusOptions } from "../status.ts";

/** What a command line asks for. */
export interface StatusArguments {
  host?: string;
  log?: true;
  watch?: true;
  json?: true;
  html?: string;
  failOn?: string;
}

/** Of one host that somebody looks at. */
const ONE: AttemptsAsked = { count: 20, log: 1_000_000 };

/** @throws FleetError for options that make no sense together. */
export function statusOptions(fleet: string, hosts: readonly string[], given: StatusArguments): StatusOptions {
  const { host } = given;
  if (given.log && host === undefined) throw new FleetError("--log needs --host NAME: whose log?");
  if (given.watch && given.json) {
    throw new FleetError("--watch and --json don't go together", { hint: "run status --json as often as you like" });
  }
  if (given.watch && host !== undefined) {
    throw new FleetError("--watch shows the fleet, and --host one host", { hint: "--hosts NAME --watch watches one" });
  }
  if (host !== undefined && /[^A-Za-z0-9_-]/.test(host))
    throw new FleetError(`'${inertLine(host, 50)}' is no host's name`);
  return {
    fleet,
    hosts: host === undefined ? hosts : [host],
    failOn: given.failOn === undefined ? null : parseFailOn(given.failOn),
    attempts: host !== undefined ? ONE : given.html !== undefined ? EACH : null,
  };
}

/** What --fail-on takes: states with commas between, or `none`. @throws FleetError for anything else. */
export function parseFailOn(text: string): FleetState[] {
  if (text.trim() === "none") return [];
  const names = text.split(",").map((name) => name.trim());
  return names.map((name) => {
    const state = FLEET_STATES.find((candidate) => candidate === name);
    if (state !== undefined) return state;
    const meant = nearest(name, FLEET_STATES);
    throw new FleetError(`there is no state '${inertLine(name, 50)}' to fail on`, {
      hint: meant ? `did you mean '${meant}'?` : `the states are: ${FLEET_STATES.join(", ")}; or none`,
    });
  });
}
