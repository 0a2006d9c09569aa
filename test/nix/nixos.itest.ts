import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Evaluation, evaluateHosts } from "../../src/nix/evaluate.ts";
import { Nix, NO_PASSTHROUGH } from "../../src/nix/nix.ts";
import { hostNamed } from "../fleet/host.ts";
import { privateStore, type Store } from "./store.ts";

// Mistakes in real NixOS configurations. BENTO_TEST_NIXPKGS is a nixpkgs of 20.09, whose words these are; scripts/test says how.
const NIXPKGS = process.env.BENTO_TEST_NIXPKGS || undefined;

interface Mistake {
  /** Line 4 of configuration.nix. */
  definition: string;
  message: string | RegExp;
  /** In configuration.nix, unless told otherwise. */
  place: { file?: string; line: number; column: number };
  hint?: string;
}

const mistakes: Record<string, Mistake> = {
  "a mistyped option": {
    definition: 'networking = { hostNam = "web"; };',
    message: "The option `networking.hostNam' defined in `hosts/web/configuration.nix' does not exist.",
    place: { line: 4, column: 18 },
  },
  "a failed assertion of the fleet's own": {
    definition: 'assertions = [ { assertion = false; message = "the web host needs a certificate"; } ];',
    message: "the web host needs a certificate",
    place: { line: 4, column: 50 },
  },
  "a failed assertion of NixOS": {
    definition: "networking.wireless.enable = true; networking.networkmanager.enable = true;",
    message: "You can not use networking.networkmanager with networking.wireless.",
    place: { line: 4, column: 38 },
  },
  "infinite recursion": {
    definition: 'networking.hostName = if config.networking.hostName == "a" then "b" else "c";',
    message: "infinite recursion encountered",
    // 2.8 knows only which option.
    place: { line: 4, column: expect.toSatisfy((column) => [3, 28].includes(column)) },
  },
  "an unfree package": {
    definition: "environment.systemPackages = [ pkgs.unrar ];",
    message: /^Package ‘unrar-[\d.]+’ has an unfree license \(‘unfreeRedistributable’\), refusing to evaluate\.$/,
    place: { line: 4, column: 34 },
    hint: 'nixpkgs.config.allowUnfreePredicate = pkg: builtins.elem (lib.getName pkg) [ "unrar" ]; would allow it',
  },
  "an insecure package": {
    definition: "environment.systemPackages = with pkgs; [ git openssl_1_0_2 ];",
    message:
      "Package ‘openssl-1.0.2u’ is marked as insecure, refusing to evaluate: Support for OpenSSL 1.0.2 ended with 2019.",
    place: { line: 4, column: 49 },
    hint: 'nixpkgs.config.permittedInsecurePackages = [ "openssl-1.0.2u" ]; would allow it',
  },
  "a missing file": {
    definition: "services.nginx.enable = true; services.nginx.config = builtins.readFile ./nginx.conf;",
    message: "there is no hosts/web/nginx.conf, or git doesn't track it",
    place: { line: 4, column: 57 },
    hint: "if it is there: git add hosts/web/nginx.conf",
  },
  "a value of a wrong type": {
    definition: "services.openssh = { enable = true; };\n  services.nginx = {\n    enable = 1;\n  };",
    message: "The option value `services.nginx.enable' in `hosts/web/configuration.nix' is not of type `boolean'.",
    place: { line: 5, column: 3 },
  },
  "an undefined variable": {
    definition: "networking.hostName = nmae;",
    message: "undefined variable 'nmae'",
    place: { line: 4, column: 25 },
  },
  "two definitions": {
    definition: 'networking.domain = "example.org";',
    message:
      "The option `networking.domain' has conflicting definitions, in `hosts/web/base.nix' and `hosts/web/configuration.nix'.",
    place: { file: "hosts/web/base.nix", line: 4, column: 3 },
  },
};

const base = `{
  boot.loader.grub.device = "/dev/sda";
  fileSystems."/" = { device = "/dev/sda1"; fsType = "ext4"; };
  @domain@
}
`;

describe.skipIf(NIXPKGS === undefined)("a real NixOS", () => {
  let store: Store;
  const results = new Map<string, Evaluation>();

  beforeAll(async () => {
    store = await privateStore();
    const nix = await Nix.find({ ...NO_PASSTHROUGH, searchPath: [`nixpkgs=${NIXPKGS}`] });
    const hosts = [];
    for (const [name, { definition }] of [...Object.entries(mistakes), ["well", { definition: "" }] as const]) {
      const domain = name === "two definitions" ? 'networking.domain = "example.com";' : "";
      const treeDir = await store.tree(name.replaceAll(/\W/g, "-"), {
        "configuration.nix": `{ config, pkgs, lib, ... }:\n{\n  imports = [ ./base.nix ];\n  ${definition}\n}\n`,
        "base.nix": base.replace("@domain@", domain),
      });
      const host = hostNamed("web", { kind: "channel" });
      hosts.push({ host, source: { treeDir, origin: (file: string) => path.join("hosts/web", file) } });
    }
    const evaluations = await evaluateHosts(nix, hosts, { timeout: 120_000 });
    for (const [index, name] of [...Object.keys(mistakes), "well"].entries()) {
      results.set(name, evaluations[index] as Evaluation);
    }
  }, 300_000);
  afterAll(() => store?.remove());

  test.each(Object.entries(mistakes))("%s", (name, { message, place, hint }) => {
    const result = results.get(name);
    if (result === undefined || result.ok) throw new Error("it should have failed");
    const { trace: _, message: said, ...failure } = result.failure;
    if (typeof message === "string") expect(said).toBe(message);
    else expect(said).toMatch(message);
    expect(failure).toEqual({ file: "hosts/web/configuration.nix", ...place, ...(hint === undefined ? {} : { hint }) });
  });

  test("the others are well", () => {
    expect(results.get("well")).toMatchObject({ ok: true, drv: expect.stringMatching(/-nixos-system-nixos-.*\.drv$/) });
  });
});
