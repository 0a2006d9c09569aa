import { rm } from "node:fs/promises";
import path from "node:path";
import { FleetError } from "../errors.ts";
import type { Fleet, Host } from "../fleet/fleet.ts";
import { loadFleet } from "../fleet/load.ts";
import { selectHosts } from "../fleet/select.ts";
import { editSecret } from "../platform/editor.ts";
import { writeFileAtomically } from "../platform/files.ts";
import { readSecret } from "../platform/prompt.ts";
import type { SecretEditDocument, SecretResult } from "../results.ts";
import { encrypt, MAX_SECRET } from "../secrets/age.ts";
import { checkSecretName, secretFile, secretNames } from "../secrets/files.ts";
import type { Context } from "./context.ts";
import { type DecryptOptions, identityFiles, openSecret } from "./secret/decrypting.ts";
import { type Receiver, receivers, recipients } from "./secret/receivers.ts";
import { edited, result } from "./secret/results.ts";

export interface SecretOptions {
  fleet: string;
  /** Names, globs and @groups; none for all. */
  hosts: readonly string[];
  name: string;
}

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
    const value = await openSecret(context, fleet, secretFile(host.name, name), identities);
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

function checkValue(value: Buffer): Buffer {
  if (value.length === 0) {
    throw new FleetError("the value is empty, and nothing was written", { hint: "bento secret remove takes one away" });
  }
  if (value.length > MAX_SECRET) throw new FleetError(`a secret has at most ${MAX_SECRET / 1024 ** 2} MiB`);
  return value;
}
