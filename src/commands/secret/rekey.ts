import path from "node:path";
import { FleetError, HostError } from "../../errors.ts";
import type { Fleet, Host } from "../../fleet/fleet.ts";
import { loadFleet } from "../../fleet/load.ts";
import { selectHosts } from "../../fleet/select.ts";
import { writeFileAtomically } from "../../platform/files.ts";
import type { SecretEditDocument, SecretResult } from "../../results.ts";
import { encrypt } from "../../secrets/age.ts";
import { readSecretFile, secretFile, secretNames } from "../../secrets/files.ts";
import { readersIn, readersOf } from "../../secrets/recipients.ts";
import type { Context } from "../context.ts";
import { failureOf } from "../evaluation.ts";
import { type DecryptOptions, identityFiles, openSecret } from "./decrypting.ts";
import { type Receiver, receivers, recipients } from "./receivers.ts";
import { edited, result } from "./results.ts";

export interface RekeyOptions extends DecryptOptions {
  fleet: string;
  /** Names, globs and @groups; none for all. */
  hosts: readonly string[];
  /** Only the secrets of this name; null for all. */
  name: string | null;
}

/**
 * Encrypts secrets anew after keys have changed: of hosts, or of administrators. One that can't be decrypted is left as it is, and
 * its host has failed.
 */
export async function secretRekey(context: Context, options: RekeyOptions): Promise<SecretEditDocument> {
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
    const value = await openSecret(context, fleet, file, identities);
    const text = await encrypt(value, recipients(fleet, host), context.signal);
    await writeFileAtomically(path.join(fleet.dir, file), text);
    return result(host, name, "written");
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    return { ...result(host, name, "failed"), error: { file, ...failureOf(error) } };
  }
}
