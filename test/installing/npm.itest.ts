import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../../src/platform/package.ts";
import { onlyEnvironment } from "../cli/bento.ts";
import { scratch } from "../platform/scratch.ts";
import { exec, succeed } from "../support/programs.ts";

// `npm install --global`, as the README says, without a registry in sight: there is nothing to download.

const { version } = JSON.parse(await readFile(path.join(packageRoot(), "package.json"), "utf8"));

/** A clone of what is committed, with what is built. */
async function clone(into: string): Promise<void> {
  await succeed("git", ["clone", "-q", "--depth=1", `file://${packageRoot()}`, into]);
  await succeed("cp", ["-r", path.join(packageRoot(), "dist"), into]);
  for (const file of ["package.json", "share"]) await succeed("cp", ["-r", path.join(packageRoot(), file), into]);
  const git = ["-C", into, "-c", "user.name=Ada", "-c", "user.email=ada@example.org"];
  await succeed("git", [...git, "add", "-A"]);
  await succeed("git", [...git, "commit", "-q", "--allow-empty", "-m", "what is built"]);
}

async function install(dir: string, what: string): Promise<string> {
  const prefix = path.join(dir, "prefix");
  await succeed("npm", ["install", "--global", "--no-audit", "--no-fund", `--prefix=${prefix}`, what], {
    // Nobody answers there.
    env: onlyEnvironment({ HOME: dir, npm_config_registry: "http://127.0.0.1:9/", npm_config_fetch_retries: "0" }),
  });
  return prefix;
}

async function expectInstalled(prefix: string): Promise<void> {
  const program = path.join(prefix, "bin/bento");
  const run = (...args: string[]) => exec(program, args, { cwd: prefix });
  expect(await run("--version")).toEqual({ status: 0, stdout: `${version}\n`, stderr: "" });
  // It has with it what it copies into a fleet, and what it completes and documents.
  expect((await run("init", "fleet")).stderr).toBe("");
  expect(existsSync(path.join(prefix, "fleet/utils/agent/bento-agent"))).toBe(true);
  expect(existsSync(path.join(prefix, "fleet/.github/workflows/bento-deploy.yml"))).toBe(true);
  expect((await run("completion", "bash")).stdout).toContain("complete -F _bento bento");
  const inside = path.join(prefix, "lib/node_modules/bento");
  expect((await readdir(inside)).sort()).toEqual(
    [".github", "LICENSE", "README.md", "action.yml", "dist", "package.json", "share", "utils"].sort(),
  );
  expect(await readdir(path.join(inside, ".github/workflows"))).toHaveLength(5);
  expect(existsSync(path.join(prefix, "share/man/man1/bento.1"))).toBe(true);
}

test("from git", async () => {
  await using dir = await scratch();
  await clone(path.join(dir.path, "bento"));
  await expectInstalled(await install(dir.path, `git+file://${dir.path}/bento`));
});

test("from a tarball of npm pack", async () => {
  await using dir = await scratch();
  await clone(path.join(dir.path, "bento"));
  const tarball = await succeed("npm", ["pack", "--silent", `--pack-destination=${dir.path}`], {
    cwd: path.join(dir.path, "bento"),
  });
  await expectInstalled(await install(dir.path, path.join(dir.path, tarball)));
});
