import { chmod, cp, mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../../src/platform/package.ts";
import { scratch } from "../platform/scratch.ts";
import { exec } from "../support/programs.ts";

// scripts/pins: documentation that pins actions as the workflows do.

/** A copy of what it looks at. */
async function copy() {
  const dir = await scratch();
  await mkdir(path.join(dir.path, "scripts"));
  for (const part of ["scripts/pins", ".github/workflows", "README.md", "docs"]) {
    await cp(path.join(packageRoot(), part), path.join(dir.path, part), { recursive: true });
  }
  await chmod(path.join(dir.path, "scripts/pins"), 0o755);
  const pins = (...args: string[]) => exec(path.join(dir.path, "scripts/pins"), args);
  const change = async (file: string, from: string | RegExp, to: string) => {
    const text = await readFile(path.join(dir.path, file), "utf8");
    expect(text.replace(from, to)).not.toBe(text);
    await writeFile(path.join(dir.path, file), text.replace(from, to));
  };
  // Also while Dependabot's pull request is newer than the documentation.
  expect(await pins("--update")).toMatchObject({ status: 0, stderr: "" });
  const read = (file: string) => readFile(path.join(dir.path, file), "utf8");
  return { ...dir, pins, change, read, [Symbol.asyncDispose]: () => dir[Symbol.asyncDispose]() };
}
const GOOD = { status: 0, stdout: "", stderr: "" };
const OTHER = "f00d".repeat(10);

test("the documentation's pins are not wrong", async () => {
  const { status, stderr } = await exec(path.join(packageRoot(), "scripts/pins"), []);
  expect([status, stderr]).toEqual([0, ""]);
});

test.each([
  ["another commit", /checkout@[0-9a-f]{40}/, `checkout@${OTHER}`],
  ["a shortened one", /checkout@[0-9a-f]{30}/, "checkout@"],
  ["another version", /(checkout@[0-9a-f]{40}) # \S+/, "$1 # v1.0.0"],
  ["no version", /(checkout@[0-9a-f]{40}) # \S+/, "$1"],
  ["an action that no workflow uses", "actions/checkout@", "actions/setup-java@"],
])("wrong: %s", async (_what, from, to) => {
  await using dir = await copy();
  await dir.change("docs/build.md", from, to);
  const { status, stderr } = await dir.pins();
  expect([status, stderr]).toEqual([1, expect.stringMatching(/^docs\/build\.md:\d+: /)]);
});

test("what is new in the workflows alone is told, fails a release, and is brought over", async () => {
  await using dir = await copy();
  expect(await dir.pins("--all")).toEqual(GOOD);
  for (const name of ["check", "ci", "comment", "deploy", "release", "status", "update"]) {
    await dir.change(
      `.github/workflows/${name}.yml`,
      /actions\/checkout@[0-9a-f]{40} # \S+/g,
      `actions/checkout@${OTHER} # v7.1.2`,
    );
  }
  const told = await dir.pins();
  expect([told.status, told.stderr]).toEqual([0, ""]);
  expect(told.stdout).toMatch(/^docs\/build\.md:\d+: actions\/checkout is v\S+ here, and v7\.1\.2 in the workflows/);
  expect((await dir.pins("--all")).status).toBe(1);
  expect(await dir.pins("--update")).toMatchObject({ status: 0, stderr: "" });
  expect(await dir.pins("--all")).toEqual(GOOD);
  expect(await dir.read("docs/forgejo.md")).toContain(
    `      - uses: https://github.com/actions/checkout@${OTHER} # v7.1.2\n`,
  );
});

test("the workflows have one pin of each action", async () => {
  await using dir = await copy();
  await dir.change(".github/workflows/check.yml", /actions\/checkout@[0-9a-f]{40}/, `actions/checkout@${OTHER}`);
  expect(await dir.pins()).toMatchObject({
    status: 1,
    stderr: "the workflows have more than one pin of: actions/checkout\n",
  });
});
