import { appendFile, link, lstat, open, readdir, readFile, rename, rm, utimes } from "node:fs/promises";
import path from "node:path";
import { UnavailableError } from "../errors.ts";
import { makeDirectory } from "../platform/files.ts";
import { parallel } from "../platform/parallel.ts";
import { lastSaid } from "./failure-message.ts";
import type { Nix } from "./nix.ts";

/** What was removed from a cache. */
export interface PrunedCache {
  /** Store paths that the cache doesn't promise any more. */
  paths: number;
  /** Of files; those of a path go a day after it. */
  bytes: number;
}

/** One line for each place whose builds are pushed there, which alone knows what of them is still wanted. */
const SOURCES = "bento-sources";
/** Milliseconds that what is there stays in any case: a push may be under way, or a host that has just asked. */
const GRACE = 24 * 3600 * 1000;
const NARINFO = /^[0-9a-df-np-sv-z]{32}\.narinfo$/;
/** Before the name of what is put aside. */
const ASIDE = ".pruned-";
const FILES = 64;

/** Who fills a cache: a line for everybody to read, and what it was before that had the machine's id in it. */
export interface CacheSource {
  line: string;
  former: string;
}

/** Notes in a cache that this place fills it. @throws UnavailableError when that can't be written. */
export async function claimCache(dir: string, source: CacheSource): Promise<void> {
  const known = await sourcesOf(dir);
  if (known.includes(source.line)) return;
  const failed = (what: string) => (cause: NodeJS.ErrnoException) => {
    throw new UnavailableError(`${what} (${cause.code})`, { cause });
  };
  await makeDirectory(dir).catch(failed(`${dir} can't be made`));
  const file = path.join(dir, SOURCES);
  const cannot = failed(`${file} can't be written`);
  if (known.includes(source.former)) await replaceLine(file, source).catch(cannot);
  else await appendFile(file, `${source.line}\n`).catch(cannot);
}

