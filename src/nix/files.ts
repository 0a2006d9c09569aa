import path from "node:path";
import type { Host } from "../fleet/fleet.ts";
import type { JobLimits } from "./batch.ts";
import { type EvaluationSource, evaluateAloud } from "./evaluate.ts";
import type { Nix } from "./nix.ts";

/**
 * The Nix files of a host's tree that its evaluation reads, relative to the tree, as Nix tells with -v. Files that are read
 * otherwise (readFile, sources) are not among them.
 */
export async function evaluatedFiles(
  nix: Nix,
  host: Host,
  source: EvaluationSource,
  limits: JobLimits,
): Promise<string[]> {
  const { text, dirs } = await evaluateAloud(nix, host, source, limits);
  const files = new Set<string>();
  for (const [, file = ""] of text.matchAll(/evaluating file '([^']+)'/g)) {
    // 2.34 writes «path:/somewhere»/file, or the file's own place.
    const place = file.replace(/^«(?:path:)?([^»]*)»/, "$1");
    const dir = dirs.find((dir) => place.startsWith(`${dir}/`));
    if (dir !== undefined) files.add(path.posix.relative(dir, place));
  }
  return [...files].sort();
}
