import { execFileSync } from "node:child_process";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { sourcePath } from "../../src/nix/store-path.ts";
import { narDigest } from "../../src/tree/nar.ts";
import { privateStore, type Store } from "./store.ts";

let store: Store;
beforeAll(async () => {
  store = await privateStore();
});
afterAll(() => store.remove());

const storeDir = () => process.env.NIX_STORE_DIR ?? "";

test("a directory's store path is the one to which Nix copies it", async () => {
  for (const content of ["a", "b", "c", "d"]) {
    const dir = await store.tree(`content-${content}/tree`, { file: content, "sub/link": { link: "../file" } });
    const expression = `"\${builtins.path { path = ${dir}; name = "source"; }}"`;
    const args = ["--eval", "--read-write-mode", "--json", "--expr", expression];
    const copied = JSON.parse(execFileSync("nix-instantiate", args).toString());
    expect(sourcePath(await narDigest(dir), storeDir())).toBe(copied);
  }
});

test("also under a name of its own, as nix-store --add gives it", async () => {
  const dir = await store.tree("named/my-tree", { file: "x" });
  const added = execFileSync("nix-store", ["--add", dir]).toString().trim();
  expect(sourcePath(await narDigest(dir), storeDir(), path.basename(dir))).toBe(added);
});

test("also as the source of a flake", async () => {
  const dir = await store.tree("flake/tree", { "flake.nix": "{ outputs = { self }: { at = self.outPath; }; }" });
  const at = JSON.parse(execFileSync("nix", ["eval", "--json", `path:${dir}#at`]).toString());
  expect(sourcePath(await narDigest(dir), storeDir())).toBe(at);
});
