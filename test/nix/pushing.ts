import { writeFile } from "node:fs/promises";
import path from "node:path";
import { makeCacheKey } from "../../src/nix/cache-key.ts";
import { succeed } from "../support/programs.ts";

// What tests of pushes have to push.

/** Builds a system that needs ten other paths. */
export async function systemOfParts(): Promise<string> {
  const one = (n: number) =>
    `(derivation { name = "part-${n}"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo ${n} > $out" ]; })`;
  const parts = Array.from({ length: 10 }, (_, n) => one(n)).join(" ");
  const drv = await succeed("nix-instantiate", [
    "-E",
    `derivation { name = "all"; system = builtins.currentSystem; parts = [ ${parts} ]; builder = "/bin/sh"; args = [ "-c" "echo $parts > $out" ]; }`,
  ]);
  return succeed("nix-store", ["--realise", drv]);
}

/** A key of that name, and its file in `dir`. */
export async function cacheKey(dir: string, name: string): Promise<{ file: string; publicKey: string }> {
  const { secretKey, publicKey } = makeCacheKey(name);
  const file = path.join(dir, `${name}.key`);
  await writeFile(file, secretKey);
  return { file, publicKey };
}
