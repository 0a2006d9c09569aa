import { FleetError } from "../errors.ts";
import { loadFleet } from "../fleet/load.ts";
import { selectHosts } from "../fleet/select.ts";
import { packageChanges } from "../nix/difference.ts";
import { Nix, type NixPassthrough } from "../nix/nix.ts";
import { parallel } from "../platform/parallel.ts";
import type { DiffDocument, HostDiff } from "../results.ts";
import { compareWith } from "./check/base.ts";
import type { Context } from "./context.ts";
import { nothing } from "./diff/nothing.ts";
import { againstRunning } from "./diff/running.ts";
import { type EvaluatedHost, type Evaluator, evaluateFleet, openMemory, withFlakeHosts } from "./evaluation.ts";
import { type OpenFleet, openFleet } from "./open-fleet.ts";
import { status } from "./status.ts";

export interface DiffOptions {
  fleet: string;
  hosts: readonly string[];
  /** A git ref to compare with, rather than with what hosts run. */
  base: string | null;
  /** Take in what git doesn't track. */
  dirty: boolean;
  nix: NixPassthrough;
  /** Milliseconds for one host's evaluation. */
  timeout: number;
}

/**
 * Says which packages of hosts would be others than those that they run, by their heartbeats, if what the repository has were
 * deployed; with `base`, others than at that commit.
 * @throws FleetError, UnavailableError; what can't be told of a single host is in its result.
 */
export async function diff(context: Context, options: DiffOptions): Promise<DiffDocument> {
  // 1. What would be deployed.
  const loaded = await loadFleet(options.fleet);
  if (options.base === null && loaded.server === null) {
    throw new FleetError("without a server there is nobody to ask what hosts run", {
      hint: "--base REF compares with what the repository had at a commit",
    });
  }
  await using open = await openFleet(loaded, options);
  const commit = options.base === null ? null : await open.repository.commitOf(options.base);
  const nix = await Nix.find(options.nix, context.signal);
  const memory = openMemory(context.env);
  const evaluator = { context, nix, stager: open.stager, memory, derivations: true, limits: options };
  const fleet = await withFlakeHosts(open.fleet, evaluator);
  const all = options.base === null ? fleet.hosts.filter(({ declared }) => declared) : fleet.hosts;
  const hosts = selectHosts(all, options.hosts);
  const names = hosts.map(({ name }) => name);

  // 2. What runs; asked first, since a connection that can't be made is better told before than after the evaluation.
  const said =
    commit === null
      ? await status(context, { fleet: options.fleet, hosts: names, failOn: null, attempts: null })
      : null;
  const statuses = new Map(said?.hosts.map((host) => [host.name, host]));
  const evaluated = await evaluateFleet(evaluator, hosts);

  // 3. What is different.
  const found =
    commit === null
      ? await againstRunning(
          { evaluator, open, substituters: loaded.substituters.map(({ url }) => url) },
          evaluated,
          statuses,
        )
      : await againstCommit(evaluator, open, commit, evaluated);
  context.output.done();
  return {
    version: 1,
    command: "diff",
    base: options.base,
    warnings: [...open.warnings, ...fleet.warnings],
    hosts: found,
  };
}

/** By what it takes to build the systems. */
async function againstCommit(
  evaluator: Evaluator,
  open: OpenFleet,
  commit: string,
  evaluated: readonly EvaluatedHost[],
): Promise<HostDiff[]> {
  const compared = await compareWith(evaluator, open, commit, evaluated);
  return parallel(compared, 4, async ({ now, before }): Promise<HostDiff> => {
    const result = nothing(now);
    if (!now.ok) return result;
    if (before === null)
      return { ...result, status: "changed", reason: "there was no such host, or it could not be evaluated" };
    const found = { ...result, from: before.toplevel };
    if (before.toplevel === now.toplevel) return found;
    const packages = await packageChanges(evaluator.nix, before.drv, now.drv);
    return { ...found, status: "changed", packages };
  });
}
