import { existsSync } from "node:fs";
import { availableParallelism, homedir } from "node:os";
import path from "node:path";
import { FleetError, HostError } from "../errors.ts";
import type { Fleet, Host } from "../fleet/fleet.ts";
import { addFlakeHosts, flakesOf, loadFleet } from "../fleet/load.ts";
import { staleFiles } from "../fleet/rendered.ts";
import type { JobLimits } from "../nix/batch.ts";
import { type Evaluation, evaluateHosts, inspectFlakes } from "../nix/evaluate.ts";
import type { Nix } from "../nix/nix.ts";
import { EvaluationMemory, isPure, memoryKey } from "../nix/remembered-evaluations.ts";
import { Repository } from "../platform/git.ts";
import { parallel } from "../platform/parallel.ts";
import { temporaryDirectory } from "../platform/temporary.ts";
import type { HostFailure } from "../results.ts";
import { type StagedRelease, Stager } from "../tree/stage.ts";
import type { Context } from "./context.ts";
import { MEMORY_KEY } from "./keys.ts";

/** A fleet that is loaded and whose hosts can be staged: what check, build and deploy begin with. */
export interface OpenFleet extends AsyncDisposable {
  fleet: Fleet;
  repository: Repository;
  stager: Stager;
  /** For people. */
  warnings: string[];
}

/**
 * Loads the fleet in `dir`, as it is rendered.
 * @throws FleetError when it is wrong, or when a rendered file is stale.
 */
export async function loadRenderedFleet(dir: string): Promise<Fleet> {
  const fleet = await loadFleet(dir);
  const stale = await staleFiles(fleet);
  if (stale.length > 0) {
    throw new FleetError(`${stale.join(" and ")} ${stale.length > 1 ? "are" : "is"} not what fleet.yaml says`, {
      hint: "run 'bento render' and commit the result",
    });
  }
  return fleet;
}

/**
 * Opens a fleet's repository.
 * @throws FleetError when there is none, or it is wrong.
 */
export async function openFleet(fleet: Fleet, { dirty }: { dirty: boolean }): Promise<OpenFleet> {
  const repository = await Repository.open(fleet.dir);
  const temporary = await temporaryDirectory();
  try {
    const untracked = dirty ? await repository.untracked() : [];
    const stager = await Stager.open(repository, fleet, path.join(temporary.path, "staged"), untracked);
    const warnings =
      untracked.length === 0
        ? []
        : [`--dirty: ${untracked.length} files that git doesn't track are taken in; a deploy will not have them`];
    return { fleet, repository, stager, warnings, [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose]() };
  } catch (error) {
    await temporary[Symbol.asyncDispose]();
    throw error;
  }
}

/**
 * The same fleet as it is at a commit, checked out beside it.
 * @throws FleetError when it can't be loaded there.
 */
export async function openFleetAt({ fleet, repository }: OpenFleet, commit: string): Promise<OpenFleet> {
  await using resources = new AsyncDisposableStack();
  const temporary = resources.use(await temporaryDirectory());
  const there = resources.use(await repository.checkout(commit, path.join(temporary.path, "commit")));
  const then = await loadFleet(path.join(there.root, path.relative(repository.root, fleet.dir)));
  const stager = await Stager.open(there, then, path.join(temporary.path, "staged"));
  const opened = resources.move();
  return {
    fleet: then,
    repository: there,
    stager,
    warnings: [],
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

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
  const cache = env.XDG_CACHE_HOME || path.join(env.HOME || homedir(), ".cache");
  const given = (env.BENTO_EVALUATIONS ?? "").split(":").filter((place) => place !== "");
  const [directory = path.join(cache, "bento/evaluations"), ...others] = given;
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
