import { readdir, rm, rmdir, stat } from "node:fs/promises";
import path from "node:path";
import { UnavailableError } from "../../errors.ts";
import type { Fleet } from "../../fleet/fleet.ts";
import { loadFleet } from "../../fleet/load.ts";
import type { Nix } from "../../nix/nix.ts";
import { type PrunedCache, pruneCache } from "../../nix/prune-cache.ts";
import { BUILDING, type Root, removeRoot, rootsIn } from "../../nix/roots.ts";
import { Publishers } from "../../publish/publishers.ts";
import type { HostCheck, PrunedRoot } from "../../results.ts";
import type { Context } from "../context.ts";
import { optionalKey, PUBLISHER_KEY } from "../keys.ts";
import { statusesOf } from "../status.ts";
import { waysOut } from "../ways-out.ts";
import { placesOfRoots, sourceOf } from "./places.ts";

/** Systems of each host that stay alive, beside the one that it runs. */
const KEEP = 3;
/** Milliseconds. */
const ABANDONED = 7 * 24 * 3600 * 1000;

export interface PruneOptions {
  fleet: string;
  /** The directory with a directory of gc roots for each host. */
  roots: string;
  /** The hosts that were looked at. */
  hosts: readonly Pick<HostCheck, "name" | "status" | "toplevel">[];
  /** Whether those are all that the fleet has. */
  isWhole: boolean;
  /** Whether this is of a pull request, where there need be no key to ask with. */
  isUnmerged: boolean;
}

export interface Pruned {
  pruned: PrunedRoot[];
  warnings: string[];
}

/**
 * Removes gc roots: of each host's systems all but the last three, the one that it has now, what it reports to run and what is
 * published for it, and all of hosts that the fleet has no more. What isn't known for certain stays.
 */
export async function prune(
  context: Context,
  { fleet: dir, roots, hosts, isWhole, isUnmerged }: PruneOptions,
): Promise<Pruned> {
  const fleet = await loadFleet(dir);
  const warnings: string[] = [];
  await removeAbandoned(roots);
  const running = await systemsInUse(context, fleet, isUnmerged, warnings);
  if (running === null) return { pruned: [], warnings };

  const names = new Set([...hosts, ...fleet.hosts].map(({ name }) => name));
  // A flake that can't be evaluated doesn't say which hosts it has.
  const isCertain = hosts.every(({ status }) => status !== "failed") || fleet.hosts.every((host) => host.declared);
  const selected = new Set(hosts.map(({ name }) => name));
  const pruned: PrunedRoot[] = [];
  for (const host of await directoriesIn(roots)) {
    const hasLeft = !names.has(host);
    if (hasLeft ? !isWhole : !selected.has(host)) continue;
    if (hasLeft && !isCertain) {
      warnings.push(`the roots of ${host} stay: it is not in the fleet, as far as that can be evaluated`);
      continue;
    }
    const place = path.join(roots, host);
    const keeps = running.get(host);
    if (keeps === "unknown") {
      warnings.push(`the roots of ${host} stay: what it runs is not known now`);
      continue;
    }
    const all = await rootsIn(place);
    const now = hosts.find(({ name }) => name === host)?.toplevel;
    const isOld = ({ target }: Root) => target !== now && !keeps?.has(target);
    const old = hasLeft ? all : all.slice(KEEP).filter(isOld);
    for (const root of old) {
      await removeRoot(root);
      pruned.push({ host, toplevel: root.target, hasLeft });
    }
    // Another one's file in there is none of this program's business.
    if (hasLeft) await rmdir(place).catch(() => {});
  }
  return { pruned, warnings };
}

/** Removes from a cache in a directory what no fleet's gc roots on this machine need. Why it doesn't goes to `warnings`. */
export async function pruneCacheOf(
  context: Context,
  nix: Nix,
  cache: string,
  roots: string,
  warnings: string[],
): Promise<PrunedCache> {
  const kept = async () => {
    const fleets = [roots, ...(await placesOfRoots(context.env))];
    const places = await Promise.all(
      fleets.map(async (fleet) => (await directoriesIn(fleet)).map((host) => path.join(fleet, host))),
    );
    const found = await Promise.all([...new Set(places.flat())].map(rootsIn));
    return [...new Set(found.flat().map(({ target }) => target))];
  };
  try {
    return await pruneCache(nix, cache, { kept, source: await sourceOf(context.env), now: Date.now() });
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    warnings.push(
      `--prune: nothing was removed from ${cache}: ${error.message}${error.hint ? ` (${error.hint})` : ""}`,
    );
    return { paths: 0, bytes: 0 };
  }
}

/** What each host says it runs, and what is published for it; null when nobody can be asked now. */
async function systemsInUse(
  context: Context,
  fleet: Fleet,
  isUnmerged: boolean,
  warnings: string[],
): Promise<Map<string, ReadonlySet<string> | "unknown"> | null> {
  const known = new Map<string, ReadonlySet<string> | "unknown">();
  const why =
    fleet.server === null && fleet.git === null
      ? "fleet.yaml has no server that hosts report to"
      : fleet.server !== null && optionalKey(context.env, PUBLISHER_KEY) === undefined
        ? `there is no ${PUBLISHER_KEY} to ask with`
        : null;
  // Whoever proposes a change can't give its job a key.
  if (isUnmerged && (why !== null || fleet.server === null)) return known;
  if (why !== null) {
    warnings.push(`--prune: what hosts run is not known here, as ${why}; the last ${KEEP} systems of each are kept`);
    return known;
  }
  const hosts = fleet.hosts.filter((host) => host.declared);
  try {
    await using ways = await waysOut(context, { ...fleet, git: fleet.server === null ? fleet.git : null });
    await using publishers = await Publishers.open(ways.list);
    for (const { name, state, running, published } of await statusesOf(publishers.statusSource, hosts, fleet.signers)) {
      // What is published it may not have fetched yet, and that can be an older one, such as after a rollback.
      const wanted = [running?.toplevel, published?.toplevel].filter((system) => typeof system === "string");
      if (running === null && state === "unknown") known.set(name, "unknown");
      else known.set(name, new Set(wanted));
    }
    return known;
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    const what = fleet.server === null ? "what is published" : "hosts' reports";
    warnings.push(`--prune: nothing was removed, as ${what} can't be read now: ${error.message}`);
    return null;
  }
}

async function directoriesIn(place: string): Promise<string[]> {
  const entries = await readdir(place, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  return entries.flatMap((entry) => (entry.isDirectory() && !entry.name.startsWith(".") ? entry.name : [])).sort();
}

/** What builds that were killed have left. No build takes so long. */
async function removeAbandoned(roots: string): Promise<void> {
  const names = (await readdir(roots).catch(() => [])).filter((name) => name.startsWith(BUILDING));
  for (const name of names) {
    const place = path.join(roots, name);
    const info = await stat(place).catch(() => undefined);
    if (info !== undefined && Date.now() - info.mtimeMs > ABANDONED) await rm(place, { recursive: true, force: true });
  }
}
