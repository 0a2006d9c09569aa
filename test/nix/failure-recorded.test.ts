import { readFile } from "node:fs/promises";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { warningsIn } from "../../src/nix/failure.ts";
import { explain } from "./explain.ts";

// What Nix says of mistakes, recorded from three of its versions (fixtures/VERSION/MISTAKE.txt, without the frames that are
// furthest from the error), and what a reviewer is told. evaluate-mistakes.itest.ts and nixos.itest.ts ask the Nix that is there.

const VERSIONS = ["2.8.0", "2.26.3", "2.34.8"] as const;
const FIXTURES = path.join(import.meta.dirname, "fixtures");

interface Recorded {
  kind?: "flake";
  /** The tree's. */
  files: Record<string, string>;
  message: string;
  /** In hosts/web/configuration.nix, unless told otherwise. */
  place: { file?: string; line: number; column: number };
  hint?: string;
  /** Where one version knows better, or less. */
  differs?: Partial<Record<(typeof VERSIONS)[number], Partial<Pick<Recorded, "message" | "place">>>>;
}

/** A module's definitions, as of line 4. */
const nixos = (definitions: string) => ({
  "configuration.nix": `{ config, pkgs, lib, ... }:\n{\n  imports = [ ./base.nix ];\n  ${definitions}\n}\n`,
});
const tiny = (definitions: string) => ({ "configuration.nix": `{ pkgs, ... }:\n{\n  ${definitions}\n}\n` });
const alone = (definitions: string) => ({ "configuration.nix": `{\n  ${definitions}\n}\n` });
const machineFile = "a host has only its own directory, and what is linked into it (ln -s) or named in its include";

const recorded: Record<string, Recorded> = {
  "undefined-variable": {
    kind: "flake",
    files: tiny("networking.hostName = nmae;"),
    message: "undefined variable 'nmae'",
    place: { line: 3, column: 25 },
  },
  option: {
    files: tiny('netwrking.hostName = "x";'),
    message: "The option `netwrking' does not exist.",
    place: { line: 3, column: 3 },
  },
  "throw-in-a-value": {
    files: tiny('networking.hostName = throw "no name yet";'),
    message: "no name yet",
    place: { line: 3, column: 25 },
  },
  abort: {
    files: alone('networking.hostName = abort "stop here";'),
    message: "evaluation aborted with the following error message: 'stop here'",
    place: { line: 2, column: 25 },
  },
  assert: {
    files: tiny('networking.hostName =\n    assert 1 == 2; "x";'),
    message: "assertion '(1 == 2)' failed: an integer with value '1' is not equal to an integer with value '2'",
    place: { line: 4, column: 5 },
    differs: { "2.8.0": { message: "assertion '(1 == 2)' failed" } },
  },
  "file-of-the-machine": {
    files: alone("networking.hostName = builtins.readFile /etc/hostname;"),
    message: "it uses /etc/hostname, which a host does not have",
    place: { line: 2, column: 25 },
    hint: machineFile,
  },
  "file-that-is-missing": {
    files: alone("networking.hostName = builtins.readFile ./gone.txt;"),
    message: "there is no hosts/web/gone.txt, or git doesn't track it",
    place: { line: 2, column: 25 },
    hint: "if it is there: git add hosts/web/gone.txt",
  },
  "import-from-derivation": {
    kind: "flake",
    files: {},
    message: expect.stringMatching(
      /^cannot build '[^']*-x\.drv' during evaluation because the option 'allow-import-from-derivation' is disabled$/,
    ),
    place: { line: 4, column: 6 },
    hint: "it builds something in order to evaluate (import-from-derivation), which a check doesn't allow",
  },
  "import-out-of-the-tree": {
    kind: "flake",
    files: { "configuration.nix": "{ imports = [ ../../secret.nix ]; }" },
    message: "it uses ../../secret.nix, which is outside of hosts/web: it would be missing on the host",
    place: { line: 1, column: 15 },
    hint: "link it in: ln -s ../../secret.nix hosts/web/secret.nix && git add hosts/web/secret.nix; then use ./secret.nix",
  },
  "failed-assertion": {
    files: nixos('assertions = [ { assertion = false; message = "the web host needs a certificate"; } ];'),
    message: "the web host needs a certificate",
    place: { line: 4, column: 50 },
  },
  "infinite-recursion": {
    files: nixos('networking.hostName = if config.networking.hostName == "a" then "b" else "c";'),
    message: "infinite recursion encountered",
    place: { line: 4, column: 28 },
    differs: { "2.8.0": { place: { line: 4, column: 3 } } },
  },
  "unfree-package": {
    files: nixos("environment.systemPackages = [ pkgs.unrar ];"),
    message: "Package ‘unrar-5.9.2’ has an unfree license (‘unfreeRedistributable’), refusing to evaluate.",
    place: { line: 4, column: 34 },
    hint: 'nixpkgs.config.allowUnfreePredicate = pkg: builtins.elem (lib.getName pkg) [ "unrar" ]; would allow it',
  },
  "insecure-package": {
    files: nixos("environment.systemPackages = [ pkgs.git pkgs.openssl_1_0_2 ];"),
    message:
      "Package ‘openssl-1.0.2u’ is marked as insecure, refusing to evaluate: Support for OpenSSL 1.0.2 ended with 2019.",
    place: { line: 4, column: 43 },
    hint: 'nixpkgs.config.permittedInsecurePackages = [ "openssl-1.0.2u" ]; would allow it',
  },
  conflict: {
    files: { ...nixos('networking.hostName = "a";'), "base.nix": '{ networking.hostName = "b"; }' },
    message:
      "The option `networking.hostName' has conflicting definitions, in `hosts/web/base.nix' and `hosts/web/configuration.nix'.",
    place: { file: "hosts/web/base.nix", line: 1, column: 3 },
  },
  "module-argument": {
    files: { "base.nix": "{ config, pkgs, foo, ... }: { networking.domain = foo; }" },
    message: "attribute 'foo' missing",
    place: { file: "hosts/web/base.nix", line: 1, column: 17 },
  },
  "wrong-type": {
    files: nixos('networking.firewall.allowedTCPPorts = [ "80" ];'),
    message:
      "The option value `networking.firewall.allowedTCPPorts.[definition 1-entry 1]' in `hosts/web/configuration.nix' is not of type `16 bit unsigned integer; between 0 and 65535 (both inclusive)'.",
    place: { line: 4, column: 3 },
  },
};

describe.each(VERSIONS)("Nix %s", (version) => {
  test.each(Object.entries(recorded))("%s", async (name, { kind, files, differs, ...expected }) => {
    const text = await readFile(path.join(FIXTURES, version, `${name}.txt`), "utf8");
    const { place, ...said } = { ...expected, ...differs?.[version] };
    expect(await explain(text, kind ?? "channel", files)).toEqual({
      ...said,
      file: "hosts/web/configuration.nix",
      ...place,
    });
  });

  test("warnings, with the files as they are in the fleet", async () => {
    const text = await readFile(path.join(FIXTURES, version, "warnings.txt"), "utf8");
    const places = { dirs: ["/staged/tree"], origin: (file: string) => `hosts/web/${file}` };
    expect(warningsIn(text.replaceAll("TREE", "/staged/tree"), places)).toEqual([
      "The option `networking.connman' defined in `hosts/web/configuration.nix' has been renamed to `services.connman'.",
      "the router is old",
    ]);
  });
});
