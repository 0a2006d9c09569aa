import path from "node:path";
import { FleetError } from "../errors.ts";
import { loadFleet } from "../fleet/load.ts";
import { selectHosts } from "../fleet/select.ts";
import { type Closure, cachedClosure, localClosure } from "../nix/closure.ts";
import { difference, packageChanges, parsePackages } from "../nix/difference.ts";
import { Nix, type NixPassthrough } from "../nix/nix.ts";
import { parallel } from "../platform/parallel.ts";
import { storePath } from "../release/manifest.ts";
import type { DiffDocument, HostDiff, HostStatus } from "../results.ts";
import { compareWith } from "./check/base.ts";
import type { Context } from "./context.ts";
import { type EvaluatedHost, type Evaluator, evaluateFleet, openMemory, withFlakeHosts } from "./evaluation.ts";
import { type OpenFleet, openFleet } from "./open-fleet.ts";
import { status } from "./status.ts";

export interface DiffOptions {
  fleet: string;
  hosts: readonly string[];
  /** A git ref to compare with, rather than with what hosts run. */
  base: string | null;
  /** Take in what git doesn't track. */
  dirty: boolean;
  nix: NixPassthrough;
  /** Milliseconds for one host's evaluation. */
  timeout: number;
}

/** Milliseconds for what one substituter says of one closure. */
const CACHE_TIMEOUT = 30_000;

/**
 * Says which packages of hosts would be others than those that they run, by their heartbeats, if what the repository has were
 * deployed; with `base`, others than at that commit.
 * @throws FleetError, UnavailableError; what can't be told of a single host is in its result.
 */
export async function diff(context: Context, options: DiffOptions): Promise<DiffDocument> {
  // 1. What would be deployed.
  const loaded = await loadFleet(options.fleet);
  if (options.base === null && loaded.server === null) {
    throw new FleetError("without a server there is nobody to ask what hosts run", {
      hint: "--base REF compares with what the repository had at a commit",
    });
  }
  await using open = await openFleet(loaded, options);
  const commit = options.base === null ? null : await open.repository.commitOf(options.base);
  const nix = await Nix.find(options.nix, context.signal);
  const memory = openMemory(context.env);
  const evaluator = { context, nix, stager: open.stager, memory, derivations: true, limits: options };
  const fleet = await withFlakeHosts(open.fleet, evaluator);
  const all = options.base === null ? fleet.hosts.filter(({ declared }) => declared) : fleet.hosts;
  const hosts = selectHosts(all, options.hosts);
  const names = hosts.map(({ name }) => name);

  // 2. What runs; asked first, since a connection that can't be made is better told before than after the evaluation.
  const said =
    commit === null
      ? await status(context, { fleet: options.fleet, hosts: names, failOn: null, attempts: null })
      : null;
  const statuses = new Map(said?.hosts.map((host) => [host.name, host]));
  const evaluated = await evaluateFleet(evaluator, hosts);

  // 3. What is different.
  const found =
    commit === null
      ? await againstRunning(
          { evaluator, open, substituters: loaded.substituters.map(({ url }) => url) },
          evaluated,
          statuses,
        )
      : await againstCommit(evaluator, open, commit, evaluated);
  context.output.done();
  return {
    version: 1,
    command: "diff",
    base: options.base,
    warnings: [...open.warnings, ...fleet.warnings],
    hosts: found,
  };
}

function nothing({ host, ...now }: EvaluatedHost): HostDiff {
  return {
    name: host.name,
    status: now.ok ? "unchanged" : "failed",
    from: null,
    to: now.ok ? now.toplevel : null,
    sequence: null,
    lastContact: null,
    packages: null,
    size: null,
    reason: null,
    error: now.ok ? null : now.failure,
  };
}

/** By what it takes to build the systems. */
async function againstCommit(
  evaluator: Evaluator,
  open: OpenFleet,
  commit: string,
  evaluated: readonly EvaluatedHost[],
): Promise<HostDiff[]> {
  const compared = await compareWith(evaluator, open, commit, evaluated);
  return parallel(compared, 4, async ({ now, before }): Promise<HostDiff> => {
    const result = nothing(now);
    if (!now.ok) return result;
    if (before === null)
      return { ...result, status: "changed", reason: "there was no such host, or it could not be evaluated" };
    const found = { ...result, from: before.toplevel };
    if (before.toplevel === now.toplevel) return found;
    const packages = await packageChanges(evaluator.nix, before.drv, now.drv);
    return { ...found, status: "changed", packages };
  });
}

interface Around {
  evaluator: Evaluator;
  open: OpenFleet;
  substituters: readonly string[];
}

