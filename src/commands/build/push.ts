import { FleetError, UnavailableError } from "../../errors.ts";
import { loadFleet } from "../../fleet/load.ts";
import type { CacheKey } from "../../nix/cache-key.ts";
import type { Nix } from "../../nix/nix.ts";
import { claimCache, mendCache } from "../../nix/prune-cache.ts";
import { type Pushed, push } from "../../nix/push.ts";
import { cacheDirectory, shown } from "../../nix/store-address.ts";
import { count } from "../../render/terminal.ts";
import type { PushResult } from "../../results.ts";
import type { Context } from "../context.ts";
import { sourceOf } from "./places.ts";

/** The Nix store that fleet.yaml names. @throws FleetError when it names none. */
export async function pushUrl(dir: string): Promise<string> {
  const { cache } = await loadFleet(dir);
  if (cache?.push) return cache.push;
  throw new FleetError("there is nowhere to push to: fleet.yaml has no cache.push", {
    hint: "set it, or say where: --push file:///srv/cache",
  });
}

/** Copies systems, and all that they need, to a Nix store. That it can't be is told in the result: what was built is built. */
export async function pushTo(
  context: Context,
  nix: Nix,
  { url, key, paths }: { url: string; key: CacheKey | null; paths: readonly string[] },
): Promise<PushResult> {
  const { output, signal } = context;
  const name = shown(url);
  // Of a push that fails, it is what was begun.
  let pushed: Pushed = { paths: 0, bytes: 0, signed: 0 };
  const result = (error: PushResult["error"]) => ({ url: name, ...pushed, error });
  const cache = cacheDirectory(url);
  try {
    if (cache !== null) await claimCache(cache, await sourceOf(context.env));
    pushed = await push(nix, url, paths, {
      signal,
      ...(key === null ? {} : { key }),
      onProgress: (paths) => {
        pushed = { paths, bytes: 0, signed: 0 };
        output.progress(`pushing to ${name}: ${count(paths, "path")}`);
      },
      onRetry: (error, wait) => output.info(`${name}: ${error}; trying again in ${Math.ceil(wait / 1000)} s`),
    });
    if (cache !== null) await mendCache(cache);
    return result(null);
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    const { message, hint } = error;
    return result({ message, ...(hint === undefined ? {} : { hint }) });
  } finally {
    output.done();
  }
}
