import type { Manifest } from "./manifest.ts";
import { isSameRelease } from "./plan.ts";

/** What `rollback --to` names: a release by its sequence, a commit, or, with null, the release before. */
export type Wanted = { sequence: number } | { commit: string } | null;

/** A sequence is milliseconds since 1970, and so are no other numbers that anybody would write here. */
export function parseWanted(to: string | null): Wanted {
  if (to === null) return null;
  return /^\d{12,15}$/.test(to) ? { sequence: Number(to) } : { commit: to };
}

/**
 * The earlier release that is wanted, of those that are known; undefined when it isn't among them. `commit` may be the beginning
 * of a commit's name; of several releases of one commit it is the newest. The release before is the newest that is another than
 * the current one: a host that was rolled back and forth gets something else each time.
 */
export function chooseEarlier(current: Manifest, earlier: readonly Manifest[], wanted: Wanted): Manifest | undefined {
  const newestFirst = [...earlier].sort((a, b) => b.sequence - a.sequence);
  if (wanted === null) {
    return newestFirst.find((one) => one.sequence < current.sequence && !isSameRelease(current, one));
  }
  if ("sequence" in wanted) return newestFirst.find(({ sequence }) => sequence === wanted.sequence);
  if (!/^[0-9a-f]{7,40}$/.test(wanted.commit)) return undefined;
  return newestFirst.find(({ commit }) => commit.startsWith(wanted.commit));
}