async function againstRunning(
  around: Around,
  evaluated: readonly EvaluatedHost[],
  statuses: ReadonlyMap<string, HostStatus>,
): Promise<HostDiff[]> {
  const { nix } = around.evaluator;
  const results = new Map<EvaluatedHost, HostDiff>();
  // Of these the system that runs isn't in the store here, and the commit that it is of is known.
  const byCommit = new Map<string, EvaluatedHost[]>();
  await parallel(evaluated, 4, async (now) => {
    const said = statuses.get(now.host.name);
    const running = said?.running?.toplevel ?? null;
    const result: HostDiff = {
      ...nothing(now),
      from: running,
      sequence: said?.running?.sequence ?? null,
      lastContact: said?.lastContact ?? null,
    };
    results.set(now, result);
    if (!now.ok || running === now.toplevel) return;
    if (running === null) {
      results.set(now, { ...result, status: "skipped", reason: said?.reason ?? "it hasn't said yet what it runs" });
      return;
    }
    if (!storePath.safeParse(running).success || path.dirname(running) !== path.dirname(now.toplevel)) {
      // It is the host that says so.
      results.set(now, failed(result, "what it says that it runs is no system in this store's directory"));
      return;
    }
    const [from, to] = [await localClosure(nix, running), await localClosure(nix, now.toplevel)];
    if (from !== null && to !== null) results.set(now, { ...result, ...closureDifference(from, to) });
    else if (said?.published && said.published.toplevel === running) {
      const { commit } = said.published;
      byCommit.set(commit, [...(byCommit.get(commit) ?? []), now]);
      results.set(now, { ...result, status: "changed" });
    } else results.set(now, await fromCaches(around, result, now.toplevel, from, to));
  });
  for (const [commit, those] of byCommit) await ofCommit(around, commit, those, results);
  return evaluated.flatMap((now) => results.get(now) ?? []);
}

/** Of hosts that run what was published of a commit: by what it takes to build the systems. */
async function ofCommit(
  around: Around,
  commit: string,
  those: readonly EvaluatedHost[],
  results: Map<EvaluatedHost, HostDiff>,
): Promise<void> {
  const { evaluator, open } = around;
  const isHere = await open.repository.commitOf(commit).then(
    () => true,
    () => false,
  );
  const compared = isHere ? await compareWith(evaluator, open, commit, those) : [];
  for (const [index, now] of those.entries()) {
    const result = results.get(now);
    if (result === undefined || !now.ok) continue;
    const comparison = compared[index];
    if (comparison?.now.ok && comparison.before?.toplevel === result.from) {
      const packages = await packageChanges(evaluator.nix, comparison.before.drv, comparison.now.drv);
      results.set(now, { ...result, status: "changed", packages });
    } else {
      const [from, to] = [
        await localClosure(evaluator.nix, result.from ?? ""),
        await localClosure(evaluator.nix, now.toplevel),
      ];
      results.set(now, await fromCaches(around, result, now.toplevel, from, to));
    }
  }
}

/** By what substituters say of what isn't here. */
async function fromCaches(
  { evaluator: { nix, context }, substituters }: Around,
  result: HostDiff,
  toplevel: string,
  fromHere: Closure | null,
  toHere: Closure | null,
): Promise<HostDiff> {
  const running = result.from ?? "";
  if (substituters.length > 0) context.output.progress(`asking ${substituters.join(", ")} for ${running}`);
  const from = fromHere ?? (await cachedClosure(nix, running, substituters, CACHE_TIMEOUT));
  const where = substituters.length === 0 ? "" : ` nor in ${substituters.join(" or ")}`;
  if (from === null) {
    return failed(
      result,
      `what it runs, ${running}, isn't in this store${where}, and isn't what a commit of this clone is known to make`,
      "bento diff --base REF compares with a commit; git fetch --unshallow, where this clone lacks some",
    );
  }
  const to = toHere ?? (await cachedClosure(nix, toplevel, substituters, CACHE_TIMEOUT));
  if (to === null) {
    return failed(result, `what would be deployed, ${toplevel}, isn't built: not in this store${where}`, "bento build");
  }
  return { ...result, ...closureDifference(from, to) };
}

function closureDifference(from: Closure, to: Closure): Pick<HostDiff, "status" | "packages" | "size"> {
  const [before, after] = [from, to].map(({ paths }) => parsePackages(paths.join("\n")));
  if (before === undefined || after === undefined) throw new Error("two of two are there");
  return { status: "changed", packages: difference(before, after), size: { from: from.bytes, to: to.bytes } };
}

function failed(result: HostDiff, message: string, hint?: string): HostDiff {
  return { ...result, status: "failed", error: hint === undefined ? { message } : { message, hint } };
}
