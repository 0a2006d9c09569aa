import { existsSync } from "node:fs";
import type { Nix } from "./nix.ts";

/** All that a store path needs to run, itself among it. */
export interface Closure {
  paths: readonly string[];
  /** Of all of them, as NARs. */
  bytes: number;
}

/** Paths whose sizes are asked for at once; a command line has no room for more than some thousands. */
const AT_ONCE = 1000;

/** The closure of a path that is in this machine's store; null where it isn't. */
export async function localClosure(nix: Nix, storePath: string): Promise<Closure | null> {
  if (!existsSync(storePath)) return null;
  const found = await nix.run("nix-store", ["--query", "--requisites", storePath]);
  if (found.status !== 0) return null;
  const paths = found.stdout.split("\n").filter((line) => line !== "");
  let bytes = 0;
  for (let from = 0; from < paths.length; from += AT_ONCE) {
    const sizes = await nix.run("nix-store", ["--query", "--size", ...paths.slice(from, from + AT_ONCE)]);
    if (sizes.status !== 0) return null;
    bytes += sizes.stdout.split("\n").reduce((sum, line) => sum + Number(line), 0);
  }
  return { paths, bytes };
}

/**
 * The closure of a path that a substituter has, of which nothing is fetched but what it says of itself; null where none of them
 * has all of it, or none answers within `timeout` milliseconds each.
 */
export async function cachedClosure(
  nix: Nix,
  storePath: string,
  substituters: readonly string[],
  timeout: number,
): Promise<Closure | null> {
  for (const url of substituters) {
    const args = ["path-info", "--recursive", "--size", "--store", url, storePath];
    const run = await nix.run("nix", args, { timeout, maxOutput: 16 * 1024 ** 2 });
    const closure = run.status === 0 && !run.overflowed ? parsePathInfo(run.stdout) : null;
    if (closure !== null) return closure;
  }
  return null;
}

/** Reads `path size`, one a line, with blanks between; null for anything else. */
export function parsePathInfo(text: string): Closure | null {
  const paths: string[] = [];
  let bytes = 0;
  for (const line of text.split("\n")) {
    if (line.trim() === "") continue;
    const [, path, size] = /^(\/\S+)\s+(\d{1,15})$/.exec(line) ?? [];
    if (path === undefined) return null;
    paths.push(path);
    bytes += Number(size);
  }
  return paths.length === 0 ? null : { paths, bytes };
}
