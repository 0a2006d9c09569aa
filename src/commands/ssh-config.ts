import path from "node:path";
import { FleetError } from "../errors.ts";
import { loadFleet } from "../fleet/load.ts";
import { selectHosts } from "../fleet/select.ts";
import { parseSshTarget } from "../fleet/ssh-target.ts";
import { writeFileAtomically } from "../platform/files.ts";
import { knownHostsText, sshConfigText } from "../render/ssh-config.ts";
import type { FileResult, SshConfigDocument, SshHost } from "../results.ts";
import type { Context } from "./context.ts";

export interface SshConfigOptions {
  fleet: string;
  hosts: readonly string[];
  /** Where the ssh_config goes; null for standard output. */
  output: string | null;
  /** Where the hosts' keys of fleet.yaml go, as host keys that ssh knows; null to leave that to the administrator's own. */
  knownHosts: string | null;
}

/**
 * An ssh_config(5) of the fleet. `key:` of fleet.yaml is what a host logs in at the server with; that its sshd shows the same, as
 * it does unless services.bento.key says otherwise, is for the administrator to say, with `knownHosts`.
 * @throws FleetError when no host can be reached by ssh, or a path can't stand in an ssh_config.
 */
export async function sshConfig(context: Context, options: SshConfigOptions): Promise<SshConfigDocument> {
  const fleet = await loadFleet(options.fleet);
  const selected = selectHosts(
    fleet.hosts.filter((host) => host.declared),
    options.hosts,
  );
  const hosts = selected.map(({ name, ssh, key }): SshHost => {
    const target = ssh === null ? null : parseSshTarget(ssh);
    if (target === null) return { name, status: "skipped", user: null, address: null, port: null, key: null };
    return { name, status: "ok", ...target, key };
  });
  if (hosts.every(({ status }) => status === "skipped")) {
    throw new FleetError("fleet.yaml says of none of these hosts how an administrator reaches it", {
      hint: "ssh: root@ADDRESS, in the host's entry",
    });
  }
  const knownHosts = options.knownHosts === null ? null : quotable(path.resolve(context.cwd, options.knownHosts));
  const text = sshConfigText(hosts, knownHosts);
  const files: FileResult[] = [];
  const write = async (file: string, content: string) => {
    await writeFileAtomically(file, content).catch((cause: NodeJS.ErrnoException) => {
      throw new FleetError(`${file} can't be written (${cause.code ?? cause.message})`, { cause });
    });
    files.push({ file, status: "written" });
  };
  // First, since the other names it.
  if (knownHosts !== null) await write(knownHosts, knownHostsText(hosts));
  if (options.output !== null) await write(path.resolve(context.cwd, options.output), text);
  return { version: 1, command: "ssh-config", hosts, text, files };
}

/** ssh_config(5) has no way to write these in a quoted path, or makes something else of them. */
function quotable(file: string): string {
  if (/["\\$\p{Cc}]/u.test(file))
    throw new FleetError(`a path with '"', '\\' or '$' can't stand in an ssh_config: ${file}`);
  return file;
}
