import { writeFileSync } from "node:fs";
import path from "node:path";

/** How a program reaches the server. */
export interface Target {
  address: string;
  port: number;
  login: string;
  /** The private key's file. */
  key: string;
  knownHosts: string;
  /** The directory there that is to be like `trees`. */
  directory: string;
}

/** Another program that puts trees on a server. */
export interface Peer {
  name: string;
  command(trees: string, target: Target): readonly [string, ...string[]];
  /** It sends everything each time. */
  always?: boolean;
}

/** As many at a time as each is fastest with: beyond these they gain nothing. */
const LFTP_PARALLEL = 32;
const RCLONE_TRANSFERS = 64;

export const PEERS: Readonly<Record<string, Peer>> = {
  rsync: {
    name: "rsync -a --delete",
    command: (trees, target) => {
      const from = `${trees}/`;
      const to = `${target.login}@${target.address}:${target.directory}/`;
      return ["rsync", "-a", "--delete", "-e", ["ssh", ...sshOptions(target)].join(" "), from, to];
    },
  },
  lftp: {
    name: `lftp mirror -R --parallel=${LFTP_PARALLEL}`,
    command: (trees, target) => {
      const script = [
        `set sftp:connect-program "${["ssh", "-a", "-x", ...sshOptions(target)].join(" ")}"`,
        "set net:connection-limit 0",
        `open -u ${target.login}, sftp://${target.address}`,
        `mirror -R --delete --parallel=${LFTP_PARALLEL} ${trees} ${target.directory}`,
      ];
      return ["lftp", "--norc", "-c", script.join("; ")];
    },
  },
  rclone: {
    name: `rclone sync --transfers ${RCLONE_TRANSFERS}`,
    command: (trees, { address, port, login, key, knownHosts, directory }) => [
      "rclone",
      "sync",
      ...["--config", "/dev/null", "--transfers", String(RCLONE_TRANSFERS), "--checkers", String(RCLONE_TRANSFERS)],
      ...["--sftp-host", address, "--sftp-port", String(port), "--sftp-user", login, "--sftp-key-file", key],
      ...["--sftp-known-hosts-file", knownHosts, "--sftp-disable-hashcheck"],
      trees,
      `:sftp:${directory}`,
    ],
  },
  sftp: {
    name: "sftp put -r",
    command: (trees, target) => sftp(target, [`put -r ${trees}/. ${target.directory}`], path.dirname(trees)),
    always: true,
  },
};

/** OpenSSH's sftp with these commands, which are kept in a file in `scratch`. */
export function sftp(target: Target, commands: readonly string[], scratch: string): readonly [string, ...string[]] {
  const batch = path.join(scratch, "batch");
  writeFileSync(batch, commands.map((command) => `${command}\n`).join(""));
  return ["sftp", "-q", "-b", batch, ...sshOptions(target), `${target.login}@${target.address}`];
}

function sshOptions({ port, key, knownHosts }: Target): string[] {
  return [
    ...["-F", "none", "-o", `Port=${port}`, "-i", key],
    ...["-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"],
    ...["-o", `UserKnownHostsFile=${knownHosts}`],
  ];
}
