import { afterAll, beforeAll, expect, test } from "vitest";
import { originalWorkflows } from "../../src/commands/original-workflows.ts";
import type { CheckDocument } from "../../src/results.ts";
import { workflowCopies } from "../../src/workflows/copies.ts";
import { gitRepository } from "../platform/git.ts";
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
    ...workflowCopies(await originalWorkflows()),
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
