import { lstat, lutimes, mkdtemp, readdir, readlink, rename, rm, symlink, writeFile } from "node:fs/promises";
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

/** Makes the gc roots of systems the newest of their hosts', where there are any: what hosts have now doesn't grow old. */
export async function refreshRoots(
  roots: string,
  systems: readonly { name: string; toplevel: string | null }[],
): Promise<void> {
  await parallel(systems, availableParallelism(), async ({ name, toplevel }) => {
    if (toplevel === null) return;
    const root = path.join(roots, name, path.basename(toplevel));
    if ((await readlink(root).catch(() => null)) === toplevel) await lutimes(root, new Date(), new Date());
  });
}

/** What the directories of `keepOnceBuilt` begin with, which no host's name does. */
export const BUILDING = ".building-";

/**
 * Keeps store paths alive as soon as they are there, although they are not yet: until the end of the scope, a collection of
 * garbage that comes between a build and its own root takes nothing away. The roots are below `directory`, where the daemon, which
 * may have another /tmp, finds them.
 * @throws UnavailableError when Nix can't.
 */
export async function keepOnceBuilt(
  nix: Nix,
  directory: string,
  storePaths: readonly string[],
): Promise<AsyncDisposable> {
  if (storePaths.length === 0) return { [Symbol.asyncDispose]: async () => {} };
  await makeDirectory(directory);
  const dir = await mkdtemp(path.join(directory, BUILDING));
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => rm(dir, { recursive: true, force: true }));
  // Nix makes roots of nothing but what is there. So it makes them of an empty file, and then each is pointed to where it is
  // to: Nix looks at that when it collects, and passes over what isn't there.
  const links = await registerLinks(nix, dir, storePaths.length);
  for (const [index, storePath] of storePaths.entries()) {
    const link = links[index];
    if (link === undefined) throw new UnavailableError(`no gc root could be made in ${dir}`);
    await symlink(storePath, `${link}.new`);
    await rename(`${link}.new`, link);
  }
  const made = cleanup.move();
  return { [Symbol.asyncDispose]: () => made.disposeAsync() };
}

async function registerLinks(nix: Nix, dir: string, count: number): Promise<string[]> {
  const file = path.join(dir, "bento-root");
  await writeFile(file, "");
  for (let attempt = 1; ; attempt++) {
    const added = await nix.run("nix-store", ["--add", file]);
    const same = Array.from({ length: count }, () => added.stdout.trim());
    const made =
      added.status === 0
        ? await nix.run("nix-store", ["--realise", ...same, "--add-root", path.join(dir, "root"), "--indirect"])
        : added;
    if (made.status === 0) break;
    // A collection may just have taken the file away again.
    if (attempt === 3) throw new UnavailableError(`no gc root could be made in ${dir}: ${made.stderr.trim()}`);
  }
  return (await rootsIn(dir)).map((root) => root.file);
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
