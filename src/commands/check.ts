import { availableParallelism } from "node:os";
import path from "node:path";
import { FleetError } from "../errors.ts";
import type { Fleet, Host } from "../fleet/fleet.ts";
import { addFlakeHosts, loadFleet } from "../fleet/load.ts";
import { selectHosts } from "../fleet/select.ts";
import type { JobLimits } from "../nix/batch.ts";
import { packageChanges } from "../nix/difference.ts";
import type { System as EvaluatedSystem } from "../nix/evaluate.ts";
import { Nix, type NixPassthrough } from "../nix/nix.ts";
import { planBuild } from "../nix/plan.ts";
import { parallel } from "../platform/parallel.ts";
import { temporaryDirectory } from "../platform/temporary.ts";
import type { CheckDocument, CheckStatus, HostCheck } from "../results.ts";
import { narDigest } from "../tree/nar.ts";
import { Stager } from "../tree/stage.ts";
import type { Context } from "./context.ts";
import { type EvaluatedHost, evaluateFleet, type OpenFleet, openFleet, withFlakeHosts } from "./evaluation.ts";

export interface CheckOptions {
  /** The fleet's directory. */
  fleet: string;
  /** Globs; none for every host. */
  hosts: readonly string[];
  /** A git ref to compare with. */
  base: string | null;
  /** Check without comparing, rather than fail, when the clone doesn't have `base`. */
  baseOptional?: boolean;
  nix: NixPassthrough;
  /** Milliseconds for one host's evaluation. */
  timeout: number;
}

export const DEFAULT_TIMEOUT = 10 * 60 * 1000;

/**
 * Dry-builds hosts: evaluates each one's staged tree, and says what would be built and fetched, and whether its system is
 * another than at `base`.
 *
 */
export async function check(context: Context, options: CheckOptions): Promise<CheckDocument> {
  // 1. What there is.
  await using open = await openFleet(options.fleet);
  const warnings: string[] = [];
  const base = await baseCommit(open, options, warnings);
  const nix = await Nix.find(options.nix, context.signal);
  const fleet = await withFlakeHosts(open, nix, options);
  const hosts = selectHosts(fleet.hosts, options.hosts);

  // 2. Every host, at the same time as far as the machine goes.
  const evaluated = await evaluateFleet(context, open.stager, nix, hosts, options);

  // 3. What each would cost.
  const plans = await parallel(evaluated, availableParallelism(), (result) =>
    result.ok ? planBuild(nix, [result.drv]) : Promise.resolve(null),
  );

  // 4. What was before, and what that makes different.
  const before = base === null ? null : await systemsAt(context, open, base, evaluated, nix, options);
  const packages = await parallel(evaluated, availableParallelism(), (result) => {
    const earlier = before?.get(result.host.name);
    if (!result.ok || !earlier || earlier.toplevel === result.toplevel) return Promise.resolve(null);
    return packageChanges(nix, earlier.drv, result.drv);
  });

  return {
    version: 1,
    command: "check",
    base: base === null ? null : options.base,
    warnings: [...warnings, ...fleet.warnings, ...undeclaredWarnings(fleet)],
    hosts: evaluated.map((result, index) => hostCheck(result, plans[index] ?? null, before, packages[index] ?? null)),
  };
}

async function baseCommit(
  { repository }: OpenFleet,
  { base, baseOptional }: Pick<CheckOptions, "base" | "baseOptional">,
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

function hostCheck(
  result: EvaluatedHost,
  plan: HostCheck["plan"],
  before: ReadonlyMap<string, System | null> | null,
  packages: HostCheck["packages"],
): HostCheck {
  const base = before?.get(result.host.name)?.toplevel ?? null;
  return {
    name: result.host.name,
    status: result.ok ? statusOf(result.toplevel, before === null ? undefined : base) : "failed",
    toplevel: result.ok ? result.toplevel : null,
    drv: result.ok ? result.drv : null,
    base,
    packages,
    plan,
    warnings: result.warnings,
    error: result.ok ? null : result.failure,
    duration: result.duration,
  };
}

function statusOf(toplevel: string, base: string | null | undefined): CheckStatus {
  if (base === undefined) return "ok";
  return toplevel === base ? "unchanged" : "changed";
}

type System = Pick<EvaluatedSystem, "drv" | "toplevel">;

/** Each host's system at another commit, null where it had none. A host whose tree was the same isn't evaluated again. */
async function systemsAt(
  context: Context,
  open: OpenFleet,
  commit: string,
  now: readonly EvaluatedHost[],
  nix: Nix,
  limits: JobLimits,
): Promise<Map<string, System | null>> {
  await using temporary = await temporaryDirectory();
  await using repository = await open.repository.checkout(commit, path.join(temporary.path, "base"));
  const dir = path.join(repository.root, path.relative(open.repository.root, open.fleet.dir));
  const base = await loadFleet(dir);
  const stager = await Stager.open(repository, base, path.join(temporary.path, "staged"));

  const systems = new Map<string, System | null>();
  const others: Host[] = [];
  for (const result of now) {
    const host = await hostAt(base, result.host);
    const release = host && (await stager.stage(host).catch(() => null));
    if (!host || !release) systems.set(result.host.name, null);
    else if (result.ok && sameEntry(host, result.host) && (await sameTree(release.treeDir, result.release.treeDir))) {
      systems.set(host.name, result);
    } else others.push(host);
  }
  context.output.info(
    `comparing with ${commit.slice(0, 12)}: ${others.length} of ${now.length} hosts differ in their files`,
  );
  for (const result of await evaluateFleet(context, stager, nix, others, limits)) {
    systems.set(result.host.name, result.ok ? result : null);
  }
  return systems;
}

/** The host of the same name at the base; one found only in a flake is taken to have been there. */
async function hostAt(base: Fleet, host: Host): Promise<Host | undefined> {
  const known = (await addFlakeHosts(base, async (flake) => (flake.path === host.path ? [host.attr] : []))).hosts;
  return known.find((candidate) => candidate.name === host.name);
}

function sameEntry(a: Host, b: Host): boolean {
  return a.kind === b.kind && a.attr === b.attr && a.config === b.config;
}

async function sameTree(a: string, b: string): Promise<boolean> {
  return (await narDigest(a)) === (await narDigest(b));
}

function undeclaredWarnings(fleet: Fleet): string[] {
  if (fleet.file === null) return [];
  return fleet.hosts
    .filter((host) => !host.declared)
    .map((host) => `${host.name} (${host.path}) has no entry in ${fleet.file}: it is checked, and never deployed`);
}
