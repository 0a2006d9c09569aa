import { readFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../../src/platform/package.ts";
import { scratch } from "../platform/scratch.ts";
import { exec } from "../support/programs.ts";
import { bento } from "./bento.ts";

const COMMANDS = ["init", "render", "host", "keygen", "check", "build", "deploy", "status", "bootstrap"];

test("--help names every command, the exit statuses and the environment", async () => {
  const { status, stdout, stderr } = await bento(["--help"]);
  for (const command of COMMANDS) expect(stdout).toMatch(new RegExp(`^ {2}${command} `, "m"));
  for (const name of [
    "BENTO_SSH_KEY",
    "BENTO_SSH_KEY_FILE",
    "BENTO_SIGNING_KEY",
    "BENTO_SIGNING_KEY_FILE",
    "NO_COLOR",
  ]) {
    expect(stdout).toContain(name);
  }
  expect(stdout).toContain("130 interrupted");
  expect([status, stderr]).toEqual([0, ""]);
});

test.each(COMMANDS.filter((command) => command !== "host"))(
  "%s --help has the options that all commands have",
  async (command) => {
    const { status, stdout } = await bento([command, "--help"]);
    for (const option of ["--fleet <directory>", "--json", "--verbose", "--no-color"]) expect(stdout).toContain(option);
    expect(status).toBe(0);
  },
);

test("--version is the package's", async () => {
  const { version } = JSON.parse(await readFile(path.join(packageRoot(), "package.json"), "utf8"));
  expect(await bento(["--version"])).toEqual({ status: 0, stdout: `${version}\n`, stderr: "" });
});

test.each([
  [[], /^Usage: bento /],
  [["chekc"], /^error: unknown command 'chekc'\n\(Did you mean check\?\)\n$/],
  [["check", "--bse", "main"], /^error: unknown option '--bse'\n\(Did you mean --base\?\)\n$/],
  [["check", "router"], /^error: too many arguments/],
  [["check", "--base"], /^error: option '--base <ref>' argument missing\n$/],
  [["check", "--timeout", "soon"], /'--timeout <seconds>' argument 'soon' is invalid\. it must be a whole number\.\n$/],
  [["check", "--timeout", "0"], /is invalid/],
  [["check", "--option", "cores"], /--option/],
  [["check", "--override-input", "nixpkgs"], /--override-input/],
  [["bootstrap"], /^error: missing required argument 'host'\n$/],
  [["keygen"], /^error: missing required argument 'directory'\n$/],
  [["host"], /^Usage: bento host /],
  [["host", "ad", "x"], /^error: unknown command 'ad'\n\(Did you mean add\?\)\n$/],
  [["init", "--port", "ssh"], /is invalid/],
] as const)("a mistake on the command line: %j", async (args, said) => {
  await using dir = await scratch();
  const { status, stdout, stderr } = await bento(args, { cwd: dir.path });
  expect(stderr).toMatch(said);
  // What is for people must not be taken for a document.
  expect(stdout).toBe("");
  expect(status).toBe(2);
});

test("who reads its output may stop reading", async () => {
  const cli = path.join(packageRoot(), "dist/cli.js");
  const { status, stderr } = await exec("bash", [
    "-c",
    '"$0" "$1" --help | true; exit $PIPESTATUS',
    process.execPath,
    cli,
  ]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
});
