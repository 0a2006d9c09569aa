import { readdir, readFile, utimes, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { buildAll } from "../../src/nix/build.ts";
import { inertLog, removeOldLogs, saveLog } from "../../src/nix/build-log.ts";
import { Nix, NO_PASSTHROUGH } from "../../src/nix/nix.ts";
import { scratch } from "../platform/scratch.ts";
import { succeed } from "../support/programs.ts";
import { privateStore, type Store } from "./store.ts";

let store: Store;
beforeAll(async () => {
  store = await privateStore();
});
afterAll(() => store.remove());

/** Builds what fails, and gives what is known of it. */
async function failing(name: string, script: string, nix: Nix) {
  const text = `PATH=/run/current-system/sw/bin:/usr/bin:/bin\n${script}\nexit 1`;
  const drv = await succeed("nix-instantiate", [
    "-E",
    `derivation { name = ${JSON.stringify(name)}; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" ${JSON.stringify(text)} ]; }`,
  ]);
  const [outcome] = await buildAll(nix, [
    { drv, output: path.join(store.dir, "nix/store/00000000000000000000000000000000-x") },
  ]);
  const culprit = outcome?.kind === "failed" ? outcome.culprits[0] : undefined;
  if (culprit === undefined) throw new Error(`it did not fail: ${JSON.stringify(outcome)}`);
  return culprit;
}

test("a long log is kept whole, and its end is in memory", async () => {
  await using dir = await scratch();
  const nix = await Nix.find();
  const culprit = await failing("long", "seq 1 300000", nix);
  expect(culprit.tail.at(-1)).toBe("300000");
  expect(culprit.tail).toHaveLength(40);
  const log = await readFile(await saveLog(nix, culprit, dir.path), "utf8");
  expect(log.split("\n")).toHaveLength(300_001);
}, 60_000);

test("where Nix keeps no logs, what is known is kept", async () => {
  await using dir = await scratch();
  const nix = await Nix.find({ ...NO_PASSTHROUGH, options: [["keep-build-log", "false"]] });
  const culprit = await failing("unkept", "echo the cause", nix);
  expect(await readFile(await saveLog(nix, culprit, dir.path), "utf8")).toBe("the cause\n");
  expect(await readdir(dir.path)).toHaveLength(1);
});

test("what a log has in it does nothing to a terminal", () => {
  const text =
    "\u001b[31mred\u001b[0m \u001b]8;;https://example.org\u0007link\u001b]8;;\u0007 \u202etxt\u0000\r\nnext\rover";
  expect(inertLog(text)).toBe("red link \ufffdtxt\ufffd\nnext\ufffdover");
});

test("old logs go, and nothing else", async () => {
  await using dir = await scratch();
  const old = `${"0".repeat(32)}-old-1.0.log`;
  const recent = `${"1".repeat(32)}-new-1.0.log`;
  for (const name of [old, recent, "notes.log"]) {
    await writeFile(path.join(dir.path, name), "");
    if (name !== recent) await utimes(path.join(dir.path, name), new Date(0), new Date(0));
  }
  await removeOldLogs(dir.path);
  expect((await readdir(dir.path)).sort()).toEqual([recent, "notes.log"].sort());
  await removeOldLogs(path.join(dir.path, "missing"));
});
