import { access, realpath, rm } from "node:fs/promises";
import { homedir } from "node:os";
import path from "node:path";
import { FleetError, HostError } from "../errors.ts";
import type { Fleet, Host } from "../fleet/fleet.ts";
import { loadFleet } from "../fleet/load.ts";
import { selectHosts } from "../fleet/select.ts";
import { editSecret } from "../platform/editor.ts";
import { writeFileAtomically } from "../platform/files.ts";
import { Repository } from "../platform/git.ts";
import { readSecret } from "../platform/prompt.ts";
import type { SecretEditDocument, SecretListDocument, SecretResult } from "../results.ts";
import { decrypt, encrypt, MAX_SECRET } from "../secrets/age.ts";
import {
  checkSecretName,
  isSecretName,
  readSecretFile,
  SECRETS_DIR,
  secretFile,
  secretHosts,
  secretNames,
} from "../secrets/files.ts";
import { canReceive, readersIn, readersOf } from "../secrets/recipients.ts";
import type { Context } from "./context.ts";
import { failureOf } from "./evaluation.ts";

export interface SecretOptions {
  fleet: string;
  /** Names, globs and @groups; none for all. */
  hosts: readonly string[];
  name: string;
}

export interface DecryptOptions {
  /** Files of private keys, one of which can decrypt; none for the user's own ssh keys. */
  identities: readonly string[];
}

/** A host that secrets can be encrypted to. */
type Receiver = Host & { key: string };

/**
 * Encrypts a value, from standard input or the terminal, to each of the hosts and to the administrators.
 * @throws FleetError, with nothing written, when a host can't have secrets or the value is none.
 */
export async function secretSet(context: Context, options: SecretOptions): Promise<SecretEditDocument> {
  checkSecretName(options.name);
  const fleet = await loadFleet(options.fleet);
  const hosts = receivers(selectHosts(fleet.hosts, options.hosts));
  for (const host of hosts) await secretNames(fleet.dir, host.name);
  const names = hosts.map((host) => host.name).join(", ");
  const value = checkValue(
    await readSecret(`${options.name} for ${names} (it is not shown): `, MAX_SECRET, context.signal),
  );
  return edited("secret set", fleet, await write(context, fleet, hosts, options.name, value));
}

/**
 * Opens a secret in the user's editor, or a new one, and encrypts what they leave. Several hosts must have the same value.
 * @throws FleetError or HostError, with nothing written.
 */
export async function secretEdit(
  context: Context,
  options: SecretOptions & DecryptOptions,
): Promise<SecretEditDocument> {
  const { name } = options;
  checkSecretName(name);
  const fleet = await loadFleet(options.fleet);
  const hosts = receivers(selectHosts(fleet.hosts, options.hosts));
  const having = await hostsWith(fleet, hosts, name);
  const lacking = hosts.find((host) => !having.includes(host));
  if (having.length > 0 && lacking !== undefined) {
    throw new FleetError(`${lacking.name} has no secret '${name}', and ${having[0]?.name} has`, {
      hint: "edit it for those that have it, or give all of them a new value with bento secret set",
    });
  }
  const identities = having.length === 0 ? [] : await identityFiles(context, options);
  let before: Buffer = Buffer.alloc(0);
  for (const [index, host] of having.entries()) {
    const value = await open(context, fleet, secretFile(host.name, name), identities);
    if (index > 0 && !value.equals(before)) {
      throw new FleetError(`${having[0]?.name} and ${host.name} have different values of '${name}'`, {
        hint: "edit each host's own, or give all of them a new value with bento secret set",
      });
    }
    before = value;
  }
  const after = checkValue(await editSecret(context, name, before));
  if (!after.equals(before)) return edited("secret edit", fleet, await write(context, fleet, hosts, name, after));
  return edited(
    "secret edit",
    fleet,
    hosts.map((host) => [host, [result(host, name, "unchanged")]] as const),
  );
}

/** Removes a secret's files. @throws FleetError when none of the hosts has it. */
export async function secretRemove(options: SecretOptions): Promise<SecretEditDocument> {
  const { name } = options;
  const fleet = await loadFleet(options.fleet);
  const hosts = selectHosts(fleet.hosts, options.hosts);
  const having = await hostsWith(fleet, hosts, name);
  if (having.length === 0) throw nowhere(hosts, name);
  for (const host of having) await rm(path.join(fleet.dir, secretFile(host.name, name)));
  return edited(
    "secret remove",
    fleet,
    having.map((host) => [host, [result(host, name, "removed")]] as const),
  );
}

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

/**
 * Encrypts secrets anew after keys have changed: of hosts, or of administrators. One that can't be decrypted is left as it is, and
 * its host has failed.
 */
export async function secretRekey(
  context: Context,
  options: Omit<SecretOptions, "name"> & DecryptOptions & { name: string | null },
): Promise<SecretEditDocument> {
  const fleet = await loadFleet(options.fleet);
  const work: [Receiver, string[]][] = [];
  for (const host of selectHosts(fleet.hosts, options.hosts)) {
    const names = await secretNames(fleet.dir, host.name);
    const chosen = names.filter((name) => options.name === null || name === options.name);
    const [receiver] = chosen.length === 0 ? [] : receivers([host]);
    if (receiver !== undefined) work.push([receiver, chosen]);
  }
  if (work.length === 0)
    throw new FleetError("there is no such secret", { hint: "bento secret list shows all of them" });
  const identities = await identityFiles(context, options);
  const done: [Host, SecretResult[]][] = [];
  for (const [host, names] of work) {
    const results: SecretResult[] = [];
    for (const name of names) {
      results.push(await rekey(context, fleet, host, name, identities));
    }
    done.push([host, results]);
  }
  return edited("secret rekey", fleet, done);
}

