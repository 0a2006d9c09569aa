import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { HostError } from "../errors.ts";
import type { Fleet, Host } from "../fleet/fleet.ts";
import { addFlakeHosts, flakesOf } from "../fleet/load.ts";
import type { JobLimits } from "../nix/batch.ts";
import { type Evaluation, evaluateHosts, inspectFlakes } from "../nix/evaluate.ts";
import type { Nix } from "../nix/nix.ts";
import { EvaluationMemory, isPure, memoryKey } from "../nix/remembered-evaluations.ts";
import { parallel } from "../platform/parallel.ts";
import { cacheDirectory } from "../platform/user-directories.ts";
import type { HostFailure } from "../results.ts";
import type { StagedRelease, Stager } from "../tree/stage.ts";
import type { Context } from "./context.ts";
import { MEMORY_KEY } from "./keys.ts";

/** What evaluating a fleet's hosts takes. */
export interface Evaluator {
  context: Context;
  nix: Nix;
  stager: Stager;
  /** Null to evaluate everything anew. */
  memory: EvaluationMemory | null;
  /** Whether what is remembered counts only while its derivation is in the store, as building needs it. */
  derivations: boolean;
  limits: JobLimits;
}

/** The fleet with the hosts that only Nix knows: the nixosConfigurations of its flakes. */
export async function withFlakeHosts(fleet: Fleet, evaluator: Evaluator): Promise<Fleet> {
  const { nix, stager, limits } = evaluator;
  const flakes = flakesOf(fleet);
  const { known, missing } = await recall<string[]>(evaluator, flakes, () => "hosts");
  const staged = await stageAll(stager, missing);
  const sources = staged.flatMap((one) => ("release" in one ? [one.release] : []));
  const inspected = await inspectFlakes(nix, sources, limits);
  let next = 0;
  for (const one of staged) {
    const result = "release" in one ? inspected[next++] : undefined;
    if (result?.ok) await remember(evaluator, known, one.host, "hosts", result.hosts);
  }
  return addFlakeHosts(fleet, async (flake) => known.get(flake) ?? null);
}

/** One host, evaluated, or why it could not be. */
export type EvaluatedHost = Evaluation & {
  host: Host;
  /** It is what an earlier evaluation of the same files gave; its derivation may be gone by now. */
  remembered: boolean;
};

/** Evaluates hosts, as many at a time as the machine allows. One that fails costs the others nothing. */
export async function evaluateFleet(evaluator: Evaluator, hosts: readonly Host[]): Promise<EvaluatedHost[]> {
  const { context, nix, stager, limits } = evaluator;
  const isUsable = (one: Evaluation) => !evaluator.derivations || (one.ok && existsSync(one.drv));
  const { known, missing } = await recall<Evaluation>(evaluator, hosts, systemOf, isUsable);
  const staged = await stageAll(stager, missing);
  const evaluable = staged.flatMap(({ host, ...one }) => ("release" in one ? [{ host, source: one.release }] : []));
  const results = new Map<Host, EvaluatedHost>();
  for (const [host, evaluation] of known) results.set(host, { ...evaluation, host, remembered: true, duration: 0 });
  for (const { host, ...one } of staged) {
    if ("failure" in one) {
      results.set(host, { host, ok: false, failure: one.failure, warnings: [], duration: 0, remembered: false });
    }
  }

  let done = hosts.length - evaluable.length;
  const progress = () => context.output.progress(`evaluated ${done} of ${hosts.length} hosts`);
  progress();
  const evaluations = await evaluateHosts(nix, evaluable, limits, () => {
    done += 1;
    progress();
  });
  context.output.done();
  for (const [index, { host }] of evaluable.entries()) {
    const evaluation = evaluations[index];
    if (evaluation === undefined) continue;
    results.set(host, { ...evaluation, host, remembered: false });
    if (evaluation.ok) await remember(evaluator, known, host, systemOf(host), evaluation);
  }
  return hosts.flatMap((host) => results.get(host) ?? []);
}

/** What, of a flake, an evaluation is of. */
function systemOf(host: Host): string {
  return `system ${host.attr}`;
}

/** What is remembered of hosts whose evaluation is pure, and the hosts of which nothing is. */
async function recall<T>(
  evaluator: Evaluator,
  hosts: readonly Host[],
  what: (host: Host) => string,
  isUsable: (value: T) => boolean = () => true,
): Promise<{ known: Map<Host, T>; missing: Host[] }> {
  const known = new Map<Host, T>();
  await parallel(hosts, 16, async (host) => {
    const key = await keyOf(evaluator, host, what(host));
    const value = key === null ? undefined : await evaluator.memory?.recall<T>(key);
    if (value !== undefined && isUsable(value)) known.set(host, value);
  });
  return { known, missing: hosts.filter((host) => !known.has(host)) };
}

async function remember<T>(
  evaluator: Evaluator,
  known: Map<Host, T>,
  host: Host,
  what: string,
  value: T,
): Promise<void> {
  known.set(host, value);
  const key = await keyOf(evaluator, host, what);
  if (key !== null) await evaluator.memory?.remember(key, value);
}

/** The key under which an evaluation is remembered; null for one that isn't pure, or of what can't be staged. */
async function keyOf({ nix, stager, memory }: Evaluator, host: Host, what: string): Promise<string | null> {
  if (memory === null || host.kind !== "flake" || !isPure(nix)) return null;
  try {
    return memoryKey(nix, await stager.identify(host), what);
  } catch (error) {
    // Staging says why.
    if (error instanceof HostError) return null;
    throw error;
  }
}

/**
 * Where evaluations are remembered: BENTO_EVALUATIONS, or below the user's caches. With BENTO_MEMORY_KEY, only what was remembered with
 * the same one is believed, and that also in further directories of BENTO_EVALUATIONS, which are separated by colons.
 */
export function openMemory(env: NodeJS.ProcessEnv): EvaluationMemory {
  const given = (env.BENTO_EVALUATIONS ?? "").split(":").filter((place) => place !== "");
  const [directory = path.join(cacheDirectory(env), "evaluations"), ...others] = given;
  return new EvaluationMemory(directory, env[MEMORY_KEY] || null, others);
}

export type StagedHost = { host: Host } & ({ release: StagedRelease } | { failure: HostFailure });

/** Stages hosts. What is wrong with one is its own failure. */
export async function stageAll(stager: Stager, hosts: readonly Host[]): Promise<StagedHost[]> {
  return parallel(hosts, availableParallelism(), async (host): Promise<StagedHost> => {
    try {
      return { host, release: await stager.stage(host) };
    } catch (error) {
      if (error instanceof HostError) return { host, failure: failureOf(error) };
      throw error;
    }
  });
}

/** An error as a host's result carries it. */
export function failureOf(error: Pick<HostError, "message" | "at" | "hint">): HostFailure {
  return { message: error.message, ...error.at, ...(error.hint === undefined ? {} : { hint: error.hint }) };
}
