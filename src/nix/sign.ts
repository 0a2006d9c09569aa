import { UnavailableError } from "../errors.ts";
import type { CacheKey } from "./cache-key.ts";
import type { Nix } from "./nix.ts";

/**
 * Signs store paths, and all that they need, one by one: nothing else that is in the store is signed.
 * @throws UnavailableError when Nix can't.
 */
export async function signClosures(nix: Nix, key: CacheKey, paths: readonly string[]): Promise<void> {
  if (paths.length === 0) return;
  const run = await nix.run("nix", ["store", "sign", "--recursive", "--key-file", key.file, ...new Set(paths)]);
  if (run.status !== 0) {
    throw new UnavailableError(`what was built can't be signed: ${run.stderr.trim().split("\n").at(-1)}`);
  }
}
