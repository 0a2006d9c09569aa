import path from "node:path";
import { type Closure, cachedClosure, localClosure } from "../../nix/closure.ts";
import { difference, packageChanges, parsePackages } from "../../nix/difference.ts";
import { parallel } from "../../platform/parallel.ts";
import { storePath } from "../../release/manifest.ts";
import type { HostDiff, HostStatus } from "../../results.ts";
import { compareWith } from "../check/base.ts";
import type { EvaluatedHost, Evaluator } from "../evaluation.ts";
import type { OpenFleet } from "../open-fleet.ts";
import { nothing } from "./nothing.ts";

/** Milliseconds for what one substituter says of one closure. */
const CACHE_TIMEOUT = 30_000;

/** What there is to compare with. */
export interface Around {
  evaluator: Evaluator;
  open: OpenFleet;
  substituters: readonly string[];
}

/**
 * Compares what hosts say that they run with what was evaluated of them: in this store, else by what it takes to build both, else by
 * what substituters say.
 */
export async function againstRunning(
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
