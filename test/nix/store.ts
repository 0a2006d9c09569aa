import { execFileSync } from "node:child_process";
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { type Entry, writeTree } from "../platform/scratch.ts";

const TINY_NIXPKGS = path.resolve(import.meta.dirname, "../../scripts/demo-fleet/nixpkgs");

export type Store = Awaited<ReturnType<typeof privateStore>>;

/**
 * A Nix store of the test file's own, with the tiny nixpkgs in the search path, so that this machine's store isn't touched.
 * Sets this process's environment, since that is where Nix looks for all of it; `remove` puts back what was.
 */
export async function privateStore() {
  // Not below /tmp, which a store's directory refuses on some machines as one that others can write.
  const dir = await mkdtemp("/var/tmp/bento-nix-");
  const nixpkgs = path.join(dir, "nixpkgs");
  const before = { ...process.env };
  Object.assign(process.env, {
    HOME: path.join(dir, "home"),
    NIX_REMOTE: "local",
    NIX_PATH: `nixpkgs=${nixpkgs}`,
    NIX_STORE_DIR: path.join(dir, "nix/store"),
    NIX_STATE_DIR: path.join(dir, "nix/var"),
    NIX_LOG_DIR: path.join(dir, "nix/log"),
    NIX_CONF_DIR: path.join(dir, "nix/conf"),
    NIX_CONFIG: "experimental-features = nix-command flakes\nsandbox = false\nbuild-users-group =\nsubstituters =",
  });
  for (const name of ["home", "nix/store", "nix/conf"]) await mkdir(path.join(dir, name), { recursive: true });
  await cp(TINY_NIXPKGS, nixpkgs, { recursive: true });
  execFileSync("nix-store", ["--version"]);
  const system = execFileSync("nix-instantiate", ["--eval", "--expr", "builtins.currentSystem"]).toString();
  return {
    dir,
    nixpkgs,
    system: system.trim().replaceAll('"', ""),
    /** A directory with these files. */
    async tree(name: string, files: Readonly<Record<string, Entry>>): Promise<string> {
      const tree = path.join(dir, "trees", name);
      await writeTree(tree, files);
      return tree;
    },
    /** Files of a flake that has the tiny nixpkgs as its input, and `configurations` as what it has. */
    flake(configurations: string): string {
      return `{
  inputs.nixpkgs.url = "path:${nixpkgs}";

  outputs = { nixpkgs, ... }: {
    nixosConfigurations = ${configurations};
  };
}
`;
    },
    async lock(tree: string): Promise<void> {
      execFileSync("nix", ["flake", "lock", `path:${tree}`], { stdio: "ignore" });
    },
    async remove(): Promise<void> {
      for (const name of Object.keys(process.env)) if (!(name in before)) delete process.env[name];
      Object.assign(process.env, before);
      execFileSync("chmod", ["-R", "u+w", dir]);
      await rm(dir, { recursive: true });
    },
    write: (file: string, text: string) => writeFile(path.join(dir, "trees", file), text),
  };
}
