import { availableParallelism } from "node:os";
import path from "node:path";
import { FleetError, HostError } from "../errors.ts";
import type { Fleet, Host } from "../fleet/fleet.ts";
import { addFlakeHosts, loadFleet } from "../fleet/load.ts";
import { staleFiles } from "../fleet/rendered.ts";
import { type Evaluation, type EvaluationLimits, evaluateHost, listFlakeHosts } from "../nix/evaluate.ts";
import type { Nix } from "../nix/nix.ts";
import { Repository } from "../platform/git.ts";
import { parallel } from "../platform/parallel.ts";
import { temporaryDirectory } from "../platform/temporary.ts";
import type { HostFailure } from "../results.ts";
import { type StagedRelease, Stager } from "../tree/stage.ts";
import type { Context } from "./context.ts";

/** A fleet that is loaded and whose hosts can be staged: what check, build and deploy begin with. */
export interface OpenFleet extends AsyncDisposable {
  fleet: Fleet;
  repository: Repository;
  stager: Stager;
}

/**
 * Loads the fleet in `dir`, and opens its repository.
 * @throws FleetError when either is wrong, or when a rendered file is stale.
 */
export async function openFleet(dir: string): Promise<OpenFleet> {
  const fleet = await loadFleet(dir);
  const stale = await staleFiles(fleet);
  if (stale.length > 0) {
    throw new FleetError(`${stale.join(" and ")} ${stale.length > 1 ? "are" : "is"} not what fleet.yaml says`, {
      hint: "run 'bento render' and commit the result",
    });
  }
  const repository = await Repository.open(dir);
  const temporary = await temporaryDirectory();
  try {
    const stager = await Stager.open(repository, fleet, path.join(temporary.path, "staged"));
    return { fleet, repository, stager, [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose]() };
  } catch (error) {
    await temporary[Symbol.asyncDispose]();
    throw error;
  }
}

/** The fleet with the hosts that only Nix knows: the nixosConfigurations of its flakes. */
export async function withFlakeHosts(open: OpenFleet, nix: Nix, limits: EvaluationLimits): Promise<Fleet> {
  return addFlakeHosts(open.fleet, async (flake) => {
    try {
      return await listFlakeHosts(nix, await open.stager.stage(flake), limits);
    } catch (error) {
      if (error instanceof HostError) return null;
      throw error;
    }
  });
}

/** One host, staged and evaluated, or why it could not be. */
export type EvaluatedHost = {
  host: Host;
  /** Seconds. */
  duration: number;
} & (
  | { ok: true; release: StagedRelease; drv: string; toplevel: string; warnings: string[] }
  | { ok: false; failure: HostFailure; warnings: string[] }
);

/** Stages and evaluates hosts, as many at a time as there are processors. One that fails costs the others nothing. */
export async function evaluateHosts(
  context: Context,
  stager: Stager,
  nix: Nix,
  hosts: readonly Host[],
  limits: EvaluationLimits,
): Promise<EvaluatedHost[]> {
  let done = 0;
  const progress = () => context.output.progress(`evaluated ${done} of ${hosts.length} hosts`);
  progress();
  const results = await parallel(hosts, availableParallelism(), async (host): Promise<EvaluatedHost> => {
    const started = performance.now();
    const result = await evaluateOne(stager, nix, host, limits);
    done += 1;
    progress();
    return { ...result, host, duration: (performance.now() - started) / 1000 };
  });
  context.output.done();
  return results;
}

type Outcome = (Extract<Evaluation, { ok: true }> & { release: StagedRelease }) | Extract<Evaluation, { ok: false }>;

async function evaluateOne(stager: Stager, nix: Nix, host: Host, limits: EvaluationLimits): Promise<Outcome> {
  try {
    const release = await stager.stage(host);
    const evaluation = await evaluateHost(nix, host, release, limits);
    return evaluation.ok ? { ...evaluation, release } : evaluation;
  } catch (error) {
    if (error instanceof HostError) return { ok: false, failure: failureOf(error), warnings: [] };
    throw error;
  }
}

/** An error as a host's result carries it. */
export function failureOf(error: Pick<HostError, "message" | "at" | "hint">): HostFailure {
  return { message: error.message, ...error.at, ...(error.hint === undefined ? {} : { hint: error.hint }) };
}
