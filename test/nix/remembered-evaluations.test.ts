import { mkdir, readdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { EvaluationMemory } from "../../src/nix/remembered-evaluations.ts";
import { scratch } from "../platform/scratch.ts";
import { succeed } from "../support/programs.ts";

const KEY = "a".repeat(64);
const OTHER = "b".repeat(64);

test("without a secret, what is in the directory is believed", async () => {
  await using dir = await scratch();
  await new EvaluationMemory(dir.path).remember(KEY, { toplevel: "/nix/store/x" });
  expect(await new EvaluationMemory(dir.path).recall(KEY)).toEqual({ toplevel: "/nix/store/x" });
});

test("with a secret, only what was remembered with it", async () => {
  await using dir = await scratch();
  const [mine, theirs, open] = ["mine", "theirs", null].map((secret) => new EvaluationMemory(dir.path, secret));
  await mine?.remember(KEY, "mine");
  await theirs?.remember(KEY, "theirs");
  await open?.remember(KEY, "open");
  expect(await mine?.recall(KEY)).toBe("mine");
  expect(await theirs?.recall(KEY)).toBe("theirs");
  expect(await open?.recall(KEY)).toBe("open");
});

test("an entry that was changed, cut off, or put in another's place is none", async () => {
  await using dir = await scratch();
  const memory = new EvaluationMemory(dir.path, "secret");
  await memory.remember(KEY, { drv: "good" });
  await memory.remember(OTHER, { drv: "other" });
  const [file = "", other = ""] = (await readdir(dir.path)).sort().map((name) => path.join(dir.path, name));
  const text = await readFile(file, "utf8");
  for (const wrong of [
    text.replace("good", "evil"),
    text.split("\n")[0] ?? "",
    '{"drv":"evil"}\n\n',
    await readFile(other, "utf8"),
  ]) {
    await writeFile(file, wrong);
    expect(await memory.recall(KEY), wrong).toBeUndefined();
  }
  await writeFile(file, text);
  expect(await memory.recall(KEY)).toEqual({ drv: "good" });
});

test("what is in another's directory is believed by its code alone, is kept as one's own, and nothing is written there", async () => {
  await using own = await scratch();
  await using other = await scratch();
  await new EvaluationMemory(other.path, "secret").remember(KEY, { drv: "good" });
  await new EvaluationMemory(other.path).remember(OTHER, { drv: "evil" });
  const before = await readdir(other.path);
  const memory = (secret: string | null, ...others: string[]) => new EvaluationMemory(own.path, secret, others);
  expect(await memory(null, other.path).recall(OTHER)).toBeUndefined();
  expect(await memory("secret", other.path).recall(OTHER)).toBeUndefined();
  expect(await memory("another", other.path).recall(KEY)).toBeUndefined();
  expect(await readdir(own.path)).toEqual([]);
  expect(await memory("secret", "/nonexistent", other.path).recall(KEY)).toEqual({ drv: "good" });
  expect(await memory("secret").recall(KEY)).toEqual({ drv: "good" });
  await memory("secret", other.path).remember(OTHER, { drv: "mine" });
  expect(await readdir(other.path)).toEqual(before);
});

test("a pipe, a link, a directory and a file without an end are no entries, and nobody waits for them", async () => {
  await using own = await scratch();
  await using other = await scratch();
  await new EvaluationMemory(other.path, "secret").remember(KEY, "good");
  const [name = ""] = await readdir(other.path);
  const file = path.join(other.path, name);
  const secret = path.join(own.path, "somebody's");
  await rename(file, secret);
  const memory = new EvaluationMemory(own.path, "secret", [other.path]);
  for (const place of [
    () => succeed("mkfifo", [file]),
    () => symlink(secret, file),
    () => mkdir(file),
    () => succeed("truncate", ["--size=1T", file]),
  ]) {
    await place();
    expect(await memory.recall(KEY)).toBeUndefined();
    await rm(file, { recursive: true });
  }
  await rename(secret, file);
  expect(await memory.recall(KEY)).toBe("good");
});
