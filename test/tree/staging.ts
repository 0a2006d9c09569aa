import { readdir, readFile, readlink, stat } from "node:fs/promises";
import path from "node:path";
import { expect } from "vitest";
import { HostError } from "../../src/errors.ts";
import type { Host } from "../../src/fleet/fleet.ts";
import { Repository } from "../../src/platform/git.ts";
import { type StagedRelease, Stager } from "../../src/tree/stage.ts";
import { hostNamed } from "../fleet/host.ts";
import type { GitRepository } from "../platform/git.ts";
import type { Entry } from "../platform/scratch.ts";

export const web = hostNamed("web");

/** A stager of a repository as it is now; what it makes goes with the repository. */
export async function stagerOf(repo: GitRepository, fleet = "."): Promise<Stager> {
  const into = path.join(repo.dir, "..", `staged-${Math.random()}`);
  return Stager.open(await Repository.open(repo.dir), { dir: path.join(repo.dir, fleet) }, into);
}

export const stage = async (repo: GitRepository, host: Host = web, fleet?: string) =>
  (await stagerOf(repo, fleet)).stage(host);

/** Everything below a directory: what `writeTree` would be given to make it. */
export async function read(dir: string, below = dir): Promise<Record<string, Entry>> {
  const found: Record<string, Entry> = {};
  for (const entry of await readdir(below, { withFileTypes: true })) {
    const file = path.join(below, entry.name);
    const name = path.relative(dir, file);
    if (entry.isDirectory()) Object.assign(found, await read(dir, file));
    else if (entry.isSymbolicLink()) found[name] = { link: await readlink(file) };
    else if (entry.isFile()) {
      const text = await readFile(file, "utf8");
      found[name] = ((await stat(file)).mode & 0o100) === 0 ? text : { executable: text };
    } else throw new Error(`${file} is neither a file, a directory nor a symlink`);
  }
  return found;
}

export const tree = async (release: StagedRelease) => read(release.treeDir);

/** What staging says when it can't be done. */
export async function refusal(
  staging: Promise<unknown>,
): Promise<{ message: string; file: string | undefined; hint: string | undefined }> {
  const error = await staging.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(HostError);
  const { message, at, hint } = error as HostError;
  return { message, file: at?.file, hint };
}
