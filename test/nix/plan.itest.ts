import { execFileSync } from "node:child_process";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { UnavailableError } from "../../src/errors.ts";
import { Nix } from "../../src/nix/nix.ts";
import { planBuild, planBuilds } from "../../src/nix/plan.ts";
import { privateStore, type Store } from "./store.ts";

let store: Store;
let nix: Nix;
beforeAll(async () => {
  store = await privateStore();
  nix = await Nix.find();
});
afterAll(() => store.remove());

async function system(name: string, packages: string): Promise<string> {
  const dir = await store.tree(`plans/${name}/tree`, {
    "configuration.nix": `{ pkgs, ... }: { networking.hostName = "${name}"; environment.systemPackages = [ ${packages} ]; }`,
  });
  const args = ["--arg", "configuration", path.join(dir, "configuration.nix")];
  return execFileSync("nix-instantiate", ["<nixpkgs/nixos>", "-A", "system", ...args], {
    stdio: ["ignore", "pipe", "ignore"],
  })
    .toString()
    .trim();
}

test("plans made together are those made one by one, before and after some of it is built", async () => {
  const drvs = [await system("a", "pkgs.curl pkgs.git"), await system("b", "pkgs.git"), await system("c", "")];
  const oneByOne = async () => Promise.all(drvs.map((drv) => planBuild(nix, [drv])));
  const before = await planBuilds(nix, drvs);
  expect(before).toEqual(await oneByOne());
  expect(before.map(({ build }) => build)).toEqual([3, 2, 1]);
  execFileSync("nix-store", ["--realise", drvs[1] ?? ""], { stdio: "ignore" });
  const after = await planBuilds(nix, drvs);
  expect(after).toEqual(await oneByOne());
  expect(after.map(({ build }) => build)).toEqual([2, 0, 1]);
});

test("a single one, and none", async () => {
  const nothing = { build: 0, fetch: 0, download: 0, unpacked: 0 };
  expect(await planBuilds(nix, [])).toEqual([]);
  expect(await planBuild(nix, [])).toEqual(nothing);
  const drv = await system("d", "pkgs.htop");
  expect(await planBuild(nix, [drv])).toEqual({ ...nothing, build: 2 });
  expect(await planBuilds(nix, [drv])).toEqual([{ ...nothing, build: 2 }]);
  execFileSync("nix-store", ["--realise", drv], { stdio: "ignore" });
  expect(await planBuild(nix, [drv])).toEqual(nothing);
});

test("what is no derivation has none", async () => {
  await expect(planBuild(nix, [path.join(store.dir, "nix/store/none.drv")])).rejects.toBeInstanceOf(UnavailableError);
});
