import { availableParallelism } from "node:os";
import path from "node:path";
import type { Host } from "../../fleet/fleet.ts";
import { evaluatedFiles } from "../../nix/files.ts";
import { parallel } from "../../platform/parallel.ts";
import { isWithin } from "../../tree/tracked.ts";
import type { EvaluatedHost, Evaluator } from "../evaluation.ts";

/**
 * For each host that is shipped another host's directory, a warning with the `include` that it needs: a host sees its own
 * configuration, and nobody else's.
 */
export async function includeWarnings(
  evaluator: Evaluator,
  evaluated: readonly EvaluatedHost[],
  hosts: readonly Host[],
): Promise<Map<Host, readonly string[]>> {
  const warnings = new Map<Host, readonly string[]>();
  await parallel(evaluated, availableParallelism(), async ({ host, ok }) => {
    if (!ok || host.include !== null || host.deliver === "system") return;
    const sources = await evaluator.stager.sources(host);
    const others = hosts.filter((other) => other !== host && directoryOf(other) !== directoryOf(host)).map(directoryOf);
    const shown = others.find((other) => sources.some((file) => isWithin(file, other)));
    if (shown === undefined) return;
    const files = await evaluatedFiles(evaluator.nix, host, await evaluator.stager.stage(host), evaluator.limits);
    const within = (place: string) => path.posix.relative(host.path, place);
    const locked = sources.map(within).filter((file) => file === "flake.lock");
    const needed = collapsed([...files, ...locked], others.map(within));
    const hint = needed.length === 0 ? "" : `; what it evaluates is in include: [${needed.join(", ")}]`;
    warnings.set(host, [`it is shipped ${shown} as well, which is another host's${hint}`]);
  });
  return warnings;
}

/** Where a host's own files are, as far as that can be told: for one of a flake at the root, by custom. */
function directoryOf({ path: place, name }: Host): string {
  return place === "." ? `hosts/${name}` : place;
}

/** The largest directories with needed files that have nothing of another host, or the files themselves. */
export function collapsed(files: readonly string[], others: readonly string[]): string[] {
  const found = new Set<string>();
  for (const file of files) {
    const parts = file.split("/");
    const prefixes = parts.slice(0, -1).map((_, end) => parts.slice(0, end + 1).join("/"));
    found.add(prefixes.find((prefix) => !others.some((other) => isWithin(other, prefix))) ?? file);
  }
  return [...found].sort();
}
