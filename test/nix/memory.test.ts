import { readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { EvaluationMemory } from "../../src/nix/memory.ts";
import { scratch } from "../platform/scratch.ts";

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
