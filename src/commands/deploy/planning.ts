import { availableParallelism } from "node:os";
import type { Host } from "../../fleet/fleet.ts";
import { parallel } from "../../platform/parallel.ts";
import type { Current } from "../../publish/publisher.ts";
import { type CurrentOf, join } from "../../publish/publishers.ts";
import { type Opened, open as openEnvelope } from "../../release/envelope.ts";
import type { Manifest } from "../../release/manifest.ts";
import { type Candidate, type Decision, decide, isSameRelease, type Published } from "../../release/plan.ts";
import type { HostDeploy, HostFailure } from "../../results.ts";
import type { Ancestry } from "./ancestry.ts";
import { failed, failing, nothing, type Packed, type Prepared, type Step, withArchive } from "./prepare.ts";

/** A host that gets a release, which isn't made yet. */
export interface Due {
  make(): Promise<Step<Planned>>;
}

export interface Planned {
  manifest: Manifest;
  /** Of a release that is published elsewhere already; null for a new one. */
  envelope: string | null;
  /** Null for a release without files. */
  packed: Packed | null;
  /** The publishers that take it. */
  to: readonly string[];
  /** What was wrong with publishers whose state is not known. */
  unread: HostFailure | null;
}

export interface PlanningOptions {
  /** Say what would be done, and do nothing. */
  dryRun: boolean;
  /** Publish also where the published commit is no ancestor of this one, or what is published can't be verified. */
  force: boolean;
}

export interface Planner {
  ancestry: Ancestry;
  signers: readonly string[];
}

/** What is to be done for each host, by what each publisher has for it. */
export async function planAll(
  planner: Planner,
  steps: readonly Step<Prepared>[],
  current: CurrentOf,
  options: PlanningOptions,
): Promise<Step<Due>[]> {
  const now = Date.now();
  return parallel(steps, availableParallelism(), (step) => plan(planner, step, current, options, now));
}

async function plan(
  { ancestry, signers }: Planner,
  step: Step<Prepared>,
  current: CurrentOf,
  options: PlanningOptions,
  now: number,
): Promise<Step<Due>> {
  if ("result" in step) return step;
  const { host, value } = step;
  const { candidate } = value;
  if (host.deliver === "system" && candidate.toplevel === null) {
    const message = "it is delivered its system alone, and which one that is takes an evaluation";
    return { host, result: failed(host, { message, hint: "leave --no-eval out" }) };
  }
  const found = await openAll(current(host.name), host.name, signers);
  const states = [...found.values()];
  const unread = states.reduce<HostFailure | null>(
    (all, one) => join(all, one.state === "unknown" ? one.error : null),
    null,
  );
  if (unread !== null && states.every(({ state }) => state === "unknown"))
    return { host, result: failed(host, unread) };

  const commits = states.flatMap((one) =>
    options.force || one.state !== "present" || isSameRelease(one.manifest, candidate) ? [] : [one.manifest.commit],
  );
  const problems = new Map(
    await Promise.all(commits.map(async (commit) => [commit, await ancestry.problem(commit)] as const)),
  );
  const ancestryOf = (commit: string) => problems.get(commit) ?? null;
  const decideOn = (candidate: Candidate) =>
    decide({ candidate, published: found, ancestryOf, force: options.force, now });
  const settled = resultOf(host, decideOn(candidate), unread);
  if (settled !== null) return { host, result: settled };

  const make = async (): Promise<Step<Planned>> => {
    // Whether it is a new release, or one that another publisher has, depends on its archive.
    const made = await withArchive(value).catch(failing);
    if ("failure" in made) return { host, result: failed(host, made.failure) };
    const { packed } = made;
    const decision = decideOn(made.candidate);
    if (decision.kind === "refuse" || decision.kind === "unchanged")
      throw new Error("an archive made an unchanged host of a changed one");
    const { manifest, to } = decision;
    const envelope = decision.kind === "complete" ? decision.envelope : null;
    return { host, value: { manifest, envelope, packed, to, unread } };
  };
  if (!options.dryRun) return { host, value: { make } };
  // The first half of a deploy alone is the dry run: it says what the second would do.
  const made = await make();
  return "result" in made ? made : { host, result: published(made.value.manifest, unread) };
}

/** The result of a host for which nothing is to be sent; null for the others. */
function resultOf(host: Host, decision: Decision, unread: HostFailure | null): HostDeploy | null {
  switch (decision.kind) {
    case "refuse":
      return failed(host, decision.error);
    case "unchanged":
      return unread === null ? unchanged(host, decision.manifest) : failed(host, unread);
    case "complete":
    case "release":
      return null;
  }
}

/** What each publisher has for a host, verified; the same envelope is verified once. */
export async function openAll(
  current: ReadonlyMap<string, Current>,
  host: string,
  signers: readonly string[],
): Promise<Map<string, Published>> {
  const opened = new Map<string, Promise<Opened>>();
  const open = async (state: Current): Promise<Published> => {
    if (state.state === "failed") return { state: "unknown", error: state.error };
    if (state.state === "missing") return state;
    const { envelope } = state;
    const known = opened.get(envelope) ?? openEnvelope(envelope, host, signers);
    opened.set(envelope, known);
    const result = await known;
    return result.ok
      ? { state: "present", manifest: result.manifest, envelope, isIncomplete: state.isIncomplete ?? false }
      : { state: "untrusted", problem: result.problem };
  };
  return new Map(await Promise.all([...current].map(async ([name, state]) => [name, await open(state)] as const)));
}

export function unchanged(host: Host, { digest, sequence, commit, toplevel }: Manifest): HostDeploy {
  return { ...nothing(host), status: "unchanged", digest, sequence, commit, toplevel };
}

function publishedResult({ host, digest, sequence, commit, toplevel }: Manifest): HostDeploy {
  return { name: host, status: "published", digest, sequence, commit, toplevel, error: null, reason: null };
}

export function published(manifest: Manifest, failure: HostFailure | null): HostDeploy {
  const result = publishedResult(manifest);
  return failure === null ? result : { ...result, status: "failed", sequence: null, error: failure };
}
