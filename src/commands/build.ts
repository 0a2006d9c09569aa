import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { UnavailableError } from "../errors.ts";
import { loadFleet } from "../fleet/load.ts";
import { removeOldLogs } from "../nix/build-log.ts";
import { openCacheKey } from "../nix/cache-key.ts";
import { packageChanges } from "../nix/difference.ts";
import { Nix } from "../nix/nix.ts";
import { refreshRoots } from "../nix/roots.ts";
import { signClosures } from "../nix/sign.ts";
import { cacheDirectory, isBinaryCache, requireStore, storeAddress } from "../nix/store-address.ts";
import { parallel } from "../platform/parallel.ts";
import type { CheckDocument, HostCheck } from "../results.ts";
import { failuresOf, unbuildableWarnings } from "./build/failures.ts";
import { defaultLogs, defaultRoots, noteRoots } from "./build/places.ts";
import { prune, pruneCacheOf } from "./build/prune.ts";
import { pushTo, pushUrl } from "./build/push.ts";
import { buildTargets, type Target } from "./build/targets.ts";
import { distrustOf } from "./build/trust.ts";
import { type CheckOptions, check } from "./check.ts";
import type { Context } from "./context.ts";
import { CACHE_KEY, describeKey, optionalKey } from "./keys.ts";

export interface BuildOptions extends CheckOptions {
  /** Where the gc roots of results are, a directory for each host; null for the fleet's own in the state directory. */
  roots: string | null;
  /** Remove gc roots of old systems, and of hosts that the fleet has no more. */
  prune: boolean;
  /** The file of a key that signs what was built; null for the one in the environment, if any. */
  signKey: string | null;
  /** A Nix store that gets what was built; true for `cache.push` of fleet.yaml, null for none. */
  push: string | true | null;
  /** Where the logs of builds that fail are put; null for the state directory. */
  logs: string | null;
  /** Whether this is of something that nobody has merged, such as a pull request, where no keys are; false unless told otherwise. */
  isUnmerged?: boolean;
}

/**
 * Builds the hosts' systems and keeps them alive. Hosts that can't be evaluated, or don't build, fail; the others are built.
 * Compared with a base, only those are built whose system is another one.
 */
export async function build(context: Context, options: BuildOptions): Promise<CheckDocument> {
  // 1. What is to be built; and a wrong key or address is better told before than after hours.
  const url = options.push === true ? await pushUrl(options.fleet) : options.push;
  if (url !== null) storeAddress(url);
  const source = options.signKey === null ? optionalKey(context.env, CACHE_KEY) : { file: options.signKey };
  await using key = source === undefined ? null : await openCacheKey(source, describeKey(CACHE_KEY));
  const distrust = key === null ? null : distrustOf(key, await loadFleet(options.fleet));
  if (distrust !== null) context.output.info(distrust);
  const nix = await Nix.find(options.nix, context.signal);
  if (url !== null) await requireStore(nix, url);
  const checked = await check(context, { ...options, derivations: true });
  const targets = checked.hosts.flatMap((host): Target[] => {
    const { drv, toplevel, status } = host;
    const isDue = drv !== null && toplevel !== null && status !== "failed" && status !== "unchanged";
    return isDue ? [{ host, drv, output: toplevel }] : [];
  });

  // 2. All of it, at once; and it stays.
  const roots = options.roots ?? (await defaultRoots(context.env, options.fleet));
  const unnoted = options.roots === null ? null : await noteRoots(context.env, roots);
  const { outcomes, plans, builders } = await buildTargets(context, nix, targets, roots);
  const isBuilt = ({ host }: Target) => outcomes.get(host.name)?.kind === "built";
  const built = targets.filter(isBuilt);
  const logs = options.logs ?? defaultLogs(context.env);
  const failures = await failuresOf(context, nix, outcomes, logs);

  // 3. What hosts have stays as well, where it was built here before.
  await refreshRoots(roots, checked.hosts);

  // 4. What became of each.
  const hosts = await parallel(checked.hosts, availableParallelism(), async (host): Promise<HostCheck> => {
    const error = failures.get(host.name);
    if (error !== undefined) return { ...host, status: "failed", error };
    if (outcomes.get(host.name)?.kind === "unbuildable") return { ...host, status: "skipped" };
    const plan = plans.get(host.name) ?? host.plan;
    // Now that it is built, what is in it counts, rather than what it took to build; if what was before is there, too.
    const { base, toplevel, packages } = host;
    const isKnown = packages !== null && base !== null && existsSync(base) && toplevel !== null;
    if (!isKnown || !outcomes.has(host.name)) return { ...host, plan };
    return { ...host, plan, packages: await packageChanges(nix, base, toplevel) };
  });
  const warnings = [
    ...checked.warnings,
    ...unbuildableWarnings(outcomes, builders),
    ...[distrust, unnoted].filter((warning) => warning !== null),
  ];
  const document: CheckDocument = { ...checked, command: "build", warnings, hosts };

  // 5. Hosts can have it.
  const paths = built.map(({ output }) => output);
  if (key !== null && paths.length > 0) {
    const isSigned = await signClosures(nix, key, paths);
    if (!isSigned && !(url !== null && isBinaryCache(url))) {
      throw new UnavailableError("what was built can't be signed: the Nix daemon lets only users that it trusts sign", {
        hint: "push to a binary cache (file://, s3:// or https://), where what is uploaded is signed on the way",
      });
    }
    document.signedBy = key.publicKey;
  }
  if (url !== null) {
    document.push = await pushTo(context, nix, { url, key, paths });
    if (key === null && paths.length > 0)
      warnings.push(`what is pushed is not signed, and hosts take nothing unsigned: set ${CACHE_KEY}`);
  }

  // 6. What is old goes.
  if (!options.prune) return document;
  await removeOldLogs(logs);
  const isWhole = options.hosts.length === 0 && options.shard === null;
  const { pruned, warnings: more } = await prune(context, {
    fleet: options.fleet,
    roots,
    hosts,
    isWhole,
    isUnmerged: options.isUnmerged ?? false,
  });
  const cache = url === null ? null : cacheDirectory(url);
  if (cache !== null && document.push?.error === null) {
    document.prunedCache = await pruneCacheOf(context, nix, cache, roots, more);
  }
  return { ...document, warnings: [...warnings, ...more], pruned };
}
