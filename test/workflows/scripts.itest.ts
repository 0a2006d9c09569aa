import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { originalWorkflows } from "../../src/commands/original-workflows.ts";
import { workflowCopies } from "../../src/workflows/copies.ts";
import { parseWorkflow, type Step } from "../../src/workflows/workflow.ts";
import { gitRepository } from "../platform/git.ts";
import { scratch, writeTree } from "../platform/scratch.ts";
import { exec, succeed } from "../support/programs.ts";

// The scripts in the workflows that `bento init` writes, run as the runner runs them.

const steps = Object.entries(workflowCopies(await originalWorkflows())).flatMap(([file, text]) =>
  (parseWorkflow(file, text)?.jobs ?? []).flatMap((job) => job.steps.map((step) => ({ file, step }))),
);
const scripts = steps.flatMap(({ file, step }) =>
  typeof step.keys.run === "string"
    ? [[`${path.basename(file)}: ${step.keys.name}`, step.keys.run, step] as const]
    : [],
);

function script(name: string): { run: string; step: Step } {
  const found = scripts.find(([title]) => title.endsWith(`: ${name}`));
  if (found === undefined) throw new Error(`no step is called ${name}`);
  return { run: found[1], step: found[2] };
}

describe.each(scripts)("%s", (_name, run) => {
  test("shellcheck finds nothing", async () => {
    const { status, stdout } = await exec("shellcheck", ["--shell=bash", "-"], { input: run });
    expect(stdout).toBe("");
    expect(status).toBe(0);
  });
});

/** As the runner does: `bash -e FILE`. */
async function runScript(name: string, cwd: string, env: Record<string, string>) {
  const { run, step } = script(name);
  const given = Object.keys((step.keys.env ?? {}) as object);
  expect(Object.keys(env)).toEqual(expect.arrayContaining(given));
  await using dir = await scratch();
  await writeTree(dir.path, { script: run, output: "" });
  const GITHUB_OUTPUT = path.join(dir.path, "output");
  const exit = await exec("bash", ["--noprofile", "--norc", "-e", path.join(dir.path, "script")], {
    cwd,
    env: { ...env, GITHUB_OUTPUT },
  });
  return { ...exit, output: await readFile(GITHUB_OUTPUT, "utf8") };
}

test("the report is of all parts that were downloaded, in directories of their own or, where there is one, without", async () => {
  await using dir = await scratch();
  await writeTree(dir.path, {
    "many/bento-shard-0/bento-check.json": "",
    "many/bento-shard-1/bento-check.json": "",
    "one/bento-check.json": "",
  });
  const parts = async (name: string) => {
    const { output } = await runScript("Which parts there are", dir.path, { SHARDS: path.join(dir.path, name) });
    return output.split("\n").sort();
  };
  expect(await parts("many")).toEqual([
    "",
    `${dir.path}/many/bento-shard-0/bento-check.json`,
    `${dir.path}/many/bento-shard-1/bento-check.json`,
    "documents<<end-of-documents",
    "end-of-documents",
  ]);
  expect(await parts("one")).toContain(`${dir.path}/one/bento-check.json`);
});

test("a patch of locks becomes a branch and a pull request, and is renewed; nothing else of the patch is taken", async () => {
  await using repo = await gitRepository({
    "hosts/a/flake.lock": "old\n",
    "flake.lock": "old\n",
    "hosts/a/flake.nix": "1\n",
  });
  await using dir = await scratch();
  const remote = path.join(dir.path, "remote.git");
  await succeed("git", ["clone", "-q", "--bare", repo.dir, remote]);
  const work = path.join(dir.path, "work");
  await succeed("git", ["clone", "-q", remote, work]);
  const base = await succeed("git", ["symbolic-ref", "--short", "HEAD"], { cwd: work });
  // GitHub's own program is the network's edge: it says what it was asked for.
  const asked = path.join(dir.path, "asked");
  await mkdir(path.join(dir.path, "bin"));
  const gh = `#!/bin/sh\nprintf '%s\\n' "$*" >> ${asked}\ncase "$1 $2" in\n  "pr list") cat ${dir.path}/open ;;\n  "pr create") echo https://github.com/example/fleet/pull/41 ;;\nesac\n`;
  await writeTree(dir.path, { "bin/gh": { executable: gh }, open: "" });

  const propose = async (text: string) => {
    const git = (...args: string[]) => succeed("git", args, { cwd: work });
    const patch = path.join(dir.path, "locks.patch");
    await git("reset", "-q", "--hard", `origin/${base}`);
    for (const file of ["flake.lock", "hosts/a/flake.lock", "hosts/a/flake.nix"])
      await writeFile(path.join(work, file), text);
    await writeFile(patch, `${await git("diff", "--binary")}\n`);
    await git("reset", "-q", "--hard");
    return runScript("Open the pull request, or renew it", work, {
      PATCH: patch,
      TITLE: "Update flake.lock",
      GH_TOKEN: "x",
      PATH: `${dir.path}/bin:${process.env.PATH}`,
    });
  };
  const pushed = (file: string) => succeed("git", ["show", `bento-update:${file}`], { cwd: remote });

  const first = await propose("new\n");
  expect([first.status, first.stderr, first.output]).toEqual([0, "", "number=41\n"]);
  expect(await pushed("flake.lock")).toBe("new");
  expect(await pushed("hosts/a/flake.lock")).toBe("new");
  expect(await pushed("hosts/a/flake.nix")).toBe("1");
  expect(await succeed("git", ["log", "--format=%an: %s", `${base}..bento-update`], { cwd: remote })).toBe(
    "github-actions[bot]: Update flake.lock",
  );

  await writeFile(path.join(dir.path, "open"), "41\n");
  const second = await propose("newer\n");
  expect([second.status, second.output]).toEqual([0, "number=41\n"]);
  expect(await pushed("flake.lock")).toBe("newer");
  const said = (await readFile(asked, "utf8")).split("\n").filter((line) => line.startsWith("pr create"));
  expect(said).toHaveLength(1);
  expect(said[0]).toContain(`--base ${base}`);
});
