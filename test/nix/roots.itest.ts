import { lutimes, readdir, rm } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Nix } from "../../src/nix/nix.ts";
import { addRoots, removeRoot, rootsIn } from "../../src/nix/roots.ts";
import { exec, succeed } from "../support/programs.ts";
import { privateStore, type Store } from "./store.ts";

let store: Store;
let nix: Nix;
beforeAll(async () => {
  store = await privateStore();
  nix = await Nix.find();
});
afterAll(() => store.remove());

async function built(name: string): Promise<string> {
  const drv = await succeed("nix-instantiate", [
    "-E",
    `derivation { name = "${name}"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo > $out" ]; }`,
  ]);
  return succeed("nix-store", ["--realise", drv]);
}
const isAlive = async (storePath: string) => (await exec("nix-store", ["--check-validity", storePath])).status === 0;
const directory = () => path.join(store.dir, "roots/nas");

test("what has a root stays, and asking again makes it the newest", async () => {
  const [one, two, none] = [await built("one"), await built("two"), await built("none")];
  await addRoots(nix, [{ storePath: one, directory: directory() }]);
  await addRoots(nix, [{ storePath: two, directory: directory() }]);
  const [, first] = await rootsIn(directory());
  await lutimes(first?.file ?? "", new Date(0), new Date(0));
  await addRoots(nix, [{ storePath: one, directory: directory() }]);
  expect((await rootsIn(directory())).map(({ target }) => target)).toEqual([one, two]);
  await succeed("nix-store", ["--gc"]);
  expect([await isAlive(one), await isAlive(two), await isAlive(none)]).toEqual([true, true, false]);
});

test("a root that Nix has forgotten is told to it again", async () => {
  const storePath = await built("forgotten");
  await addRoots(nix, [{ storePath, directory: directory() }]);
  await rm(path.join(process.env.NIX_STATE_DIR ?? "", "gcroots/auto"), { recursive: true });
  await addRoots(nix, [{ storePath, directory: directory() }]);
  await succeed("nix-store", ["--gc"]);
  expect(await isAlive(storePath)).toBe(true);
});

test("what has no root any more goes", async () => {
  for (const root of await rootsIn(directory())) await removeRoot(root);
  expect(await readdir(directory())).toEqual([]);
  expect(await rootsIn(path.join(directory(), "missing"))).toEqual([]);
});
