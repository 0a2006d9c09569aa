import { existsSync } from "node:fs";
import { FleetError, formatLocation } from "../../errors.ts";
import type { Fleet, Host } from "../../fleet/fleet.ts";
import { addFlakeHosts } from "../../fleet/load.ts";
import type { System } from "../../nix/evaluate.ts";
import type { Stager } from "../../tree/stage.ts";
import { type EvaluatedHost, type Evaluator, evaluateFleet } from "../evaluation.ts";
import { type OpenFleet, openFleetAt } from "../open-fleet.ts";

export interface BaseOptions {
  /** A git ref to compare with. */
  base: string | null;
  /** Check without comparing, rather than fail, when the clone doesn't have `base`. */
  baseOptional?: boolean;
}

/** The commit to compare with, null for none. */
export async function baseCommit(
  { repository }: OpenFleet,
  { base, baseOptional }: BaseOptions,
  warnings: string[],
): Promise<string | null> {
  if (base === null) return null;
  try {
    return await repository.commitOf(base);
  } catch (error) {
    if (!baseOptional || !(error instanceof FleetError)) throw error;
    warnings.push(`nothing is compared: ${error.message} (${error.hint})`);
    return null;
  }
}

/** A host's system now and at the base. */
export interface Comparison {
  now: EvaluatedHost;
  /** Null where the base had no such host, or one that could not be evaluated. */
  before: System | null;
}

/**
 * Each host's system at another commit. A host whose files were the same isn't evaluated again; those whose system differs have
 * their derivations in the store afterwards, now and then, so that they can be compared.
 */
export async function compareWith(
  evaluator: Evaluator,
  open: OpenFleet,
  commit: string,
  now: readonly EvaluatedHost[],
): Promise<Comparison[]> {
  await using base = await openFleetAt(open, commit);
  return await compareAt(evaluator, base, commit, now);
}

async function compareAt(
  evaluator: Evaluator,
  base: OpenFleet,
  commit: string,
  now: readonly EvaluatedHost[],
): Promise<Comparison[]> {
  const { stager } = base;
  const atBase = { ...evaluator, stager };

  const hosts = await hostsAt(base.fleet, now);
  const others: Host[] = [];
  for (const [{ host, ok }, then] of hosts) {
    if (then !== undefined && !(ok && (await isSame(evaluator.stager, host, stager, then)))) others.push(then);
  }
  evaluator.context.output.info(
    `comparing with ${commit.slice(0, 12)}: ${others.length} of ${now.length} hosts differ in their files`,
  );
  const evaluated = new Map((await evaluateFleet(atBase, others)).map((result) => [result.host, result]));
  const systemThen = (result: EvaluatedHost, then: Host | undefined): System | null => {
    if (then === undefined) return null;
    const before = evaluated.get(then);
    if (before === undefined) return result.ok ? result : null;
    return before.ok ? before : null;
  };
  const compared = hosts.map(([result, then]) => ({ now: result, then, before: systemThen(result, then) }));

  // What was only remembered has no derivation any more, perhaps; without it nobody could say what is different.
  const isGone = ({ now, before }: Comparison) =>
    now.ok && before !== null && now.toplevel !== before.toplevel && !(existsSync(now.drv) && existsSync(before.drv));
  const gone = compared.filter(isGone);
  const again = await evaluateFleet(
    { ...evaluator, memory: null },
    gone.map(({ now }) => now.host),
  );
  const thenAgain = await evaluateFleet(
    { ...atBase, memory: null },
    gone.flatMap(({ then }) => then ?? []),
  );
  for (const [index, comparison] of gone.entries()) {
    const [fresh, old] = [again[index], thenAgain[index]];
    if (fresh !== undefined) comparison.now = fresh;
    if (old?.ok) comparison.before = old;
  }
  return compared;
}

/**
 * The same, with warnings of hosts that the fleet has no more; null, with a warning, where the fleet was so wrong at that commit that it
 * can't be loaded: who mends it must not be told that it is.
 */
export async function compareIfLoadable(
  evaluator: Evaluator,
  open: OpenFleet,
  commit: string,
  now: readonly EvaluatedHost[],
  warnings: string[],
): Promise<Comparison[] | null> {
  let opened: OpenFleet;
  try {
    opened = await openFleetAt(open, commit);
  } catch (error) {
    if (!(error instanceof FleetError)) throw error;
    const at = error.at === undefined ? "" : `${formatLocation(error.at)}: `;
    warnings.push(`nothing is compared, since the fleet is wrong at ${commit.slice(0, 12)}: ${at}${error.message}`);
    return null;
  }
  await using base = opened;
  warnings.push(...leavers(base.fleet, open.fleet));
  return await compareAt(evaluator, base, commit, now);
}

/** Hosts that had an entry in fleet.yaml, and have none any more: nothing else says so of them. */
function leavers(before: Fleet, after: Fleet): string[] {
  const stay = new Set(after.hosts.filter(({ declared }) => declared).map(({ name }) => name));
  return before.hosts
    .filter(({ name, declared }) => declared && !stay.has(name))
    .map(
      ({ name }) => `${name} leaves the fleet: it gets no more releases, and no login where the server is set up again`,
    );
}

/** The hosts of the same names at the base; one found only in a flake is taken to have been there. */
async function hostsAt(base: Fleet, now: readonly EvaluatedHost[]): Promise<[EvaluatedHost, Host | undefined][]> {
  const attrs = Map.groupBy(now, ({ host }) => host.path);
  const { hosts } = await addFlakeHosts(base, async (flake) =>
    (attrs.get(flake.path) ?? []).map(({ host }) => host.attr),
  );
  const byName = new Map(hosts.map((host) => [host.name, host]));
  return now.map((result) => [result, byName.get(result.host.name)]);
}

async function isSame(stager: Stager, host: Host, stagerThen: Stager, then: Host): Promise<boolean> {
  if (host.kind !== then.kind || host.attr !== then.attr || host.config !== then.config) return false;
  if (JSON.stringify(host.nixpkgs) !== JSON.stringify(then.nixpkgs)) return false;
  const identity = await stagerThen.identify(then).catch(() => null);
  return identity !== null && identity === (await stager.identify(host));
}
