import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { expect } from "vitest";
import { packageRoot } from "../../src/platform/package.ts";
import { scratch, writeTree } from "../platform/scratch.ts";
import { long } from "../support/long.ts";
import { exec, succeed } from "../support/programs.ts";
import { definition, parseOutputs } from "./runner.ts";

const HERE = path.join(import.meta.dirname, "local-action");

long(
  "under GitHub's own stand-in for its runner, the Action does what it does on a bare one",
  async () => {
    if (!existsSync(path.join(HERE, "node_modules")))
      await succeed("npm", ["ci", "--no-audit", "--no-fund"], { cwd: HERE });
    await using dir = await scratch();
    const { inputs } = await definition();
    const given: Record<string, string> = { command: "plan", token: "" };
    const environment = {
      ...Object.fromEntries(
        Object.entries(inputs).map(([name, input]) => [
          `INPUT_${name.toUpperCase()}`,
          given[name] ?? input.default ?? "",
        ]),
      ),
      GITHUB_WORKSPACE: packageRoot(),
      GITHUB_OUTPUT: path.join(dir.path, "output"),
    };
    await writeTree(dir.path, {
      "action.yml": await readFile(path.join(packageRoot(), "action.yml"), "utf8"),
      "package.json": '{ "type": "module" }',
      // It wants a function to call, and would put stand-ins in place of the toolkit, which is bundled.
      "entry.ts": `export async function run() { await import(${JSON.stringify(path.join(packageRoot(), "dist/index.js"))}); }`,
      environment: Object.entries(environment)
        .map(([name, value]) => `${name}=${JSON.stringify(value)}\n`)
        .join(""),
      output: "",
    });
    const { status, stdout } = await exec(
      path.join(HERE, "node_modules/.bin/local-action"),
      ["run", dir.path, "entry.ts", path.join(dir.path, "environment")],
      { cwd: HERE },
    );
    expect(stdout).toMatch(/^wave all {2}nas, router, t470, x1$/m);
    expect(status).toBe(0);
    expect(parseOutputs(await readFile(environment.GITHUB_OUTPUT, "utf8"))).toEqual({ shards: "[]", waves: '["all"]' });
  },
  300_000,
);
