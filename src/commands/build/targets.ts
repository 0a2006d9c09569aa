import path from "node:path";
import { BUILD } from "../../nix/activity.ts";
import { type Buildable, type BuildOutcome, buildAll, invalidPaths } from "../../nix/build.ts";
import { nameOf } from "../../nix/build-errors.ts";
import { inertLog } from "../../nix/build-log.ts";
import { BuildProgress } from "../../nix/build-progress.ts";
import { withoutColours } from "../../nix/failure-message.ts";
import type { Nix } from "../../nix/nix.ts";
import { planBuilds } from "../../nix/plan.ts";
import { addRoots, keepOnceBuilt } from "../../nix/roots.ts";
import { buildProgress } from "../../render/build.ts";
import type { BuildPlan, HostCheck } from "../../results.ts";
import type { Context } from "../context.ts";

/** A host, with the system that is to be built. */
export interface Target extends Buildable {
  host: HostCheck;
}

export interface TargetResults {
  /** By host. */
  outcomes: Map<string, BuildOutcome>;
  /** What each took to build and to fetch. */
  plans: Map<string, BuildPlan>;
  /** The remote builders that couldn't be used, by their address, and why, in Nix's words. */
  builders: Map<string, string>;
}

/** Milliseconds between changes of the progress line. */
const TICK = 100;

/**
 * Builds what isn't there yet, all at once, and says meanwhile how far it is. Whatever is there or built has a gc root of its host's
 * below `roots`, and is never without one.
 */
export async function buildTargets(
  context: Context,
  nix: Nix,
  targets: readonly Target[],
  roots: string,
): Promise<TargetResults> {
  const missing = await invalidPaths(
    nix,
    targets.map(({ output }) => output),
  );
  const wanted = targets.filter(({ output }) => missing.has(output));
  const outcomes = new Map<string, BuildOutcome>(targets.map(({ host }) => [host.name, { kind: "built" }]));
  const plans = new Map<string, BuildPlan>(
    targets.map(({ host }) => [host.name, { build: 0, fetch: 0, download: 0, unpacked: 0 }]),
  );
  const builders = new Map<string, string>();
  const keep = (some: readonly Target[]) =>
    addRoots(
      nix,
      some.map(({ host, output }) => ({ storePath: output, directory: path.join(roots, host.name) })),
    );
  // The others may take hours.
  await keep(targets.filter((target) => !wanted.includes(target)));
  if (wanted.length === 0) return { outcomes, plans, builders };
  await using _kept = await keepOnceBuilt(
    nix,
    roots,
    wanted.map(({ output }) => output),
  );
  const planned = await planBuilds(
    nix,
    wanted.map(({ drv }) => drv),
  );
  const built = await buildAndTell(context, nix, wanted, { total: targets.length, builders });
  for (const [index, { host }] of wanted.entries()) {
    const [outcome, plan] = [built[index], planned[index]];
    if (outcome !== undefined) outcomes.set(host.name, outcome);
    if (plan !== undefined) plans.set(host.name, plan);
  }
  await keep(wanted.filter(({ host }) => outcomes.get(host.name)?.kind === "built"));
  return { outcomes, plans, builders };
}

/** `total` is the number of hosts with those that are built already; `builders` gets those that can't be used. */
async function buildAndTell(
  { output }: Context,
  nix: Nix,
  wanted: readonly Target[],
  { total, builders }: { total: number; builders: Map<string, string> },
): Promise<BuildOutcome[]> {
  let done = total - wanted.length;
  let shown = 0;
  const group = output.group(`building ${wanted.length} of ${total} hosts`);
  const names = wanted.flatMap(({ host, drv, output }) => [[drv, host.name] as const, [output, host.name] as const]);
  const progress = new BuildProgress(new Map(names), (name) => {
    done += 1;
    group.line(`built ${name} (${done} of ${total} hosts)`);
  });
  const building = new Map<number, string>();
  try {
    return await buildAll(nix, wanted, (event) => {
      progress.see(event);
      if (event.kind === "start" && event.type === BUILD) {
        building.set(event.id, nameOf(event.path));
        group.line(`building ${nameOf(event.path)}`);
      }
      if (event.kind === "message") {
        const [, builder, why] = /cannot build on '([^'\n]+)': (.+)/.exec(withoutColours(event.text)) ?? [];
        if (builder !== undefined && why !== undefined) builders.set(builder, why.replace(/^error: */, ""));
      }
      if (event.kind === "stop") building.delete(event.id);
      if (event.kind === "log") output.debug(`${building.get(event.id) ?? "?"}> ${inertLog(event.line)}`);
      if (Date.now() - shown < TICK) return;
      shown = Date.now();
      output.progress(buildProgress(done, total, progress.state()));
    });
  } finally {
    progress.end();
    output.done();
    group.end();
  }
}
