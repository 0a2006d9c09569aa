import { cp, mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { packageRoot } from "../../src/platform/package.ts";
import { temporaryDirectory } from "../../src/platform/temporary.ts";
import { succeed } from "../support/programs.ts";
import { ofKind } from "./blocks.ts";

/**
 * Every example in Nix is a NixOS module, or what is in the braces of one. It is evaluated in a host's directory, with Bento's own
 * modules there and enabled, to a whole system of a real NixOS (BENTO_TEST_NIXPKGS; those that 20.09 has no modules for with
 * today's module system, BENTO_TEST_NIXPKGS_LIB). Files that it names and the page shows elsewhere are empty ones.
 */
const root = packageRoot();
const nixpkgs = process.env.BENTO_TEST_NIXPKGS;
const lib = process.env.BENTO_TEST_NIXPKGS_LIB;
/** What NixOS 20.09 has not yet. */
const NEWER = /services\.bento-runner\b/;

const examples = ofKind("nix").map((block, index) => ({ ...block, dir: `hosts/${index}` }));
let fleet: Awaited<ReturnType<typeof temporaryDirectory>>;

beforeAll(async () => {
  fleet = await temporaryDirectory();
  await cp(path.join(root, "utils"), path.join(fleet.path, "utils"), { recursive: true });
  // The example's fleet has one way out; a page may be about the other.
  const settings = path.join(fleet.path, "utils/bento.json");
  const content = JSON.parse(await readFile(settings, "utf8"));
  const { hostKeys } = content.server;
  const git = { remote: "git@git.example.org:org/fleet.git", refs: "refs/heads/bento/{host}", hostKeys };
  await writeFile(settings, JSON.stringify({ ...content, git }));
  for (const { dir, text } of examples) {
    const host = path.join(fleet.path, dir);
    await mkdir(host, { recursive: true });
    await symlink("../../utils", path.join(host, "utils"));
    const whole = /^\{[^={}]*\}:/.test(text) ? text : `{ config, lib, pkgs, ... }:\n{\n${text}\n}\n`;
    const files = {
      "configuration.nix": whole,
      "hardware-configuration.nix":
        '{ fileSystems."/" = { device = "/dev/vda1"; fsType = "ext4"; }; boot.loader.grub.device = "/dev/vda"; }\n',
      // What the page's text has said before.
      "surroundings.nix": `{ lib, ... }: {
        imports = [ ./hardware-configuration.nix ./utils/bento.nix ${text.includes("bento-runner") ? "./utils/runner.nix" : ""} ];
        services.openssh.enable = lib.mkDefault true;
        services.bento.enable = lib.mkDefault true;
      }\n`,
    };
    for (const [name, content] of Object.entries(files)) await writeFile(path.join(host, name), content);
    for (const [name] of text.replace(/#.*$/gm, "").matchAll(/(?<=\s)\.\/[\w-]+(?=[;\s])/g)) {
      await writeFile(path.join(host, name), "#!/bin/sh\n", { mode: 0o755 });
    }
  }
});
afterAll(async () => fleet?.[Symbol.asyncDispose]());

const evaluated = async (expression: string): Promise<unknown> =>
  JSON.parse(
    await succeed("nix-instantiate", ["--eval", "--strict", "--json", "--read-write-mode", "--expr", expression]),
  );

test.each(examples)("$at parses", async ({ dir }) => {
  await succeed("nix-instantiate", ["--parse", path.join(fleet.path, dir, "configuration.nix")]);
});

describe.skipIf(!nixpkgs)(`on a real NixOS${nixpkgs ? "" : " (needs BENTO_TEST_NIXPKGS=/path/to/nixpkgs)"}`, () => {
  test.each(examples.filter(({ text }) => !NEWER.test(text)))(
    "$at is a system",
    async ({ dir }) => {
      const host = path.join(fleet.path, dir);
      const found = await evaluated(`let
        nixos = import ${nixpkgs}/nixos { configuration = {
          imports = [ ${host}/configuration.nix ${host}/surroundings.nix onion ];
        }; };
        # Since 21.05 this is what hiddenServices was.
        onion = { lib, options, ... }: lib.optionalAttrs (lib.versionOlder lib.trivial.release "21.05") {
          options.services.tor.relay.onionServices = lib.mkOption {
            default = { };
            type = lib.types.attrsOf (lib.types.submodule {
              options.map = lib.mkOption { type = lib.types.listOf lib.types.port; };
            });
          };
        };
      in [ nixos.config.system.build.toplevel.drvPath nixos.config.warnings ]`);
      expect(found).toEqual([expect.stringMatching(/^\/.*-nixos-system-.*\.drv$/), []]);
    },
    120_000,
  );
});

describe.skipIf(!lib)(
  `with today's module system${lib ? "" : " (needs BENTO_TEST_NIXPKGS_LIB=/path/to/nixpkgs/lib)"}`,
  () => {
    const newer = examples.filter(({ text }) => NEWER.test(text));
    test.each(newer)("$at sets what there is, and breaks no assertion", async ({ dir }) => {
      const host = path.join(fleet.path, dir);
      const found = await evaluated(`let e = import ${root}/test/fixtures/modules/eval.nix {
        lib = ${lib};
        modules = [ ${host}/configuration.nix ];
      }; in { inherit (e) failed; runners = builtins.attrNames e.config.services.github-runners; }`);
      expect(found).toEqual({ failed: [], runners: ["bento-deploy"] });
    });
  },
);

test.skipIf(!nixpkgs)("an option that isn't there is seen", async () => {
  const expression = `(import ${nixpkgs}/nixos { configuration = {
    imports = [ ${root}/utils/bento.nix ]; services.bento.enabel = true; }; }).config.system.build.toplevel.drvPath`;
  await expect(evaluated(expression)).rejects.toThrow("services.bento.enabel");
});
