import type { SshConfigDocument, SshHost } from "../results.ts";
import { renderFiles } from "./lists.ts";
import type { Paint } from "./terminal.ts";

/**
 * The text of an ssh_config(5). What stands in it was checked when fleet.yaml was read, but for percent signs, which ssh expands.
 * `knownHosts` is a file to believe beside the administrator's own.
 */
export function sshConfigText(hosts: readonly SshHost[], knownHosts: string | null): string {
  const blocks = hosts.map((host) => {
    const { name, user, address, port, key } = host;
    if (address === null) return [`# ${name}: fleet.yaml has no ssh: for it`];
    return [
      `Host ${name}`,
      `  HostName ${literal(address)}`,
      ...(user === null ? [] : [`  User ${user}`]),
      ...(port === null ? [] : [`  Port ${port}`]),
      ...(knownHosts === null || key === null
        ? []
        : [`  HostKeyAlias ${name}`, `  UserKnownHostsFile "${literal(knownHosts)}" ~/.ssh/known_hosts`]),
    ];
  });
  const head = "# The hosts of a fleet, made by 'bento ssh-config' from fleet.yaml. In ~/.ssh/config: Include FILE";
  return `${[[head], ...blocks].map((lines) => lines.join("\n")).join("\n\n")}\n`;
}

/** The text of a known_hosts file (sshd(8)): every host that has a key, by its name. */
export function knownHostsText(hosts: readonly SshHost[]): string {
  return hosts
    .filter(({ address }) => address !== null)
    .flatMap(({ name, key }) => (key === null ? [] : [`${name} ${key.split(" ").slice(0, 2).join(" ")}\n`]))
    .join("");
}

function literal(text: string): string {
  return text.replaceAll("%", "%%");
}

export function renderSshConfig({ text, files }: SshConfigDocument, isWritten: boolean, paint: Paint): string {
  return isWritten ? renderFiles(files, paint).join("\n") : text;
}
