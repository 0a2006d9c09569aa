import { writeFile } from "node:fs/promises";
import path from "node:path";
import { type KeyPair, makeKey } from "./keys.ts";
import { type Exit, exec } from "./programs.ts";

/** What a server is set up from. Hosts' logins are the prefix and their name. */
export interface ServerFleet {
  root: string;
  prefix: string;
  /** By host, and `publisher`. */
  keys: Readonly<Record<string, KeyPair>>;
}

export async function makeServerFleet(dir: string, prefix: string, hosts: readonly string[]): Promise<ServerFleet> {
  const keys: Record<string, KeyPair> = {};
  for (const name of ["publisher", ...hosts]) keys[name] = await makeKey(path.join(dir, `key-${name}`));
  return { root: path.join(dir, "chroots"), prefix, keys };
}

/** The text of fleet.json with these hosts in it. */
export function fleetJson({ root, prefix, keys }: ServerFleet, hosts: readonly string[], more: object = {}): string {
  const server = {
    root,
    user: `${prefix}publisher`,
    publishers: [keys.publisher?.publicKey],
    loginPrefix: prefix,
    ...more,
  };
  const entries = hosts.map((host) => [host, { login: prefix + host, key: keys[host]?.publicKey }]);
  return JSON.stringify({ version: 1, server, hosts: Object.fromEntries(entries) });
}

export interface Place {
  address: string;
  port: number;
  hostKey: string;
  /** For the file of known hosts. */
  dir: string;
}

/** The options that ssh and sftp need to log in somewhere with one key and no other. */
export async function sshOptions({ address, port, hostKey, dir }: Place, key: KeyPair | undefined): Promise<string[]> {
  const knownHosts = path.join(dir, "known_hosts");
  await writeFile(knownHosts, `[${address}]:${port} ${hostKey}\n${address} ${hostKey}\n`);
  const settings = {
    UserKnownHostsFile: knownHosts,
    StrictHostKeyChecking: "yes",
    IdentitiesOnly: "yes",
    IdentityFile: key?.file ?? "none",
    BatchMode: "yes",
    Port: String(port),
  };
  return ["-F", "none", ...Object.entries(settings).flatMap(([name, value]) => ["-o", `${name}=${value}`])];
}

/** Runs a batch of sftp(1) commands as one of the fleet. */
export async function sftpAs(fleet: ServerFleet, place: Place, who: string, commands: string): Promise<Exit> {
  const options = await sshOptions(place, fleet.keys[who]);
  return exec("sftp", ["-q", "-b", "-", ...options, `${fleet.prefix}${who}@${place.address}`], { input: commands });
}
