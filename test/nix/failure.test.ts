import { mkdir } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { explainFailure, warningsIn } from "../../src/nix/failure.ts";
import { scratch, writeTree } from "../platform/scratch.ts";

// What failures look like in versions of Nix that aren't on every machine. The texts are written after the wording of 2.26
// and 2.34 (the error last, the frames coming inwards), not recorded; evaluate.itest.ts has what the Nix that is there says.

const COPY = `${"1".repeat(32)}-source`;
const NIXPKGS = `/nix/store/${"2".repeat(32)}-source`;

/** Explains `text`, in which TREE is the staged tree, COPY its copy in the store and NIXPKGS somewhere else. */
async function explain(text: string, kind: "flake" | "channel" = "flake") {
  await using dir = await scratch();
  const treeDir = path.join(dir.path, "staged/0/tree");
  const copy = path.join(dir.path, "nix/store", COPY);
  await mkdir(treeDir, { recursive: true });
  if (kind === "flake") {
    await writeTree(treeDir, { "flake.nix": "{ mine = 1; }" });
    await writeTree(copy, { "flake.nix": "{ mine = 1; }" });
  }
  const stderr = text.replaceAll("TREE", treeDir).replaceAll("COPY", copy).replaceAll("NIXPKGS", NIXPKGS);
  const places = {
    dirs: kind === "flake" ? [treeDir, copy] : [treeDir],
    origin: (file: string) => `hosts/web/${file}`.replace("hosts/web/utils", "utils"),
    find: () => undefined,
  };
  const { trace, ...failure } = explainFailure({ stderr, status: 1 }, places, {
    kind,
    path: "hosts/web",
    include: null,
  });
  expect(trace ?? "").not.toContain(treeDir);
  return failure;
}

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

test("2.26: an undefined variable, in a copy of the flake in the store", async () => {
  const failure = await explain(`${frames}
       error: undefined variable 'nmae'
       at COPY/utils/common.nix:3:25:
            2| {
            3|   networking.hostName = nmae;
             |                         ^
            4| }
`);
  expect(failure).toEqual({ message: "undefined variable 'nmae'", file: "utils/common.nix", line: 3, column: 25 });
});

test("2.34: the same, at the real path", async () => {
  const failure = await explain(`${frames}
       error: undefined variable 'nmae'
       at TREE/configuration.nix:3:25:
            2| {
            3|   networking.hostName = nmae;
             |                         ^
            4| }
`);
  expect(failure).toEqual({
    message: "undefined variable 'nmae'",
    file: "hosts/web/configuration.nix",
    line: 3,
    column: 25,
  });
});

test("2.26: a throw of nixpkgs is shown where the fleet led to it, at the nearest frame", async () => {
  const failure = await explain(`error:
       … from call site
         at COPY/flake.nix:6:26:

       … while evaluating the attribute 'hostName'
         at COPY/configuration.nix:9:3:
            8| {
            9|   networking.hostName = lib.mkThing 1;
             |   ^

       … while calling 'mkThing'
         at NIXPKGS/lib/things.nix:10:3:

       error: things are gone
`);
  expect(failure).toEqual({ message: "things are gone", file: "hosts/web/configuration.nix", line: 9, column: 3 });
});

test("2.26: failed assertions are listed, not headed", async () => {
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

test("2.26: a mistyped option has no place, but a file", async () => {
  const failure = await explain(`${frames}
       error: The option \`netwrking' does not exist. Definition values:
       - In \`COPY/utils/common.nix':
           {
             hostName = "x";
           }
`);
  expect(failure).toEqual({ message: "The option `netwrking' does not exist.", file: "utils/common.nix" });
});

test("2.34: infinite recursion", async () => {
  const failure = await explain(`${frames}
       error: infinite recursion encountered
       at TREE/configuration.nix:3:40:
            3|   networking.hostName = let a = b; b = a; in a;
             |                                        ^
`);
  expect(failure).toMatchObject({ message: "infinite recursion encountered", line: 3, column: 40 });
});

test.each([
  "error: cannot update unlocked flake input 'nixpkgs' in pure mode",
  "error: flake 'path:TREE' requires lock file changes but they're not allowed due to '--no-update-lock-file'",
])("a lock that is missing or stale: %s", async (text) => {
  expect((await explain(`${text}\n`)).hint).toBe(
    "its flake.lock is missing or stale: run 'nix flake lock ./hosts/web' and commit it",
  );
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

test("2.26: a file that isn't there", async () => {
  const failure = await explain(`error: path 'TREE/gone.nix' does not exist\n`, "channel");
  expect(failure).toMatchObject({
    message: "there is no hosts/web/gone.nix, or git doesn't track it",
    hint: "if it is there: git add hosts/web/gone.nix",
  });
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
  expect(warningsIn(text)).toEqual([
    "The option 'a' has been renamed to 'b'.",
    "'system' has been renamed",
    "in colour",
  ]);
  expect(warningsIn(Array.from({ length: 500 }, (_, i) => `warning: ${i}\n`).join(""))).toHaveLength(50);
});
