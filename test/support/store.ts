import { cp, mkdir } from "node:fs/promises";
import path from "node:path";
import { packageRoot } from "../../src/platform/package.ts";
import { succeed } from "./programs.ts";

/** A Nix store of a world's own. Nix is as real as ever, only its paths differ. */
export interface PrivateStore {
  /** Where the paths are. */
  dir: string;
  /** What makes Nix use it. */
  env: Record<string, string>;
  /** The tiny nixpkgs, whose systems build in a second; also NIX_PATH's. */
  nixpkgs: string;
  /** Such as x86_64-linux. */
  system: string;
}

export async function makeStore(world: string): Promise<PrivateStore> {
  const nix = path.join(world, "nix");
  const nixpkgs = path.join(world, "nixpkgs");
  const dir = path.join(nix, "store");
  const env = {
    NIX_REMOTE: "local",
    NIX_PATH: `nixpkgs=${nixpkgs}`,
    HOME: path.join(world, "home"),
    NIX_STORE_DIR: dir,
    NIX_STATE_DIR: path.join(nix, "var"),
    NIX_LOG_DIR: path.join(nix, "log"),
    NIX_CONF_DIR: path.join(nix, "conf"),
    // Where `scripts/test --nix` has another one: Nix starts itself.
    ...(process.env.NIX_BIN_DIR ? { NIX_BIN_DIR: process.env.NIX_BIN_DIR } : {}),
    // No cache is asked, and no sandbox is made: the tiny nixpkgs builds with this machine's /bin/sh.
    NIX_CONFIG: [
      "experimental-features = nix-command flakes",
      "sandbox = false",
      "build-users-group =",
      "substituters =",
    ].join("\n"),
  };
  for (const place of [env.HOME, env.NIX_CONF_DIR, dir]) await mkdir(place, { recursive: true });
  await cp(path.join(packageRoot(), "scripts/demo-fleet/nixpkgs"), nixpkgs, { recursive: true });
  const system = await succeed("nix-instantiate", ["--eval", "--expr", "builtins.currentSystem"], { env });
  return { dir, env, nixpkgs, system: system.replaceAll('"', "") };
}
