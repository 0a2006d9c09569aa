import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { machineError, UnavailableError } from "../errors.ts";
import type { Fleet, Host } from "../fleet/fleet.ts";
import { type Shard, selectHosts, shardOf } from "../fleet/select.ts";
import { packageChanges } from "../nix/difference.ts";
import type { System } from "../nix/evaluate.ts";
import { Nix, type NixPassthrough } from "../nix/nix.ts";
import { planBuilds } from "../nix/plan.ts";
import { parallel } from "../platform/parallel.ts";
import type { BuildPlan, CheckDocument, CheckStatus, HostCheck } from "../results.ts";
import type { Stager } from "../tree/stage.ts";
import { agentProblem } from "./check/agent.ts";
import { type BaseOptions, baseCommit, type Comparison, compareIfLoadable } from "./check/base.ts";
import { includeWarnings } from "./check/include.ts";
import { secretWarnings } from "./check/secrets.ts";
import { workflowWarnings } from "./check/workflow-warnings.ts";
import type { Context } from "./context.ts";
import { type EvaluatedHost, evaluateFleet, openMemory, withFlakeHosts } from "./evaluation.ts";
import { copyWarnings } from "./init/copy-warnings.ts";
import { loadRenderedFleet, openFleet } from "./open-fleet.ts";

export interface CheckOptions extends BaseOptions {
  /** The fleet's directory. */
  fleet: string;
  /** Globs; none for every host. */
  hosts: readonly string[];
  /** Only a part of them, for one of several machines. */
  shard: Shard | null;
  /** Stage also what git doesn't track and doesn't ignore. */
  dirty: boolean;
  nix: NixPassthrough;
  /** Leave each host's derivation in the store, also where its evaluation is remembered. */
  derivations?: boolean;
  /** Milliseconds for one host's evaluation. */
  timeout: number;
}

export const DEFAULT_TIMEOUT = 10 * 60 * 1000;

/**
 * Dry-builds hosts: evaluates each one's staged tree, and says what would be built and fetched, and whether its system is
 * another than at `base`.
 */
export async function check(context: Context, options: CheckOptions): Promise<CheckDocument> {
  // 1. What there is.
  await using open = await openFleet(await loadRenderedFleet(options.fleet), options);
  const warnings = [...open.warnings];
  const base = await baseCommit(open, options, warnings);
  const nix = await Nix.find(options.nix, context.signal);
  const memory = openMemory(context.env);
  await memory.forgetOld().catch((thrown: unknown) => {
    const error = machineError(thrown);
    if (!(error instanceof UnavailableError)) throw error;
    warnings.push(`evaluations are not remembered: ${error.message}`);
  });
  const evaluator = {
    context,
    nix,
    stager: open.stager,
    memory,
    derivations: options.derivations ?? false,
    limits: options,
  };
  const fleet = await withFlakeHosts(open.fleet, evaluator);
  const hosts = shardOf(selectHosts(fleet.hosts, options.hosts), options.shard);

  // 2. Every host, as many at a time as the machine allows.
  const evaluated = await evaluateFleet(evaluator, hosts);

  // 3. What was before.
  const comparisons = base === null ? null : await compareIfLoadable(evaluator, open, base, evaluated, warnings);
  const compared: Comparison[] = comparisons ?? evaluated.map((now) => ({ now, before: null }));
  const isCompared = comparisons !== null;

  // 4. What that means for each host: what it would cost, what is different, and what it sees of the others.
  const shown = await includeWarnings(evaluator, evaluated, fleet.hosts);
  const staged = await stageWarnings(open.stager, evaluated);
  const lacking = await secretWarnings(fleet.dir, open.stager, evaluated);
  const plans = await planned(nix, compared, isCompared);
  const checks = await parallel(compared, availableParallelism(), (comparison) =>
    hostCheck(nix, comparison, isCompared, plans.get(comparison) ?? null, [
      ...(shown.get(comparison.now.host) ?? []),
      ...(lacking.get(comparison.now.host) ?? []),
      ...(staged.get(comparison.now.host) ?? []),
    ]),
  );
  return {
    version: 1,
    command: "check",
    base: isCompared ? options.base : null,
    warnings: [
      ...warnings,
      ...fleet.warnings,
      ...undeclaredWarnings(fleet),
      ...(await copyWarnings(fleet, open.repository)),
      ...(await workflowWarnings(open.repository)),
    ],
    hosts: checks,
  };
}

async function hostCheck(
  nix: Nix,
  { now, before }: Comparison,
  isCompared: boolean,
  plan: BuildPlan | null,
  found: readonly string[],
): Promise<HostCheck> {
  const { host, duration, remembered } = now;
  const warnings = [...found, ...now.warnings];
  const nothing = { name: host.name, base: before?.toplevel ?? null, warnings, duration, remembered };
  const reproducible = host.kind === "flake" || host.nixpkgs !== null;
  if (!now.ok) {
    const none = { toplevel: null, drv: null, packages: null, reboot: null, plan: null };
    return { ...nothing, ...none, reproducible, status: "failed", error: now.failure };
  }
  const { drv, toplevel } = now;
  const error = host.declared && host.key !== null && host.agent ? agentProblem(host, now) : null;
  const status = error !== null ? "failed" : isCompared ? changeOf(now, before) : "ok";
  const differs = before !== null && before.toplevel !== toplevel;
  return {
    ...nothing,
    status,
    toplevel,
    drv,
    reproducible,
    packages: differs ? await packageChanges(nix, before.drv, drv) : null,
    reboot: differs ? needsReboot(before, now) : null,
    plan,
    error,
  };
}

/** What each host would cost, of those of which that is news: not of what is as at the base, or as it was remembered. */
async function planned(
  nix: Nix,
  compared: readonly Comparison[],
  isCompared: boolean,
): Promise<Map<Comparison, BuildPlan>> {
  const news = compared.flatMap((comparison) => {
    const { now, before } = comparison;
    if (!now.ok || !existsSync(now.drv)) return [];
    const isNews = isCompared ? now.toplevel !== before?.toplevel : !now.remembered;
    return isNews ? [{ comparison, drv: now.drv }] : [];
  });
  const plans = await planBuilds(
    nix,
    news.map(({ drv }) => drv),
  );
  return new Map(news.flatMap(({ comparison }, index) => (plans[index] ? [[comparison, plans[index]]] : [])));
}

function changeOf(now: System, before: System | null): CheckStatus {
  return now.toplevel === before?.toplevel ? "unchanged" : "changed";
}

/** Whether a machine that runs `before` runs all of `after` only once it is started anew. */
function needsReboot(before: System, after: System): boolean {
  return before.kernel !== after.kernel || before.initrd !== after.initrd || before.modules !== after.modules;
}

/** What is to be said of the trees that could be staged. */
async function stageWarnings(
  stager: Stager,
  evaluated: readonly EvaluatedHost[],
): Promise<Map<Host, readonly string[]>> {
  const staged = evaluated.filter(({ ok }) => ok);
  return new Map(await Promise.all(staged.map(async ({ host }) => [host, await stager.warnings(host)] as const)));
}

function undeclaredWarnings(fleet: Fleet): string[] {
  if (fleet.file === null) return [];
  return fleet.hosts
    .filter((host) => !host.declared)
    .map((host) => `${host.name} (${host.path}) has no entry in ${fleet.file}: it is checked, and never deployed`);
}
