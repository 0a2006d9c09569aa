import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { noteRoots, sourceOf } from "../../src/commands/build/places.ts";
import type { Nix } from "../../src/nix/nix.ts";
import { claimCache, pruneCache } from "../../src/nix/prune-cache.ts";
import { scratch } from "../platform/scratch.ts";

// bento-sources: who fills a cache, a line for each.

const FORMER = `${"b".repeat(32)} /var/lib/state`;
const source = { line: `${"a".repeat(32)} /var/lib/state`, former: FORMER };

async function cacheWith(dir: string, ...lines: string[]): Promise<string> {
  await mkdir(dir, { recursive: true });
  const file = path.join(dir, "bento-sources");
  await writeFile(file, lines.map((line) => `${line}\n`).join(""));
  return file;
}

/** Whether it would be emptied. Nothing that is there is asked for, so nothing is asked of Nix either. */
async function isOwn(dir: string): Promise<boolean> {
  const pruning = pruneCache({} as Nix, dir, { kept: async () => [], source, now: 0 });
  return pruning.then(
    () => true,
    (error) => {
      expect(error.message).toContain("others push there, too");
      return false;
    },
  );
}

test("a place is known by an id of its own, which is the same each time, and not the machine's", async () => {
  await using dir = await scratch();
  const env = { XDG_STATE_HOME: dir.path };
  const [one, two] = await Promise.all([sourceOf(env), sourceOf(env)]);
  expect(one).toEqual(two);
  expect(await sourceOf(env)).toEqual(one);
  const machine = (await readFile("/etc/machine-id", "utf8")).trim();
  expect(one).toEqual({
    line: expect.stringMatching(new RegExp(`^[0-9a-f]{32} ${dir.path}/bento$`)),
    former: `${machine} ${dir.path}/bento`,
  });
  expect(one.line).not.toContain(machine);
  expect((await stat(path.join(dir.path, "bento/cache-source"))).mode & 0o777).toBe(0o600);
  await using other = await scratch();
  expect((await sourceOf({ XDG_STATE_HOME: other.path })).line.slice(0, 32)).not.toBe(one.line.slice(0, 32));
});

test("where nothing can be kept, that is said, and no bug", async () => {
  const env = { XDG_STATE_HOME: "/proc/state" };
  await expect(sourceOf(env)).rejects.toThrow("/proc/state/bento/cache-source can't be written (ENOENT)");
  await using dir = await scratch();
  expect(await noteRoots(env, dir.path)).toContain("/proc/state/bento/roots can't be written to (ENOENT)");
});

test("what a cache had of the machine's id is replaced in its place, and nothing of others", async () => {
  await using dir = await scratch();
  const file = await cacheWith(dir.path, `other${FORMER}`, FORMER, "third /state");
  expect(await isOwn(dir.path)).toBe(false);
  await claimCache(dir.path, source);
  expect(await readFile(file, "utf8")).toBe(`other${FORMER}\n${source.line}\nthird /state\n`);
  await claimCache(dir.path, source);
  expect(await readFile(file, "utf8")).toBe(`other${FORMER}\n${source.line}\nthird /state\n`);
  expect(await isOwn(dir.path)).toBe(false);
});

test("until it is replaced it is this place's own; after that it is another's, such as a copy of this machine", async () => {
  await using dir = await scratch();
  await cacheWith(dir.path, FORMER);
  expect(await isOwn(dir.path)).toBe(true);
  await claimCache(dir.path, source);
  expect(await isOwn(dir.path)).toBe(true);
  const file = await cacheWith(dir.path, source.line, FORMER);
  expect(await isOwn(dir.path)).toBe(false);
  await claimCache(dir.path, source);
  expect(await readFile(file, "utf8")).toBe(`${source.line}\n${FORMER}\n`);
});

test("where there was no machine's id, and the line has another length, it is added", async () => {
  await using dir = await scratch();
  const file = await cacheWith(dir.path, "builder /var/lib/state");
  await claimCache(dir.path, { ...source, former: "builder /var/lib/state" });
  expect(await readFile(file, "utf8")).toBe(`builder /var/lib/state\n${source.line}\n`);
});
