import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { seal } from "../../src/release/envelope.ts";
import { openPrivateKey } from "../../src/release/keys.ts";
import type { Manifest } from "../../src/release/manifest.ts";
import { nextManifest } from "../../src/release/plan.ts";
import { type Archive, archive } from "../../src/tree/nar.ts";
import type { KeyPair } from "./keys.ts";
import { succeed } from "./programs.ts";
import type { PrivateStore } from "./store.ts";

/** A release that was made and signed, and published nowhere yet. */
export interface Release {
  manifest: Manifest;
  envelope: string;
  archive: Archive & { bytes: Buffer };
}

/** What a release is made of: texts of files by their path in the tree, or a release directory with `tree/` in it. */
export type Content = { files: Readonly<Record<string, string>> } | { dir: string };

export interface ReleaseOptions {
  /** Changed before it is signed. */
  manifest?: Partial<Manifest>;
  /** What the host was given before. */
  published?: Manifest | null;
  /** Whether the manifest says which system must come out; true unless told otherwise. */
  evaluate?: boolean;
}

let commits = 0;

/** A host without flakes: its configuration.nix, with `definitions` as its content. */
export function channelHost(name: string, definitions = ""): Content {
  return { files: { "configuration.nix": configuration(name, definitions) } };
}

/** A host with a flake of its own. Its lock file is made when it is staged. */
export function flakeHost(name: string, store: PrivateStore, definitions = ""): Content {
  const flake = `{
  inputs.nixpkgs.url = "path:${store.nixpkgs}";
  outputs = { nixpkgs, ... }: {
    nixosConfigurations.${name} =
      nixpkgs.lib.nixosSystem { system = "${store.system}"; modules = [ ./configuration.nix ]; };
  };
}
`;
  return { files: { "flake.nix": flake, "configuration.nix": configuration(name, definitions) } };
}

function configuration(name: string, definitions: string): string {
  return `{ pkgs, ... }:\n{\n  networking.hostName = "${name}";\n${definitions}\n}\n`;
}

/** Makes a host's release as a deploy does: packs it, evaluates it, writes its manifest, and signs that. */
export async function makeRelease(
  host: string,
  content: Content,
  signingKey: KeyPair,
  world: string,
  options: ReleaseOptions = {},
): Promise<Release> {
  const scratch = await mkdtemp(path.join(world, "release-"));
  try {
    const dir = "dir" in content ? content.dir : await writeTree(path.join(scratch, "release"), content.files);
    const treeDir = path.join(dir, "tree");
    const isFlake = "files" in content && "flake.nix" in content.files;
    const source = { kind: isFlake ? "flake" : "channel", attr: isFlake ? host : "configuration.nix" } as const;
    if (isFlake) await succeed("nix", ["flake", "lock", `path:${treeDir}`]);
    const packed = await archive(dir);
    const toplevel = options.evaluate === false ? null : await evaluate(source, treeDir);
    commits += 1;
    const candidate = {
      host,
      commit: commits.toString(16).padStart(40, "0"),
      subject: `change number ${commits}`,
      digest: packed.digest,
      archive: { name: packed.name, size: packed.size, sha256: packed.sha256 },
      ...source,
      toplevel,
    };
    const manifest = { ...nextManifest(candidate, options.published ?? null, Date.now()), ...options.manifest };
    return { manifest, envelope: await sealWith(manifest, signingKey), archive: packed };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Signs a manifest, and gives the envelope's text. */
export async function sealWith(manifest: Manifest, { file }: KeyPair): Promise<string> {
  await using key = await openPrivateKey({ file }, "the signing key");
  return await seal(manifest, key);
}

async function evaluate({ kind, attr }: Pick<Manifest, "kind" | "attr">, treeDir: string): Promise<string> {
  if (kind === "flake") {
    const system = `path:${treeDir}#nixosConfigurations.${attr}.config.system.build.toplevel.outPath`;
    return succeed("nix", ["eval", "--raw", "--no-write-lock-file", system]);
  }
  const expression = `(import <nixpkgs/nixos> { configuration = ${treeDir}/${attr}; }).system.outPath`;
  return JSON.parse(await succeed("nix-instantiate", ["--eval", "--json", "--expr", expression]));
}

async function writeTree(dir: string, files: Readonly<Record<string, string>>): Promise<string> {
  for (const [name, text] of Object.entries(files)) {
    const file = path.join(dir, "tree", name);
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, text);
  }
  return dir;
}

/** Builds the system of a host without flakes, with the Nix of this process's environment; `dir` is for its configuration. */
export async function buildChannelHost(content: Content, dir: string): Promise<string> {
  if (!("files" in content)) throw new Error("it has no files");
  const file = path.join(dir, "built.nix");
  await writeFile(file, content.files["configuration.nix"] ?? "");
  return succeed("nix-build", ["<nixpkgs/nixos>", "-A", "system", "-I", `nixos-config=${file}`, "--no-out-link"]);
}

/** Throws away what no machine runs, and what Nix remembers of caches. */
export async function forgetSystems(): Promise<void> {
  await succeed("nix-store", ["--gc"]);
  await rm(path.join(process.env.HOME ?? "", ".cache/nix"), { recursive: true, force: true });
}
