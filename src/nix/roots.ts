import { lstat, mkdir, readdir, readlink, rm } from "node:fs/promises";
import path from "node:path";
import { UnavailableError } from "../errors.ts";
import type { Nix } from "./nix.ts";

/** A gc root: a symlink that keeps a store path, and all that it needs, alive. */
export interface Root {
  file: string;
  /** The store path. */
  target: string;
  /** Milliseconds since 1970. */
  made: number;
}

/** Keeps a store path alive with a gc root in `directory`, named after it. Asking again makes it the newest. */
export async function addRoot(nix: Nix, storePath: string, directory: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  const root = path.join(directory, path.basename(storePath));
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
