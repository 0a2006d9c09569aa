import type { Host } from "../../fleet/fleet.ts";
import { readSecretFile, secretFile } from "../../secrets/files.ts";
import { canReceive, readersIn, readersOf } from "../../secrets/recipients.ts";
import type { Stager } from "../../tree/stage.ts";
import type { EvaluatedHost } from "../evaluation.ts";

/** A host refuses a release without a secret that its configuration declares, or with one that it can't decrypt. */
export async function secretWarnings(
  dir: string,
  stager: Stager,
  evaluated: readonly EvaluatedHost[],
): Promise<Map<Host, readonly string[]>> {
  const found = evaluated.map(async (one) => {
    const { host } = one;
    const needed = one.ok && one.agent ? (one.secrets ?? []) : [];
    const shipped = needed.length === 0 ? [] : await stager.secrets(host);
    const warnings = needed.map(async (name) => {
      const file = secretFile(host.name, name);
      if (!shipped.includes(name)) {
        return `services.bento.secrets.${name} has no ${file} in git, and the host will refuse the release: bento secret set ${host.name} ${name}`;
      }
      if (await isForAnother(dir, file, host)) {
        return `${file} is not encrypted to the host's key, and the host will refuse the release: bento secret rekey ${host.name} ${name}`;
      }
      return [];
    });
    return [host, (await Promise.all(warnings)).flat()] as const;
  });
  return new Map(await Promise.all(found));
}

/** Whether a secret's file says that the host isn't among its readers. */
async function isForAnother(dir: string, file: string, { key }: Host): Promise<boolean> {
  if (key === null || !canReceive(key)) return false;
  const content = await readSecretFile(dir, file).catch(() => null);
  const readers = content === null ? null : readersIn(content);
  return readers !== null && readersOf([key]).ssh.some((reader) => !readers.ssh.includes(reader));
}
