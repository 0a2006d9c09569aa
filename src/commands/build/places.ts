import { createHash, createHmac, randomBytes } from "node:crypto";
import { link, readdir, readFile, realpath, rm, stat, symlink } from "node:fs/promises";
import { hostname } from "node:os";
import path from "node:path";
import { UnavailableError } from "../../errors.ts";
import type { CacheSource } from "../../nix/prune-cache.ts";
import { makeDirectory, writeFileAtomically } from "../../platform/files.ts";
import { stateDirectory } from "../../platform/user-directories.ts";

// What Bento keeps on the machine that it builds on.

/**
 * The gc roots of a fleet's hosts: a directory of the fleet's own, since two fleets may have hosts of the same name. A fleet is
 * known by where it is; on Actions, where each runner has a place of its own for it, by its repository.
 */
export async function defaultRoots(env: NodeJS.ProcessEnv, fleet: string): Promise<string> {
  const place = await realpath(fleet);
  const { GITHUB_REPOSITORY: repository, GITHUB_SERVER_URL: server = "", GITHUB_WORKSPACE: workspace } = env;
  const identity =
    repository && workspace ? [server, repository, path.relative(await realpath(workspace), place)].join(" ") : place;
  const id = createHash("sha256").update(identity).digest("hex").slice(0, 8);
  const name = path.basename((repository && workspace && repository) || place) || "fleet";
  return path.join(allRoots(env), `${name}-${id}`);
}

/** Where the gc roots of all fleets are that this user builds on this machine. */
function allRoots(env: NodeJS.ProcessEnv): string {
  return path.join(stateDirectory(env), "roots");
}

/**
 * Remembers a place of gc roots that was asked for, so that what they keep alive counts wherever it is looked at. Gives what is to be
 * said where that can't be written down, which is no reason to build nothing.
 */
export async function noteRoots(env: NodeJS.ProcessEnv, roots: string): Promise<string | null> {
  try {
    await makeDirectory(roots);
    const place = await realpath(roots);
    const id = createHash("sha256").update(place).digest("hex").slice(0, 8);
    await makeDirectory(allRoots(env));
    await symlink(place, path.join(allRoots(env), `${path.basename(place)}-${id}`)).catch((error) => {
      if (error.code !== "EEXIST") throw error;
    });
    return null;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    return `--roots: ${allRoots(env)} can't be written to (${code}), so a build with --prune elsewhere doesn't know of ${roots}`;
  }
}

/** The directories of gc roots, each with one for each host, of all fleets, and where else they were asked for. */
export async function placesOfRoots(env: NodeJS.ProcessEnv): Promise<string[]> {
  const names = await readdir(allRoots(env)).catch(() => []);
  const places = names.map(async (name) => {
    const place = path.join(allRoots(env), name);
    // One that is gone keeps nothing alive in the store either.
    return (await stat(place).catch(() => undefined))?.isDirectory() ? [await realpath(place)] : [];
  });
  return (await Promise.all(places)).flat();
}

/**
 * What tells this machine and this state directory from others that fill the same cache. It is for everybody to read, which
 * machine-id(5) isn't: so it is made of that, which a machine's copy has another of, and of something secret of this directory's.
 */
export async function sourceOf(env: NodeJS.ProcessEnv): Promise<CacheSource> {
  const machine = (await readFile("/etc/machine-id", "utf8").catch(() => hostname())).trim();
  const state = stateDirectory(env);
  const secret = await secretIn(path.join(state, "cache-source"));
  const id = createHmac("sha256", secret).update(machine).digest("hex").slice(0, 32);
  return { line: `${id} ${state}`, former: `${machine} ${state}` };
}

/** A secret that is made once, whole, and by one of those who need it first at the same time. */
async function secretIn(file: string): Promise<string> {
  const known = await readFile(file, "utf8").catch(() => null);
  if (known !== null) return known;
  const own = `${file}.${randomBytes(6).toString("hex")}`;
  try {
    await writeFileAtomically(own, randomBytes(16).toString("hex"), 0o600);
    await link(own, file).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
    await rm(own);
    return await readFile(file, "utf8");
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === undefined) throw cause;
    throw new UnavailableError(`${file} can't be written (${code})`, {
      hint: "XDG_STATE_HOME says where Bento keeps what stays from one build to the next",
      cause,
    });
  }
}

/** The logs of builds that failed. */
export function defaultLogs(env: NodeJS.ProcessEnv): string {
  return path.join(stateDirectory(env), "logs");
}
