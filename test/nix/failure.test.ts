import { expect, test } from "vitest";
import { warningsIn } from "../../src/nix/failure.ts";
import { explain, NIXPKGS } from "./explain.ts";

// What Nix and later nixpkgs say, after their wording; what was recorded is in failure-recorded.test.ts.

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

test("what can't be fetched without a network", async () => {
  const text = "error: unable to download 'https://example.org/a.tar.gz': Couldn't resolve host name (6)\n";
  expect(await explain(text)).toEqual({
    message: "unable to download 'https://example.org/a.tar.gz': Couldn't resolve host name (6)",
    hint: "it has to be fetched, and can't be from here: is there a network, and is the address right?",
  });
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
warning: you don't have Internet access; disabling some network-dependent features
warning: error: unable to download 'https://x/y': Couldn't resolve host name (6); retrying in 298 ms
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
