import { existsSync } from "node:fs";
import { copyFile, cp, mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { FleetError } from "../errors.ts";
import type { Fleet } from "../fleet/fleet.ts";
import { loadFleet } from "../fleet/load.ts";
import { AGENT_FILE, staleFiles } from "../fleet/rendered.ts";
import { hostName } from "../fleet/schema.ts";
import { selectHosts } from "../fleet/select.ts";
import { packageRoot } from "../platform/package.ts";
import { temporaryDirectory } from "../platform/temporary.ts";
import type { BootstrapDocument } from "../results.ts";
import { archive } from "../tree/nar.ts";
import template from "./bootstrap/bootstrap.sh";
import check from "./bootstrap/check.sh";
import takeover from "./bootstrap/takeover.sh";
import upgrade from "./bootstrap/upgrade.sh";
import wayBack from "./bootstrap/way-back.sh";

export interface BootstrapOptions {
  fleet: string;
  host: string;
  /** For a machine that has no key in fleet.yaml yet. */
  isNew: boolean;
}

/**
 * Makes the script that brings a machine into the fleet: the agent, its settings and the host's name in one file. It holds no
 * secret.
 * @throws FleetError when the host isn't in fleet.yaml, or has no key yet; for a new one, when it has.
 */
export async function bootstrap(options: BootstrapOptions): Promise<BootstrapDocument> {
  const fleet = await loadFleet(options.fleet);
  const { name, key, enter } = options.isNew ? newHost(fleet, options.host) : knownHost(fleet, options.host);
  if ((await staleFiles(fleet)).length > 0) {
    throw new FleetError(`${AGENT_FILE} is not what fleet.yaml says`, {
      hint: "run 'bento render' and commit the result",
    });
  }
  const script = template
    .replace("@host@", name)
    .replace("@key@", key)
    .replace("@enter@", enter)
    .replace("@server@", fleet.server?.address ?? "")
    .replace("@archive@", await packedAgent(options.fleet));
  return { version: 1, command: "bootstrap", hosts: [{ name, status: "ok", script }] };
}

/** What a script is made for. */
interface Target {
  name: string;
  /** The key that fleet.yaml has, without its comment; empty where it has none. */
  key: string;
  /** The command that enters the machine's key into fleet.yaml, but for the key; empty where that is a line to be written there. */
  enter: string;
}

function knownHost(fleet: Fleet, name: string): Target {
  const [host] = selectHosts(
    fleet.hosts.filter((candidate) => candidate.declared),
    [name],
  );
  if (host === undefined) throw new FleetError(`no host is called '${name}'`);
  if (host.key === null) {
    throw new FleetError(`${host.name} has no key in fleet.yaml yet`, {
      hint: `bento bootstrap ${host.name} --new | ssh root@${host.name} sh says which line it must have`,
    });
  }
  return { name: host.name, key: withoutComment(host.key), enter: "" };
}

function newHost(fleet: Fleet, name: string): Target {
  const valid = hostName.safeParse(name);
  if (!valid.success) throw new FleetError(`'${name}' ${valid.error.issues[0]?.message ?? "is no host name"}`);
  const host = fleet.hosts.find((candidate) => candidate.name === name);
  if (host?.declared && host.key !== null) {
    throw new FleetError(`${name} has a key in fleet.yaml already`, { hint: `bento bootstrap ${name}, without --new` });
  }
  return { name, key: "", enter: host?.declared ? "" : `bento host add ${name}` };
}

function withoutComment(key: string): string {
  return key.split(" ").slice(0, 2).join(" ");
}

/** What goes beside the agent: see bootstrap/upgrade.sh, which runs it. */
const PROGRAMS: Readonly<Record<string, string>> = {
  upgrade,
  "takeover.sh": takeover,
  "way-back": wayBack,
  "checks/agent-reaches-server": check,
};

/** The fleet's own copy of the agent where it has one, as its hosts will, and what runs it; base64 of the gzipped NAR, in lines. */
async function packedAgent(fleet: string): Promise<string> {
  await using directory = await temporaryDirectory();
  const own = path.join(fleet, "utils/agent");
  const bundle = path.join(directory.path, "bento");
  await mkdir(bundle);
  await cp(existsSync(own) ? own : path.join(packageRoot(), "utils/agent"), path.join(bundle, "agent"), {
    recursive: true,
  });
  await copyFile(path.join(fleet, AGENT_FILE), path.join(bundle, "bento.json"));
  await mkdir(path.join(bundle, "checks"));
  for (const [name, text] of Object.entries(PROGRAMS)) {
    await writeFile(path.join(bundle, name), text, { mode: 0o755 });
  }
  const { bytes } = await archive(bundle);
  return (bytes.toString("base64").match(/.{1,120}/g) ?? []).join("\n");
}
