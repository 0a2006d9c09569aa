import { realpath } from "node:fs/promises";
import path from "node:path";
import { FleetError, HostError } from "../../errors.ts";
import type { Fleet, Host } from "../../fleet/fleet.ts";
import { loadFleet } from "../../fleet/load.ts";
import { selectHosts } from "../../fleet/select.ts";
import { Repository } from "../../platform/git.ts";
import type { SecretListDocument } from "../../results.ts";
import {
  isSecretName,
  readSecretFile,
  SECRETS_DIR,
  secretFile,
  secretHosts,
  secretNames,
} from "../../secrets/files.ts";
import { readersIn, readersOf } from "../../secrets/recipients.ts";

/** What each host has, and whether it is encrypted to those who should read it, as far as the files say it without a key. */
export async function secretList(options: { fleet: string; hosts: readonly string[] }): Promise<SecretListDocument> {
  const fleet = await loadFleet(options.fleet);
  const tracked = await trackedSecrets(fleet.dir);
  const hosts: SecretListDocument["hosts"] = [];
  for (const host of selectHosts(fleet.hosts, options.hosts)) {
    const names = await secretNames(fleet.dir, host.name);
    const secrets = names.map(async (name) => {
      const file = secretFile(host.name, name);
      const problem = await problemOf(fleet, host, name).catch(toProblem);
      const untracked = tracked !== null && !tracked.has(file);
      const status = problem === "stale" ? "stale" : problem ? "unusable" : untracked ? "untracked" : "ok";
      return { name, file, status, problem: status === "unusable" ? problem : null } as const;
    });
    hosts.push({ name: host.name, secrets: await Promise.all(secrets) });
  }
  const strangers = (await secretHosts(fleet.dir)).filter((name) => !fleet.hosts.some((host) => host.name === name));
  return {
    version: 1,
    command: "secret list",
    hosts,
    warnings: strangers.map((name) => `${SECRETS_DIR}/${name} belongs to no host: git rm -r ${SECRETS_DIR}/${name}`),
  };
}

/** What is wrong with a secret's file, as far as it shows; null when nothing is. */
async function problemOf(fleet: Fleet, host: Host, name: string): Promise<string | null> {
  if (!isSecretName(name)) return "its name is none that a secret can have";
  const is = readersIn(await readSecretFile(fleet.dir, secretFile(host.name, name)));
  if (is === null) return "it is no file of age's";
  if (host.key === null) return `${host.name} has no key in fleet.yaml yet`;
  return JSON.stringify(is) === JSON.stringify(readersOf([host.key, ...fleet.administrators])) ? null : "stale";
}

function toProblem(error: unknown): string {
  if (error instanceof HostError) return error.message;
  throw error;
}

/** The files below secrets/ that git tracks, relative to the fleet; null outside of a repository. */
async function trackedSecrets(fleet: string): Promise<Set<string> | null> {
  try {
    const repository = await Repository.open(fleet);
    const prefix = path.relative(repository.root, await realpath(fleet));
    const entries = await repository.tracked(path.posix.join(prefix, SECRETS_DIR));
    return new Set(entries.map((entry) => path.posix.relative(prefix, entry.path)));
  } catch (error) {
    if (error instanceof FleetError) return null;
    throw error;
  }
}
