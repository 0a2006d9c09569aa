import { mkdir, readFile } from "node:fs/promises";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { explainFailure, warningsIn } from "../../src/nix/failure.ts";
import { findInNixFiles } from "../../src/nix/search.ts";
import { scratch, writeTree } from "../platform/scratch.ts";

// What Nix says of mistakes, recorded from three of its versions (fixtures/VERSION/MISTAKE.txt, without the frames that are
// furthest from the error), and what a reviewer is told. evaluate.itest.ts and nixos.itest.ts ask the Nix that is there.

const VERSIONS = ["2.8.0", "2.26.3", "2.34.8"] as const;
const FIXTURES = path.join(import.meta.dirname, "fixtures");
const COPY = `${"1".repeat(32)}-source`;
const NIXPKGS = `/nix/store/${"2".repeat(32)}-source`;

/** Explains `text`, in which TREE is the staged tree, COPY its copy in the store, OUT what is around the store and NIXPKGS somewhere else. */
async function explain(text: string, kind: "flake" | "channel" = "flake", files: Record<string, string> = {}) {
  await using dir = await scratch();
  const treeDir = path.join(dir.path, "staged/0/tree");
  const copy = path.join(dir.path, "nix/store", COPY);
  await mkdir(treeDir, { recursive: true });
  await writeTree(treeDir, files);
  const stderr = text
    .replaceAll("TREE", treeDir)
    .replaceAll("COPY", copy)
    .replaceAll("OUT", path.join(dir.path, "nix"))
    .replaceAll("NIXPKGS", NIXPKGS);
  const origin = (file: string) => `hosts/web/${file}`.replace("hosts/web/utils", "utils");
  const places = {
    dirs: kind === "flake" ? [treeDir, copy] : [treeDir],
    origin,
    find: (pattern: RegExp) =>
      findInNixFiles(treeDir, pattern).map(({ file, ...place }) => ({ file: origin(file), ...place })),
  };
  const { trace, ...failure } = explainFailure({ stderr, status: 1 }, places, {
    kind,
    path: "hosts/web",
    include: null,
  });
  expect(trace ?? "").not.toContain(treeDir);
  return failure;
}

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

// ---- Written after the wording of later nixpkgs, not recorded.

const frames = `error:
       … while calling the 'derivationStrict' builtin
         at <nix/derivation-internal.nix>:37:12:
           36|
           37|   strict = derivationStrict drvAttrs;
             |            ^
           38|

       … while evaluating the attribute 'config.system.build.toplevel'
         at NIXPKGS/lib/modules.nix:334:9:
          333|         options = checked options;
          334|         config = checked (removeAttrs config [ "_module" ]);
             |         ^
          335|         _module = checked (config._module);
`;

test("failed assertions are listed, not headed", async () => {
  const failure = await explain(`${frames}
       error:
       Failed assertions:
       - The 'fileSystems' option does not specify your root file system.
       - You must set the option 'boot.loader.grub.devices'.
`);
  expect(failure).toEqual({
    message:
      "The 'fileSystems' option does not specify your root file system.; You must set the option 'boot.loader.grub.devices'.",
  });
});

test("a mistyped option: where it is set, and what may have been meant", async () => {
  const failure = await explain(
    `${frames}
       error: The option \`services.ngnix' does not exist. Definition values:
       - In \`COPY/utils/common.nix':
           {
             enable = true;
           }

       Did you mean \`services.nginx', \`services.nghttpx' or \`services.unit'?
`,
    "flake",
    { "utils/common.nix": "{\n  services = {\n    ngnix.enable = true;\n  };\n}\n", "flake.nix": "{ }" },
  );
  expect(failure).toEqual({
    message: "The option `services.ngnix' does not exist.",
    hint: "Did you mean `services.nginx', `services.nghttpx' or `services.unit'?",
    file: "utils/common.nix",
    line: 3,
    column: 5,
  });
});

test("a mistyped option that is set nobody knows where: the file alone", async () => {
  const text =
    "error: The option `a.b' does not exist. Definition values:\n       - In `COPY/utils/common.nix': true\n";
  expect(
    await explain(text, "flake", { "utils/common.nix": "{ a.b.b = 1; c = { b = 1; }; d = { b = 1; }; }" }),
  ).toEqual({
    message: "The option `a.b' does not exist.",
    file: "utils/common.nix",
    line: 1,
    column: 3,
  });
  expect(await explain(text, "flake", { "utils/common.nix": "{ c = { b = 1; }; d = { b = 1; }; }" })).toEqual({
    message: "The option `a.b' does not exist.",
    file: "utils/common.nix",
  });
});

test("conflicting definitions are listed with their files", async () => {
  const text = `${frames}
       error: The option \`networking.hostName' has conflicting definition values:
       - In \`COPY/base.nix': "b"
       - In \`COPY/configuration.nix': "a"
       Use \`lib.mkForce value' or \`lib.mkDefault value' to change the priority on any of these definitions.
`;
  expect(await explain(text, "flake", { "base.nix": '{ networking.hostName = "b"; }' })).toEqual({
    message:
      'The option `networking.hostName\' has conflicting definition values: "b" in hosts/web/base.nix, "a" in hosts/web/configuration.nix',
    file: "hosts/web/base.nix",
    line: 1,
    column: 3,
  });
});

