import { UnavailableError } from "../errors.ts";
import type { CacheKey } from "./cache-key.ts";
import { lastSaid } from "./failure-message.ts";
import type { Nix } from "./nix.ts";

/**
 * Signs store paths, and all that they need, one by one: nothing else that is in the store is signed. Gives false when the Nix
 * daemon doesn't let this user: signatures are then only where paths are pushed to with the key.
 * @throws UnavailableError when Nix can't for another reason.
 */
export async function signClosures(nix: Nix, key: CacheKey, paths: readonly string[]): Promise<boolean> {
  if (paths.length === 0) return true;
  const run = await nix.run("nix", ["store", "sign", "--recursive", "--key-file", key.file, ...new Set(paths)]);
  if (/not privileged to add signatures/.test(run.stderr)) return false;
  if (run.status !== 0) {
    throw new UnavailableError(`what was built can't be signed: ${lastSaid(run.stderr)}`);
  }
  return true;
}
