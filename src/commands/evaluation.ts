import { availableParallelism } from "node:os";
import path from "node:path";
import { FleetError, HostError } from "../errors.ts";
import type { Fleet, Host } from "../fleet/fleet.ts";
import { addFlakeHosts, flakesOf, loadFleet } from "../fleet/load.ts";
import { staleFiles } from "../fleet/rendered.ts";
import type { JobLimits } from "../nix/batch.ts";
import { type Evaluation, evaluateHosts, inspectFlakes } from "../nix/evaluate.ts";
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
export async function withFlakeHosts({ fleet, stager }: OpenFleet, nix: Nix, limits: JobLimits): Promise<Fleet> {
  const staged = await stageAll(stager, flakesOf(fleet));
  const flakes = staged.flatMap((one) => ("release" in one ? [one] : []));
  const inspected = await inspectFlakes(
    nix,
    flakes.map(({ release }) => release),
    limits,
  );
  const names = new Map(
    flakes.map(({ host }, index) => {
      const result = inspected[index];
      return [host.path, result?.ok ? result.hosts : null];
    }),
  );
  return addFlakeHosts(fleet, async (flake) => names.get(flake.path) ?? null);
}

/** One host, staged and evaluated, or why it could not be. */
export type EvaluatedHost = { host: Host } & (
  | (Evaluation & { ok: true } & { release: StagedRelease })
  | FailedEvaluation
);
type FailedEvaluation = Evaluation & { ok: false };

/** Stages and evaluates hosts, as many at a time as the machine allows. One that fails costs the others nothing. */
export async function evaluateFleet(
  context: Context,
  stager: Stager,
  nix: Nix,
  hosts: readonly Host[],
  limits: JobLimits,
): Promise<EvaluatedHost[]> {
  const staged = await stageAll(stager, hosts);
  const evaluable = staged.flatMap(({ host, ...one }) => ("release" in one ? [{ host, source: one.release }] : []));
  let done = 0;
  const progress = () => context.output.progress(`evaluated ${done} of ${evaluable.length} hosts`);
  progress();
  const evaluations = await evaluateHosts(nix, evaluable, limits, () => {
    done += 1;
    progress();
  });
  context.output.done();
  let next = 0;
  return staged.map(({ host, ...one }): EvaluatedHost => {
    if (!("release" in one)) return { host, ok: false, failure: one.failure, warnings: [], duration: 0 };
    const evaluation = evaluations[next++];
    if (evaluation === undefined) throw new Error(`no evaluation of ${host.name}`);
    return evaluation.ok ? { host, release: one.release, ...evaluation } : { host, ...evaluation };
  });
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
function failureOf(error: Pick<HostError, "message" | "at" | "hint">): HostFailure {
  return { message: error.message, ...error.at, ...(error.hint === undefined ? {} : { hint: error.hint }) };
}
