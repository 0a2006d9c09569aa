import { readFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { originalWorkflows } from "../../src/commands/original-workflows.ts";
import type { CheckDocument } from "../../src/results.ts";
import { workflowCopies } from "../../src/workflows/copies.ts";
import { checkout } from "../action/runner.ts";
import { gitRepository } from "../platform/git.ts";
import { scratch } from "../platform/scratch.ts";
import { succeed } from "../support/programs.ts";
import { World } from "../support/world.ts";
import { bentoJson } from "./bento.ts";
import { configuration } from "./configurations.ts";

let world: World;
beforeAll(async () => {
  world = await World.make({ hosts: [] });
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});

const DEPLOY = `on: pull_request_target
permissions: {}
jobs:
  deploy:
    runs-on: ubuntu-latest
    steps:
      - run: bento deploy
`;

test("check warns of what is dangerous in workflows that run Bento, and of no others", async () => {
  await using repo = await gitRepository({
    "machines/hosts/one/configuration.nix": configuration("one"),
    ".github/workflows/deploy.yaml": DEPLOY,
    // It says nothing of Bento; what it calls deploys.
    ".github/workflows/release.yml": `on: push
permissions: {}
concurrency: { group: release, cancel-in-progress: true }
jobs: { fleet: { uses: ./.github/workflows/deploy.yaml, secrets: inherit } }
`,
    ".forgejo/workflows/site.yml": DEPLOY.replace("bento deploy", "make site"),
    ".gitea/workflows/broken.yml": "on: [",
    ".github/workflows/README.md": "bento",
    ...workflowCopies({ version: "1.2.3", fleet: "machines", originals: await originalWorkflows() }),
  });
  const { document, status } = await bentoJson<CheckDocument>(["check", "--fleet", "machines"], { cwd: repo.dir });
  expect(status).toBe(0);
  expect(document.warnings.filter((line) => line.includes("workflows/"))).toEqual([
    expect.stringMatching(/^\.github\/workflows\/deploy\.yaml:1: pull_request_target gives .* \(use pull_request, /),
    expect.stringMatching(/^\.github\/workflows\/deploy\.yaml:4: the job deploy deploys without an environment/),
    expect.stringMatching(/^\.github\/workflows\/deploy\.yaml:4: the job deploy deploys without a concurrency group/),
    expect.stringMatching(
      /^\.github\/workflows\/release\.yml:3: the deploy of the job fleet may be cut off by the next/,
    ),
  ]);
});

test("check warns of a deploy that a push to no branch there is would start", async () => {
  await using repo = await gitRepository({
    "hosts/one/configuration.nix": configuration("one"),
    ...workflowCopies({ version: "1.2.3", fleet: ".", originals: await originalWorkflows() }),
  });
  const warnings = async (cwd = repo.dir) => {
    const { document } = await bentoJson<CheckDocument>(["check"], { cwd });
    return document.warnings.filter((line) => line.includes("workflows/"));
  };
  const said = [
    ".github/workflows/bento-deploy.yml:8: a push to main starts it, and there is no such branch here; this repository's is master (git branch -m master main, or name master there)",
  ];
  expect(await warnings()).toEqual([]);
  repo.git("branch", "-m", "main", "master");
  expect(await warnings()).toEqual(said);
  // On a branch of a clone, what counts is the remote's.
  await using dir = await scratch();
  const clone = path.join(dir.path, "clone");
  await succeed("git", ["clone", "-q", repo.dir, clone]);
  await succeed("git", ["switch", "-q", "-c", "change"], { cwd: clone });
  expect(await warnings(clone)).toEqual(said);
  // What a runner has checked out of a pull request, with its history and without.
  repo.git("branch", "main");
  const of = (name: string, depth?: number) => checkout(repo.dir, path.join(dir.path, name), "master", depth);
  expect(await warnings(await of("whole"))).toEqual([]);
  repo.git("branch", "-D", "main");
  expect(await warnings(await of("shallow", 1))).toEqual([]);
  // A pattern may match what is still to come.
  const file = ".github/workflows/bento-deploy.yml";
  const text = await readFile(path.join(repo.dir, file), "utf8");
  await repo.commit({ [file]: text.replace("branches: [main]", 'branches: ["release/**"]') });
  expect(await warnings()).toEqual([]);
});
