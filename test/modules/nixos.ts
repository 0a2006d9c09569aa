import path from "node:path";
import { exec, succeed } from "../support/programs.ts";

export const root = path.resolve(import.meta.dirname, "../..");
/** The path of a nixpkgs of 20.09 or later, for the tests that evaluate real NixOS systems. */
export const nixpkgs = process.env.BENTO_TEST_NIXPKGS;
/** Another nixpkgs' lib, whose module system the modules are tried with. */
export const lib = process.env.BENTO_TEST_NIXPKGS_LIB ?? `${nixpkgs}/lib`;

/** What every machine needs to be one. */
export const MACHINE = `fileSystems."/" = { device = "/dev/vda1"; fsType = "ext4"; }; boot.loader.grub.device = "/dev/vda";`;

/** `wanted`, an expression with `config` and `lib` in scope, of the NixOS machine that `configuration` describes. */
export async function evaluate(configuration: string, wanted: string) {
  return json(`let
      nixos = import ${nixpkgs}/nixos { configuration = ${configuration}; };
      inherit (nixos) config;
      lib = import ${nixpkgs}/lib;
    in ${wanted}`);
}

export async function json(expression: string) {
  const options = ["--eval", "--strict", "--json", "--read-write-mode"];
  return JSON.parse(await succeed("nix-instantiate", [...options, "--expr", expression]));
}

/** The same work for several tests, done when the first of them asks. */
export function once<T>(work: () => Promise<T>): () => Promise<T> {
  let result: Promise<T> | undefined;
  return () => {
    result ??= work();
    return result;
  };
}

/**
 * A directory as a store path that Nix takes for a flake's source as it is, instead of copying it for each host. To add
 * a nixpkgs takes Nix a minute, and to hash it two seconds, so one that is there is left alone.
 */
export async function inStore(dir: string): Promise<string> {
  const hash = await succeed("nix-hash", ["--type", "sha256", "--base32", dir]);
  const place = await succeed("nix-store", ["--print-fixed-path", "--recursive", "sha256", hash, "source"]);
  if ((await exec("nix-store", ["--check-validity", place])).status === 0) return place;
  return json(`"\${builtins.path { path = ${dir}; name = "source"; }}"`);
}
