import { cp, mkdir, readdir } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { packageRoot } from "../../src/platform/package.ts";
import { privateStore, type Store } from "../nix/store.ts";
import { writeTree } from "../platform/scratch.ts";
import { exec, succeed } from "../support/programs.ts";

// The flake and default.nix, with a nixpkgs that has just what the package asks for, and builds with this machine's /bin/sh.

const STUB = `system: rec {
  lib = {
    assertMsg = ok: message: if ok then true else throw message;
    versionAtLeast = a: b: builtins.compareVersions a b >= 0;
    hasPrefix = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
    makeBinPath = packages: builtins.concatStringsSep ":" (map (package: "\${package}/bin") packages);
    licenses.mit = { };
    platforms.unix = [ ];
  };
  callPackage = file: given: let function = import file; in
    function (builtins.intersectAttrs (builtins.functionArgs function) pkgs // given);
  pkgs = {
    inherit lib;
    runtimeShell = "/bin/sh";
    git = "/git"; openssh = "/openssh"; age = "/age";
    stdenvNoCC.mkDerivation = { pname, version, src, installPhase, meta, ... }: (derivation {
      name = "\${pname}-\${version}";
      inherit system src;
      builder = "/bin/sh";
      args = [ "-eu" "-c" "PATH=/usr/bin:/bin; cd $src; \${installPhase}" ];
    }) // { inherit meta; };
  };
  nodejs_24 = { outPath = "NODE"; version = "24.0.0"; };
}
`;

let store: Store;
let bento: string;
let nixpkgs: string;
const before = { ...process.env };

beforeAll(async () => {
  store = await privateStore();
  const node = path.resolve(process.execPath, "../..");
  nixpkgs = await store.tree("nixpkgs", {
    "system.nix": STUB.replace("NODE", node),
    "default.nix": `{ }: import ./system.nix "${store.system}"`,
    "flake.nix": `{ outputs = { self }: { legacyPackages.${store.system} = import ./system.nix "${store.system}"; }; }`,
  });
  bento = path.join(store.dir, "bento");
  await mkdir(bento);
  const parts = ["dist", "utils", "share", "nix", ".github", "default.nix", "action.yml", "package.json"];
  for (const part of parts) await cp(path.join(packageRoot(), part), path.join(bento, part), { recursive: true });
  await succeed("git", ["init", "-q", bento]);
  await succeed("git", ["-C", bento, "add", "-A"]);
});

afterAll(async () => {
  await store?.remove();
  Object.assign(process.env, before);
});

/** As `github:bento-nix/bento?dir=nix` has it: the whole repository, and the flake within. */
const flake = () => `git+file://${bento}?dir=nix`;
const overridden = () => ["--override-input", "nixpkgs", `path:${nixpkgs}`, "--no-write-lock-file"];

test("nix build: the command line, its completions and its manual page", async () => {
  const out = path.join(store.dir, "out");
  await succeed("nix", ["build", `${flake()}#bento`, ...overridden(), "--out-link", out]);
  for (const file of [
    "share/man/man1/bento.1",
    "share/bash-completion/completions/bento",
    "share/zsh/site-functions/_bento",
    "share/fish/vendor_completions.d/bento.fish",
  ]) {
    expect((await exec("test", ["-s", path.join(out, file)])).status, file).toBe(0);
  }
  const fleet = path.join(store.dir, "fleet");
  const { status, stderr } = await exec(path.join(out, "bin/bento"), ["init", fleet]);
  expect([status, stderr]).toEqual([0, ""]);
  expect(await readdir(path.join(fleet, ".github/workflows"))).toHaveLength(5);
  // What changes in the others of Bento's repository makes no other package.
  expect(await readdir(path.join(out, "lib/bento/.github/workflows"))).toHaveLength(5);
  // What is copied out of the store can be written to.
  await writeTree(fleet, { "utils/bento/added.nix": "{ }" });
});

test("nix run", async () => {
  const { stdout, status } = await exec("nix", ["run", flake(), ...overridden(), "--", "--version"]);
  expect([status, stdout]).toMatchObject([0, expect.stringMatching(/^\d+\.\d+\.\d+\n$/)]);
});

test("without flakes", async () => {
  const out = path.join(store.dir, "out-plain");
  await succeed("nix-build", [bento, "-A", "bento", "-I", `nixpkgs=${nixpkgs}`, "--out-link", out]);
  expect((await exec(path.join(out, "bin/bento"), ["--version"])).status).toBe(0);
});

test("an older Node is refused with a word", async () => {
  const old = await store.tree("old", {
    "default.nix": `{ }: import ${nixpkgs}/system.nix "${store.system}" // { nodejs_24 = { outPath = "/"; version = "20.1.0"; }; }`,
  });
  const { stderr } = await exec("nix-build", [bento, "-A", "bento", "-I", `nixpkgs=${old}`, "--no-out-link"]);
  expect(stderr).toContain("bento needs Node 22 or later, and this is 20.1.0");
});

test("what the flake offers, for which nixpkgs isn't fetched", async () => {
  const modules = await succeed("nix", [
    "eval",
    "--json",
    `${flake()}#nixosModules`,
    "--apply",
    "builtins.attrNames",
    "--no-update-lock-file",
  ]);
  expect(JSON.parse(modules)).toEqual(expect.arrayContaining(["bento", "server"]));
  const templates = [
    "eval",
    "--json",
    `${flake()}#templates`,
    "--apply",
    "builtins.attrNames",
    "--no-update-lock-file",
  ];
  expect(JSON.parse(await succeed("nix", templates))).toEqual(["default"]);
});

test("the modules stand for no fleet until they are told which", async () => {
  const evaluated = (module: string, value: string) =>
    exec("nix-instantiate", [
      "--eval",
      "--strict",
      "--json",
      "--expr",
      `let lib = { mkDefault = x: x; setAttrByPath = path: value: { \${builtins.head path}.\${builtins.elemAt path 1} = value; }; concatStringsSep = builtins.concatStringsSep; };
       module = (import ${bento}/nix/modules.nix).${module} { inherit lib; };
       in module.config.services.${value}`,
    ]);
  expect((await evaluated("bento", "bento.configFile")).stderr).toContain(
    "services.bento.configFile must be the utils/bento.json of your fleet",
  );
  expect((await evaluated("server", "bento-server.fleetFile")).stderr).toContain(
    "services.bento-server.fleetFile must be the fleet.json of your fleet",
  );
});

test("nix flake init makes the template's fleet, which bento can render", async () => {
  const dir = path.join(store.dir, "template");
  await mkdir(dir);
  await succeed("nix", ["flake", "init", "-t", flake()], { cwd: dir });
  const { status, stderr } = await exec(process.execPath, [path.join(packageRoot(), "dist/cli.js"), "render"], {
    cwd: dir,
  });
  expect([status, stderr]).toEqual([0, ""]);
});