test("a package that nixpkgs refuses, in its later words", async () => {
  const text =
    "error: Refusing to evaluate package 'unrar-7.1' in NIXPKGS/pkgs/un/unrar/package.nix:51 because it has an unfree license (‘unfree’)\n";
  expect(
    await explain(text, "flake", { "a.nix": "{ pkgs, ... }: { x = with pkgs; [ unrar-wrapper unrar ]; }" }),
  ).toEqual({
    message: "Refusing to evaluate package 'unrar-7.1' because it has an unfree license (‘unfree’)",
    hint: 'nixpkgs.config.allowUnfreePredicate = pkg: builtins.elem (lib.getName pkg) [ "unrar" ]; would allow it',
    file: "hosts/web/a.nix",
    line: 1,
    column: 49,
  });
});

test("what is written twice has no place", async () => {
  const text = "error: no name yet\n";
  const twice = '{ a = throw "no name yet"; b = throw "no name yet"; }';
  expect(await explain(text, "channel", { "a.nix": twice })).toEqual({ message: "no name yet" });
});

test("a file that nixpkgs itself lacks is not the host's", async () => {
  const failure = await explain("error: opening file 'NIXPKGS/pkgs/gone.nix': No such file or directory\n");
  expect(failure).toEqual({ message: `opening file '${NIXPKGS}/pkgs/gone.nix': No such file or directory` });
});

test("what is printed by the configuration itself is no cause", async () => {
  const failure = await explain(
    "trace: path 'TREE/gone.nix' does not exist\nerror: undefined variable 'x'\n\n       at TREE/a.nix:1:2:\n",
    "channel",
  );
  expect(failure).toEqual({ message: "undefined variable 'x'", file: "hosts/web/a.nix", line: 1, column: 2 });
});

test.each([
  "error: cannot update unlocked flake input 'nixpkgs' in pure mode",
  "error: flake 'path:TREE' requires lock file changes but they're not allowed due to '--no-update-lock-file'",
])("a lock that is missing or stale: %s", async (text) => {
  expect((await explain(`${text}\n`)).hint).toBe(
    "its flake.lock is missing or stale: run 'nix flake lock ./hosts/web' and commit it",
  );
});

test("what had to be built for the evaluation, and why it wasn't, in the words of 2.34", async () => {
  const drv = `/nix/store/${"3".repeat(32)}-broken-1.0.drv`;
  const text = `error:
       … while realising the context of path '/nix/store/${"4".repeat(32)}-broken-1.0'

       error: Cannot build '${drv}'.
       Reason: builder failed with exit code 1.
       Output paths:
         /nix/store/${"4".repeat(32)}-broken-1.0
`;
  expect(await explain(text)).toMatchObject({ message: `Cannot build '${drv}': builder failed with exit code 1` });
});

test("another store path can't be linked into the host's directory", async () => {
  const other = `OUT/store/${"3".repeat(32)}-source/nixos`;
  const failure = await explain(`error: access to absolute path '${other}' is forbidden in restricted mode\n`);
  expect(failure.message).toMatch(/^it uses \/.*-source\/nixos, which a host does not have$/);
  expect(failure.hint).not.toContain("ln -s ..");
});

test("an import out of the flake, by its names in 2.8 and later", async () => {
  for (const mode of ["eval", "evaluation"]) {
    const failure = await explain(
      `error: access to absolute path '/nix/store/secret.nix' is forbidden in pure ${mode} mode (use '--impure' to override)\n`,
    );
    expect(failure.hint).toBe(
      "a host has only its own directory, and what is linked into it (ln -s) or named in its include",
    );
  }
});

test("colours are no part of it", async () => {
  const failure = await explain(
    "\u001b[31;1merror:\u001b[0m undefined variable '\u001b[35;1mx\u001b[0m'\n\n       at \u001b[34;1mTREE/a.nix:1:2\u001b[0m:\n",
  );
  expect(failure).toEqual({ message: "undefined variable 'x'", file: "hosts/web/a.nix", line: 1, column: 2 });
});

test("a flake that only looks like the host's isn't taken for it", async () => {
  const failure = await explain(`error: undefined variable 'x'\n\n       at NIXPKGS/flake.nix:1:2:\n`);
  expect(failure).toEqual({ message: "undefined variable 'x'" });
});

test("a Nix that says nothing, or nothing that is known", async () => {
  expect((await explain("")).message).toBe("Nix ended with status 1 and said nothing");
  expect((await explain("Segmentation fault\n\n")).message).toBe("Segmentation fault");
});

test("messages and traces of any length are cut", async () => {
  const failure = await explain(`error: ${"x".repeat(100_000)}\n`);
  expect(failure.message).toHaveLength(1000);
});

const NOWHERE = { dirs: [], origin: (file: string) => file };

test("warnings: NixOS's and Nix's, each once, without those about our own way of calling Nix", () => {
  const text = `trace: warning: The option 'a' has been renamed to 'b'.
evaluation warning: 'system' has been renamed
warning: unknown setting 'x'
warning: Git tree '/x' is dirty
warning: not writing modified lock file of flake 'path:/x'
warning: ignoring untrusted flake configuration setting 'extra-substituters'
trace: warning: The option 'a' has been renamed to 'b'.
trace: not a warning
  warning: indented, so part of something else
\u001b[35;1mwarning:\u001b[0m in colour
`;
  expect(warningsIn(text, NOWHERE)).toEqual([
    "The option 'a' has been renamed to 'b'.",
    "'system' has been renamed",
    "in colour",
  ]);
  expect(warningsIn(Array.from({ length: 500 }, (_, i) => `warning: ${i}\n`).join(""), NOWHERE)).toHaveLength(50);
});