async function rekey(
  context: Context,
  fleet: Fleet,
  host: Receiver,
  name: string,
  identities: readonly string[],
): Promise<SecretResult> {
  const file = secretFile(host.name, name);
  try {
    // Whether a key of age's own can read it isn't seen from outside, so only what is for ssh keys alone is left as it is.
    const [is, should] = [readersIn(await readSecretFile(fleet.dir, file)), readersOf(recipients(fleet, host))];
    if (should.others === 0 && JSON.stringify(is) === JSON.stringify(should)) return result(host, name, "unchanged");
    const value = await open(context, fleet, file, identities);
    const text = await encrypt(value, recipients(fleet, host), context.signal);
    await writeFileAtomically(path.join(fleet.dir, file), text);
    return result(host, name, "written");
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    return { ...result(host, name, "failed"), error: { file, ...failureOf(error) } };
  }
}

/** Encrypts to all of the hosts before anything is written. */
async function write(
  context: Context,
  fleet: Fleet,
  hosts: readonly Receiver[],
  name: string,
  value: Buffer,
): Promise<(readonly [Host, SecretResult[]])[]> {
  const texts: [Receiver, string][] = [];
  for (const host of hosts) texts.push([host, await encrypt(value, recipients(fleet, host), context.signal)]);
  for (const [host, text] of texts) await writeFileAtomically(path.join(fleet.dir, secretFile(host.name, name)), text);
  return hosts.map((host) => [host, [result(host, name, "written")]] as const);
}

async function open(context: Context, fleet: Fleet, file: string, identities: readonly string[]): Promise<Buffer> {
  const content = await readSecretFile(fleet.dir, file);
  try {
    return await decrypt(content, identities, context.signal);
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    throw new HostError(error.message, {
      at: { file },
      ...(error.hint === undefined ? {} : { hint: error.hint }),
      cause: error,
    });
  }
}

function recipients(fleet: Fleet, host: Receiver): string[] {
  return [host.key, ...fleet.administrators];
}

/** @throws FleetError for a host without a key that age can encrypt to. */
function receivers(hosts: readonly Host[]): Receiver[] {
  return hosts.map((host) => {
    const { key } = host;
    if (key === null) {
      throw new FleetError(`${host.name} has no key in fleet.yaml yet, and a secret is encrypted to it`, {
        hint: "on the machine: cat /etc/ssh/ssh_host_ed25519_key.pub, and put it there",
      });
    }
    if (!canReceive(key)) {
      throw new FleetError(`${host.name} has an ${key.split(" ")[0]} key, which age can't encrypt to`, {
        hint: "give it its ssh-ed25519 key: on the machine, cat /etc/ssh/ssh_host_ed25519_key.pub",
      });
    }
    return { ...host, key };
  });
}

async function hostsWith<H extends Host>(fleet: Fleet, hosts: readonly H[], name: string): Promise<H[]> {
  const having: H[] = [];
  for (const host of hosts) if ((await secretNames(fleet.dir, host.name)).includes(name)) having.push(host);
  return having;
}

function nowhere(hosts: readonly Host[], name: string): FleetError {
  const [first, ...others] = hosts.map((host) => host.name);
  const who = others.length === 0 ? `${first} has no` : `none of ${[first, ...others].join(", ")} has a`;
  return new FleetError(`${who} secret '${name}'`, { hint: "bento secret list shows what there is" });
}

/** @throws FleetError when one of those that the user named can't be read, or there is none to try. */
async function identityFiles({ cwd, env }: Context, { identities }: DecryptOptions): Promise<string[]> {
  if (identities.length === 0) {
    const usual = ["id_ed25519", "id_rsa"].map((name) => path.join(env.HOME || homedir(), ".ssh", name));
    const found = await Promise.all(
      usual.map((file) =>
        access(file).then(
          () => [file],
          () => [],
        ),
      ),
    );
    if (found.flat().length > 0) return found.flat();
    throw new FleetError(`there is no key to decrypt with: no ${usual.join(", no ")}`, {
      hint: "-i FILE says which: the private key of one of fleet.yaml's administrators",
    });
  }
  const files = identities.map((file) => path.resolve(cwd, file));
  for (const file of files) {
    await access(file).catch((error: NodeJS.ErrnoException) => {
      throw new FleetError(`the private key ${file} can't be read (${error.code})`);
    });
  }
  return files;
}

function checkValue(value: Buffer): Buffer {
  if (value.length === 0) {
    throw new FleetError("the value is empty, and nothing was written", { hint: "bento secret remove takes one away" });
  }
  if (value.length > MAX_SECRET) throw new FleetError(`a secret has at most ${MAX_SECRET / 1024 ** 2} MiB`);
  return value;
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

function result(host: Host, name: string, status: SecretResult["status"]): SecretResult {
  return { name, file: secretFile(host.name, name), status, error: null };
}

function edited(
  command: SecretEditDocument["command"],
  fleet: Fleet,
  hosts: readonly (readonly [Host, SecretResult[]])[],
): SecretEditDocument {
  const written = hosts.some(([, secrets]) => secrets.some(({ status }) => status === "written"));
  return {
    version: 1,
    command,
    hosts: hosts.map(([{ name }, secrets]) => ({
      name,
      status: secrets.some(({ status }) => status === "failed") ? "failed" : "ok",
      secrets,
    })),
    warnings:
      written && fleet.administrators.length === 0
        ? ["fleet.yaml has no administrators: nobody but the host itself can read this, to edit or to rekey it"]
        : [],
  };
}
