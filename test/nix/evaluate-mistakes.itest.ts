import { readFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Evaluation } from "../../src/nix/evaluate.ts";
import { Nix } from "../../src/nix/nix.ts";
import { Repository } from "../../src/platform/git.ts";
import { parallel } from "../../src/platform/parallel.ts";
import { Stager } from "../../src/tree/stage.ts";
import { hostNamed } from "../fleet/host.ts";
import { type GitRepository, gitRepository } from "../platform/git.ts";
import type { Entry } from "../platform/scratch.ts";
import { evaluateHost, IMPORT_FROM_DERIVATION, LIMITS } from "./evaluate-host.ts";
import { privateStore, type Store } from "./store.ts";

// Mistakes, each made in a file that the host has through its link to utils, by a host of either kind.

const mistakes: Record<
  string,
  { text: string; message: string | RegExp; line: number; column: number; hint?: string; inTrace?: string }
> = {
  "a syntax error": {
    text: "{ pkgs, ... }:\n{\n  networking.hostName = ;\n}\n",
    message: "syntax error, unexpected ';'",
    line: 3,
    column: 25,
  },
  "an undefined variable": {
    text: "{ pkgs, ... }:\n{\n  networking.hostName = nmae;\n}\n",
    message: "undefined variable 'nmae'",
    line: 3,
    column: 25,
  },
  "a missing attribute": {
    text: "{ pkgs, ... }:\n{\n  environment.systemPackages = [ pkgs.htpo ];\n}\n",
    message: "attribute 'htpo' missing",
    line: 3,
    column: 34,
    hint: "Did you mean htop?",
  },
  "an unknown option": {
    text: '{ pkgs, ... }:\n{\n  netwrking.hostName = "x";\n}\n',
    message: "The option `netwrking' does not exist.",
    line: 3,
    column: 3,
  },
  "a throw": {
    text: '{ pkgs, ... }:\n\nthrow "not on Mondays"\n',
    message: "not on Mondays",
    line: 3,
    column: 1,
  },
  // Nix 2.8 says nothing of where a value was that is thrown when it is used.
  "a throw in a value": {
    text: '{ pkgs, ... }:\n{\n  networking.hostName = throw "no name yet";\n}\n',
    message: "no name yet",
    line: 3,
    column: 25,
  },
  "an assertion": {
    text: '{ pkgs, ... }:\n{\n  networking.hostName =\n    assert 1 == 2; "x";\n}\n',
    inTrace: "assertion '(1 == 2)'",
    message: /^assertion '\(1 == 2\)' failed(: an integer with value '1' is not equal to an integer with value '2')?$/,
    line: 4,
    column: 5,
  },
  "NixOS's failed assertions": {
    text: '{ pkgs, ... }:\n{\n  networking.hostName = throw "\\nFailed assertions:\\n- No root file system.\\n- No boot loader.";\n}\n',
    message: "No root file system.; No boot loader.",
    inTrace: "- No root file system.",
    line: 3,
    column: 56,
  },
  "infinite recursion": {
    text: "{ pkgs, ... }:\n{\n  networking.hostName = let a = b; b = a; in a;\n}\n",
    message: "infinite recursion encountered",
    line: 3,
    column: 40,
  },
  "another type": {
    text: '{ pkgs, ... }:\n{\n  networking.hostName = "a" + 1;\n}\n',
    message: /^cannot coerce an integer to a string(: 1)?$/,
    line: 3,
    column: 31,
  },
  "import from derivation": {
    text: IMPORT_FROM_DERIVATION,
    inTrace: "-x.drv",
    message:
      /^cannot build '.*-x\.drv' during evaluation because the option 'allow-import-from-derivation' is disabled$/,
    line: 4,
    column: 6,
    hint: "it builds something in order to evaluate (import-from-derivation), which a check doesn't allow",
  },
};

const dirOf = (name: string) => name.replaceAll(/[^a-z]+/gi, "-");
const importUtils = "{ ... }:\n{\n  imports = [ ./utils/common.nix ];\n}\n";

let store: Store;
let repo: GitRepository;
const results = new Map<string, Evaluation>();
beforeAll(async () => {
  store = await privateStore();
  const nix = await Nix.find();
  const files: Record<string, Entry> = {};
  const flake = store.flake(
    `{ web = nixpkgs.lib.nixosSystem { system = "${store.system}"; modules = [ ./configuration.nix ]; }; }`,
  );
  const locked = await store.tree("locked", { "flake.nix": flake });
  await store.lock(locked);
  const lock = await readFile(path.join(locked, "flake.lock"), "utf8");
  const hosts = Object.keys(mistakes).flatMap((name) =>
    (["channel", "flake"] as const).map((kind) => {
      const host = hostNamed(`${dirOf(name)}-${kind}`, { kind, attr: "web" });
      files[`utils/${dirOf(name)}/common.nix`] = mistakes[name]?.text ?? "";
      files[`${host.path}/configuration.nix`] = importUtils;
      files[`${host.path}/utils`] = { link: `../../utils/${dirOf(name)}` };
      if (kind === "flake")
        Object.assign(files, { [`${host.path}/flake.nix`]: flake, [`${host.path}/flake.lock`]: lock });
      return host;
    }),
  );
  repo = await gitRepository(files);
  const stager = await Stager.open(await Repository.open(repo.dir), repo, path.join(store.dir, "staged"));
  await parallel(hosts, 2, async (host) => {
    results.set(host.name, await evaluateHost(nix, host, await stager.stage(host), LIMITS));
  });
});
afterAll(async () => {
  await repo?.[Symbol.asyncDispose]();
  await store.remove();
});

test.each(Object.keys(mistakes).flatMap((name) => [["channel", name] as const, ["flake", name] as const]))(
  "%s: %s is said in one line, with its place in utils/",
  (kind, name) => {
    const result = results.get(`${dirOf(name)}-${kind}`);
    const expected = mistakes[name];
    if (result === undefined || result.ok || expected === undefined) throw new Error("it should have failed");
    const { trace, message, ...place } = result.failure;
    if (typeof expected.message === "string") expect(message).toBe(expected.message);
    else expect(message).toMatch(expected.message);
    expect(place).toEqual({
      file: `utils/${dirOf(name)}/common.nix`,
      line: expected.line,
      column: expected.column,
      ...(expected.hint === undefined ? {} : { hint: expected.hint }),
    });
    expect(trace).toContain(expected.inTrace ?? message);
    expect(trace).not.toContain(path.join(store.dir, "staged"));
  },
);
