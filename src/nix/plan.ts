import { UnavailableError } from "../errors.ts";
import type { BuildPlan } from "../results.ts";
import { DerivationGraph, UnreadableDerivation } from "./derivation.ts";
import { lastSaid } from "./failure-message.ts";
import type { Nix } from "./nix.ts";

/**
 * What realising derivations would build and fetch, without doing it.
 * @throws UnavailableError when Nix can't tell.
 */
export async function planBuild(nix: Nix, drvs: readonly string[]): Promise<BuildPlan> {
  if (drvs.length === 0) return { build: 0, fetch: 0, download: 0, unpacked: 0 };
  const run = await nix.run("nix-store", ["--realise", "--dry-run", ...drvs]);
  if (run.status !== 0) {
    throw new UnavailableError(`nix-store --realise --dry-run failed: ${lastSaid(run.stderr)}`);
  }
  return parsePlan(run.stderr);
}

/**
 * What realising each of several derivations would build and fetch. One dry run for all of them, so how much there is to
 * download is known of one alone.
 */
export async function planBuilds(nix: Nix, drvs: readonly string[]): Promise<BuildPlan[]> {
  const [only] = drvs;
  if (only === undefined) return [];
  if (drvs.length === 1) return [await planBuild(nix, [only])];
  const run = await nix.run("nix-store", ["--realise", "--dry-run", ...drvs]);
  if (run.status !== 0) {
    throw new UnavailableError(`nix-store --realise --dry-run failed: ${lastSaid(run.stderr)}`);
  }
  const { build, fetch } = parsePlanPaths(run.stderr);
  const graph = new DerivationGraph();
  try {
    return drvs.map((drv) => ({
      // Only what is built needs its inputs built.
      build: graph.reachable(drv, (path) => build.has(path)).filter((path) => build.has(path)).length,
      fetch: graph.outputs(fetch.size === 0 ? [] : graph.reachable(drv, () => true)).filter((path) => fetch.has(path))
        .length,
      download: fetch.size === 0 ? 0 : null,
      unpacked: fetch.size === 0 ? 0 : null,
    }));
  } catch (error) {
    if (!(error instanceof UnreadableDerivation)) throw error;
    return Promise.all(drvs.map((drv) => planBuild(nix, [drv])));
  }
}

/** The paths that a dry run lists under its headers. */
export function parsePlanPaths(text: string): { build: Set<string>; fetch: Set<string> } {
  const sets = { build: new Set<string>(), fetch: new Set<string>() };
  let current: Set<string> | undefined;
  for (const line of text.split("\n")) {
    if (/ will be built:$/.test(line)) current = sets.build;
    else if (/ will be fetched(?: \(.*\))?:$/.test(line)) current = sets.fetch;
    else if (/^ {2}\//.test(line)) current?.add(line.trim());
    else current = undefined;
  }
  return sets;
}

/** Reads the dry run's headers, the one part of it that all versions of Nix word alike. */
export function parsePlan(text: string): BuildPlan {
  const build = /^(?:this derivation|these (\d+) derivations) will be built:$/m.exec(text);
  const fetch =
    /^(?:this path|these (\d+) paths) will be fetched(?: \(([\d.]+) (\w+) download, ([\d.]+) (\w+) unpacked\))?:$/m.exec(
      text,
    );
  return {
    build: build ? Number(build[1] ?? 1) : 0,
    fetch: fetch ? Number(fetch[1] ?? 1) : 0,
    download: fetch ? bytes(fetch[2], fetch[3]) : 0,
    unpacked: fetch ? bytes(fetch[4], fetch[5]) : 0,
  };
}

const UNITS: Readonly<Record<string, number>> = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3, TiB: 1024 ** 4 };

function bytes(amount: string | undefined, unit: string | undefined): number | null {
  const factor = UNITS[unit ?? ""];
  return amount === undefined || factor === undefined ? null : Math.round(Number(amount) * factor);
}