/** In its place, byte for byte: another machine may add its own line at the same time, and would lose it to a new file. */
async function replaceLine(file: string, { line, former }: CacheSource): Promise<void> {
  const text = await readFile(file);
  const at = Buffer.concat([Buffer.from("\n"), text]).indexOf(`\n${former}\n`);
  if (at < 0 || Buffer.byteLength(line) !== Buffer.byteLength(former)) return appendFile(file, `${line}\n`);
  const handle = await open(file, "r+");
  try {
    await handle.write(line, at);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Others' lines. That of this place as it was before counts as its own until it has another. */
async function othersIn(dir: string, { line, former }: CacheSource): Promise<string[]> {
  const all = await sourcesOf(dir);
  return all.filter((one) => one !== line && (one !== former || all.includes(line)));
}

async function sourcesOf(dir: string): Promise<string[]> {
  const text = await readFile(path.join(dir, SOURCES), "utf8").catch(() => "");
  return text.split("\n").filter((line) => line !== "");
}

/**
 * Removes from a binary cache in a directory what none of the store paths in `kept` needs, as they are told when it is asked. What was
 * put there within a day stays. What says that a path is there is first put aside; then it is asked again what is kept, since a
 * push that has seen it just before, and so left it out, made its roots before that; and only then it goes, and the path after it.
 * Whatever ends it leaves nothing that is promised and missing.
 * @throws UnavailableError, with nothing removed, when others fill the cache as well, or what is needed can't be told.
 */
export async function pruneCache(
  nix: Nix,
  dir: string,
  { kept, source, now }: { kept: () => Promise<readonly string[]>; source: CacheSource; now: number },
): Promise<PrunedCache> {
  const others = await othersIn(dir, source);
  if (others.length > 0) {
    throw new UnavailableError(
      `others push there, too, and what of theirs is still wanted isn't known here: ${others[0]}`,
      {
        hint: `let each have a cache of its own, or, if that one is gone, take its line out of ${path.join(dir, SOURCES)}`,
      },
    );
  }
  const before = await closureHashes(nix, await kept());
  const place = (name: string) => path.join(dir, name);
  const names = await readdir(dir);
  const unwanted = names.filter((name) => NARINFO.test(name) && !before.has(name.slice(0, 32)));
  await parallel(unwanted, FILES, async (name) => {
    if ((await oldSize(place(name), now)) !== undefined) await rename(place(name), place(ASIDE + name));
  });

  // Those of a run that was ended are among them.
  const wanted = await closureHashes(nix, await kept());
  const aside = (await readdir(dir)).filter((name) => name.startsWith(ASIDE) && NARINFO.test(name.slice(ASIDE.length)));
  await parallel(aside, FILES, async (name) => {
    const own = name.slice(ASIDE.length);
    if (!wanted.has(own.slice(0, 32))) return;
    // A push may have put it there again meanwhile, with a signature that this one hasn't.
    await link(place(name), place(own)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
    await rm(place(name));
  });

  const gone = aside.filter((name) => !wanted.has(name.slice(ASIDE.length).slice(0, 32)));
  await parallel(gone, FILES, (name) => rm(place(name), { force: true }));
  return { paths: gone.length, bytes: await pruneNars(dir, now) };
}

/**
 * The same of the files that paths are packed in, but that those which are put aside stay for a day: a push that has found one there,
 * and so doesn't upload it, may not have said yet that its path is there; `mendCache` brings it back. Gives the bytes that were removed.
 */
async function pruneNars(dir: string, now: number): Promise<number> {
  const before = await usedNars(dir);
  const unused = (await narsIn(dir)).filter((name) => !name.startsWith(ASIDE) && !before.has(name));
  await parallel(unused, FILES, async (name) => {
    const file = path.join(dir, "nar", name);
    if ((await oldSize(file, now)) === undefined) return;
    await utimes(file, now / 1000, now / 1000);
    await rename(file, path.join(dir, "nar", ASIDE + name));
  });
  await mendCache(dir);
  const aside = (await narsIn(dir)).filter((name) => name.startsWith(ASIDE));
  const sizes = await parallel(aside, FILES, async (name) => {
    const file = path.join(dir, "nar", name);
    const size = await oldSize(file, now);
    if (size !== undefined) await rm(file, { force: true });
    return size ?? 0;
  });
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** Brings back what was put aside, and is promised: to be called after a push, which may have found it there while it was. */
export async function mendCache(dir: string): Promise<void> {
  const aside = (await narsIn(dir)).filter((name) => name.startsWith(ASIDE));
  if (aside.length === 0) return;
  const used = await usedNars(dir);
  const there = new Set(await narsIn(dir));
  await parallel(aside, FILES, async (name) => {
    const own = name.slice(ASIDE.length);
    if (!used.has(own) || there.has(own)) return;
    await rename(path.join(dir, "nar", name), path.join(dir, "nar", own)).catch((error: NodeJS.ErrnoException) => {
      // Another one has brought it back.
      if (error.code !== "ENOENT") throw error;
    });
  });
}

async function narsIn(dir: string): Promise<string[]> {
  return readdir(path.join(dir, "nar")).catch(() => []);
}

/** The files, in nar/, of all paths that the cache promises. */
async function usedNars(dir: string): Promise<Set<string | undefined>> {
  const narinfos = (await readdir(dir)).filter((name) => NARINFO.test(name));
  const nars = await parallel(narinfos, FILES, async (name) => {
    return /^URL: nar\/([^/\n]+)$/m.exec(await readFile(path.join(dir, name), "utf8"))?.[1];
  });
  return new Set(nars);
}

/** Bytes of a file that has been there for longer than a day; undefined for anything else. */
async function oldSize(file: string, now: number): Promise<number | undefined> {
  const info = await lstat(file).catch(() => undefined);
  return info?.isFile() && now - info.mtimeMs > GRACE ? info.size : undefined;
}

/** The hash parts of store paths and of all that they need. */
async function closureHashes(nix: Nix, paths: readonly string[]): Promise<Set<string>> {
  const hashes = new Set<string>();
  for (let begin = 0; begin < paths.length; begin += 1000) {
    const run = await nix.run("nix-store", ["--query", "--requisites", ...paths.slice(begin, begin + 1000)]);
    if (run.status !== 0) {
      const said = lastSaid(run.stderr);
      throw new UnavailableError(`what is kept can't be told: ${said}`, {
        // As after a new installation of Nix, below a home with all that was kept.
        ...(/is not valid$/.test(said)
          ? { hint: "it has a gc root, and isn't in the store: build it again, or remove that root" }
          : {}),
      });
    }
    for (const line of run.stdout.split("\n")) hashes.add(path.basename(line).slice(0, 32));
  }
  return hashes;
}
