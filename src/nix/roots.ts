import { lstat, lutimes, readdir, readlink, rm } from "node:fs/promises";
import { availableParallelism } from "node:os";
import path from "node:path";
import { UnavailableError } from "../errors.ts";
import { makeDirectory } from "../platform/files.ts";
import { parallel } from "../platform/parallel.ts";
import type { Nix } from "./nix.ts";

/** A gc root: a symlink that keeps a store path, and all that it needs, alive. */
export interface Root {
  file: string;
  /** The store path. */
  target: string;
  /** Milliseconds since 1970. */
  made: number;
}

/**
 * Keeps store paths alive, each with a gc root in its `directory`, named after it. Asking again makes it the newest.
 * @throws UnavailableError when Nix can't.
 */
export async function addRoots(nix: Nix, wanted: readonly { storePath: string; directory: string }[]): Promise<void> {
  const known = await knownRoots();
  await parallel(wanted, availableParallelism(), async ({ storePath, directory }) => {
    const root = path.join(directory, path.basename(storePath));
    // Of a large fleet most are there already, and each call of Nix's takes its time.
    if (known.has(root) && (await readlink(root).catch(() => null)) === storePath) {
      await lutimes(root, new Date(), new Date());
    } else {
      await addRoot(nix, storePath, root);
    }
  });
}

/** The indirect roots that Nix knows of; none where it doesn't let itself be looked at. */
async function knownRoots(): Promise<Set<string>> {
  const directory = path.join(process.env.NIX_STATE_DIR || "/nix/var/nix", "gcroots/auto");
  const names = await readdir(directory).catch(() => []);
  const roots = await Promise.all(names.map((name) => readlink(path.join(directory, name)).catch(() => [])));
  return new Set(roots.flat());
}

async function addRoot(nix: Nix, storePath: string, root: string): Promise<void> {
  await makeDirectory(path.dirname(root));
  const run = await nix.run("nix-store", ["--realise", storePath, "--add-root", root, "--indirect"]);
  if (run.status !== 0) throw new UnavailableError(`no gc root could be made at ${root}: ${run.stderr.trim()}`);
}

/** The gc roots of a directory, the newest first. What else is there is none. */
export async function rootsIn(directory: string): Promise<Root[]> {
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  const found = await Promise.all(
    names.map(async (name): Promise<Root[]> => {
      const file = path.join(directory, name);
      const info = await lstat(file);
      return info.isSymbolicLink() ? [{ file, target: await readlink(file), made: info.mtimeMs }] : [];
    }),
  );
  return found.flat().sort((a, b) => b.made - a.made);
}

export async function removeRoot({ file }: Root): Promise<void> {
  await rm(file, { force: true });
}
