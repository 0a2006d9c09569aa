import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { FleetError } from "../errors.ts";
import { KEY_NAME, makeCacheKey } from "../nix/cache-key.ts";
import { makeDirectory } from "../platform/files.ts";
import { Repository } from "../platform/git.ts";
import { run } from "../platform/process.ts";
import { needsOpenSsh } from "../release/keys.ts";
import type { KeygenDocument } from "../results.ts";
import type { Context } from "./context.ts";

export interface KeygenOptions {
  /** The directory that the keys are put into; made when it isn't there. */
  directory: string;
  /** The name of a binary cache's key, such as `cache.example.org-1`: then only that is made. */
  cache: string | null;
}

/**
 * Makes the two keys of a fleet's CI: one that signs releases, one that logs in at the server to publish them. Or the key that
 * signs what is in its binary cache.
 * @throws FleetError when a key is there already, or the directory is in a git repository.
 */
export async function keygen(context: Context, options: KeygenOptions): Promise<KeygenDocument> {
  const directory = path.resolve(context.cwd, options.directory);
  const repository = await Repository.open(nearestExisting(directory)).catch(() => null);
  if (repository !== null) {
    throw new FleetError(
      `${directory} is in the git repository ${repository.root}, where a private key is one commit from being public`,
      {
        hint: "choose a directory elsewhere: bento keygen ~/bento-keys",
      },
    );
  }
  if (options.cache !== null && !KEY_NAME.test(options.cache)) {
    throw new FleetError(`'${options.cache}' can't be the name of a cache's key`, {
      hint: "letters, digits, '.', '_' and '-', such as cache.example.org-1",
    });
  }
  const names = options.cache === null ? (["signing", "publisher"] as const) : (["cache"] as const);
  for (const name of names) {
    const file = path.join(directory, name);
    if (existsSync(file))
      throw new FleetError(`${file} is there already`, {
        hint: "keys are never overwritten: choose another directory",
      });
  }
  await makeDirectory(directory, 0o700);
  const keys: KeygenDocument["keys"] = [];
  for (const name of names) {
    const file = path.join(directory, name);
    if (options.cache !== null) {
      const { secretKey, publicKey } = makeCacheKey(options.cache);
      await writeFile(file, `${secretKey}\n`, { mode: 0o600, flag: "wx" });
      await writeFile(`${file}.pub`, `${publicKey}\n`, { flag: "wx" });
      keys.push({ name, file, publicKey });
      continue;
    }
    const result = await run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", `bento-${name}`, "-f", file]).catch(
      needsOpenSsh,
    );
    if (result.status !== 0) throw new FleetError(`ssh-keygen could not make ${file}: ${result.stderr.trim()}`);
    keys.push({ name, file, publicKey: (await readFile(`${file}.pub`, "utf8")).trim() });
  }
  return { version: 1, command: "keygen", keys };
}

/** The directory itself, or the one that it would be made in. */
function nearestExisting(directory: string): string {
  return existsSync(directory) ? directory : nearestExisting(path.dirname(directory));
}
