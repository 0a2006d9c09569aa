import { access } from "node:fs/promises";
import path from "node:path";
import { FleetError, HostError } from "../../errors.ts";
import type { Fleet } from "../../fleet/fleet.ts";
import { homeOf } from "../../platform/user-directories.ts";
import { decrypt } from "../../secrets/age.ts";
import { readSecretFile } from "../../secrets/files.ts";
import type { Context } from "../context.ts";

export interface DecryptOptions {
  /** Files of private keys, one of which can decrypt; none for the user's own ssh keys. */
  identities: readonly string[];
}

/** @throws FleetError when one of those that the user named can't be read, or there is none to try. */
export async function identityFiles({ cwd, env }: Context, { identities }: DecryptOptions): Promise<string[]> {
  if (identities.length === 0) {
    const usual = ["id_ed25519", "id_rsa"].map((name) => path.join(homeOf(env), ".ssh", name));
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

/** What is in a secret's file, which is named relative to the fleet. @throws HostError with that name. */
export async function openSecret(
  context: Context,
  fleet: Fleet,
  file: string,
  identities: readonly string[],
): Promise<Buffer> {
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
