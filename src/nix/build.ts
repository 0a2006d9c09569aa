import { lstat, mkdir, readdir, rm } from "node:fs/promises";
import path from "node:path";
import { UnavailableError } from "../errors.ts";
import type { HostFailure } from "../results.ts";
import type { Nix } from "./nix.ts";

/** Lines of a failed build's log that are shown. */
const LOG_LINES = 40;

/** Builds (or fetches) a derivation's outputs. Gives null when they are there. `onOutput` is given what Nix says meanwhile. */
export async function realise(nix: Nix, drv: string, onOutput: (text: string) => void): Promise<HostFailure | null> {
  const run = await nix.run("nix-store", ["--realise", drv], { onStderr: onOutput });
  if (run.status === 0) return null;
  const failed = /builder for '([^']+\.drv)'|Cannot build '([^']+\.drv)'/.exec(run.stderr);
  const culprit = failed?.[1] ?? failed?.[2];
  const log = culprit === undefined ? "" : (await nix.run("nix-store", ["--read-log", culprit])).stdout;
  const last = run.stderr
    .trim()
    .split("\n")
    .findLast((line) => line.startsWith("error:"));
  return {
    message:
      culprit === undefined
        ? (last ?? `nix-store --realise ended with status ${run.status}`)
        : `${culprit} failed to build`,
    trace: (log || run.stderr).trimEnd().split("\n").slice(-LOG_LINES).join("\n"),
  };
}

/** Keeps a store path alive with a gc root in `directory`, named after it. Asking again makes it the newest. */
export async function addRoot(nix: Nix, storePath: string, directory: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  const root = path.join(directory, path.basename(storePath));
  await rm(root, { force: true });
  const run = await nix.run("nix-store", ["--realise", storePath, "--add-root", root, "--indirect"]);
  if (run.status !== 0) throw new UnavailableError(`no gc root could be made at ${root}: ${run.stderr.trim()}`);
}

/** Removes all but the newest `keep` gc roots of a directory. */
export async function pruneRoots(directory: string, keep: number): Promise<void> {
  const names = await readdir(directory);
  const roots = await Promise.all(
    names.map(async (name) => ({ name, made: (await lstat(path.join(directory, name))).mtimeMs })),
  );
  const old = roots.sort((a, b) => b.made - a.made).slice(keep);
  await Promise.all(old.map(({ name }) => rm(path.join(directory, name), { force: true })));
}
