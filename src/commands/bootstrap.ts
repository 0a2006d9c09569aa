import { existsSync } from "node:fs";
import { copyFile, cp, mkdir } from "node:fs/promises";
import path from "node:path";
import { FleetError } from "../errors.ts";
import { loadFleet } from "../fleet/load.ts";
import { AGENT_FILE, staleFiles } from "../fleet/rendered.ts";
import { selectHosts } from "../fleet/select.ts";
import { packageRoot } from "../platform/package.ts";
import { temporaryDirectory } from "../platform/temporary.ts";
import type { BootstrapDocument } from "../results.ts";
import { archive } from "../tree/nar.ts";
import template from "./bootstrap.sh";

export interface BootstrapOptions {
  fleet: string;
  host: string;
}

/**
 * Makes the script that brings a machine into the fleet: the agent, its settings and the host's name in one file. It holds no
 * secret.
 * @throws FleetError when the host isn't in fleet.yaml, or has no key yet.
 */
export async function bootstrap(options: BootstrapOptions): Promise<BootstrapDocument> {
  const fleet = await loadFleet(options.fleet);
  const [host] = selectHosts(
    fleet.hosts.filter((candidate) => candidate.declared),
    [options.host],
  );
  if (host === undefined) throw new FleetError(`no host is called '${options.host}'`);
  if (host.key === null) {
    throw new FleetError(`${host.name} has no key in fleet.yaml yet`, {
      hint: "on the machine: cat /etc/ssh/ssh_host_ed25519_key.pub (or, without one: ssh-keygen -A), and put it there",
    });
  }
  if ((await staleFiles(fleet)).length > 0) {
    throw new FleetError(`${AGENT_FILE} is not what fleet.yaml says`, {
      hint: "run 'bento render' and commit the result",
    });
  }
  const script = template
    .replace("@host@", host.name)
    .replace("@key@", host.key.split(" ").slice(0, 2).join(" "))
    .replace("@archive@", await packedAgent(options.fleet));
  return { version: 1, command: "bootstrap", hosts: [{ name: host.name, status: "ok", script }] };
}

/** The fleet's own copy of the agent where it has one, as its hosts will; base64 of the gzipped NAR, in lines. */
async function packedAgent(fleet: string): Promise<string> {
  await using directory = await temporaryDirectory();
  const own = path.join(fleet, "utils/agent");
  const bundle = path.join(directory.path, "bento");
  await mkdir(bundle);
  await cp(existsSync(own) ? own : path.join(packageRoot(), "utils/agent"), path.join(bundle, "agent"), {
    recursive: true,
  });
  await copyFile(path.join(fleet, AGENT_FILE), path.join(bundle, "bento.json"));
  const { bytes } = await archive(bundle);
  return (bytes.toString("base64").match(/.{1,120}/g) ?? []).join("\n");
}
