import { expect, test } from "vitest";
import type { FleetRepository } from "../support/fleet.ts";
import { withFleet } from "../support/with-fleet.ts";
import { mergeGroup, pullRequest, push, schedule, workflowDispatch } from "./events.ts";
import { runStep } from "./runner.ts";

// Each event that starts one of a fleet's workflows: what a check compares with, and whose code it runs.

let fleet: FleetRepository;
let base: string;
let head: string;

withFleet({}, async (made) => {
  ({ fleet, first: base } = made);
  await fleet.edit("hosts/nas/configuration.nix", "pkgs.postgresql", "pkgs.curl");
  head = await fleet.commit("A change");
});

const check = (event: object, env: Record<string, string> = {}) =>
  runStep({ workspace: fleet.dir, event, inputs: { command: "check", hosts: "nas" }, env });

test.each(["fork", "repository"] as const)(
  "a pull request of a %s is compared with what it would be merged into",
  async (of) => {
    const step = await check(pullRequest(base, head, of));
    expect([step.status, step.document.base, step.outputs["changed-hosts"]]).toEqual([0, base, '["nas"]']);
  },
);

test("the queue's group of pull requests is compared with what it would be merged into", async () => {
  const step = await check(mergeGroup(base, head));
  expect([step.status, step.document.base, step.outputs["changed-hosts"]]).toEqual([0, base, '["nas"]']);
});

test.each([
  ["push", () => push(base, head)],
  ["workflow_dispatch", workflowDispatch],
  ["schedule", schedule],
])("a check on %s is compared with nothing", async (_name, event) => {
  const step = await check(event());
  expect([step.status, step.document.base, step.document.hosts[0].status]).toEqual([0, null, "ok"]);
  expect(step.commands).toEqual([]);
});

test("on a self-hosted runner: a pull request of this repository is run, one of a fork or of one that is gone is not", async () => {
  const env = { RUNNER_ENVIRONMENT: "self-hosted" };
  expect((await check(pullRequest(base, head, "repository"), env)).status).toBe(0);
  for (const of of ["fork", "gone"] as const) {
    const step = await check(pullRequest(base, head, of), env);
    expect(step.status).toBe(1);
    expect(step.annotations("error")[0]?.data).toContain("a pull request of a fork is not run on a self-hosted runner");
  }
  // Whose code the queue has merged, its rules have approved.
  expect((await check(mergeGroup(base, head), env)).status).toBe(0);
});

test.each([
  "null",
  "[]",
  '"text"',
  '{ "pull_request": null }',
  '{ "pull_request": { "base": { "sha": "main" } } }',
  '{ "merge_group": 1 }',
])("a payload like none of GitHub's is one of no pull request's base: %s", async (text) => {
  const step = await check(JSON.parse(text));
  expect([step.status, step.document.base]).toEqual([0, null]);
});

test("what a Forgejo runner has: other variables, no environment of the runner's, an API elsewhere", async () => {
  const step = await check(pullRequest(base, head, "repository"), {
    FORGEJO_ACTIONS: "true",
    GITEA_ACTIONS: "true",
    GITHUB_SERVER_URL: "https://git.example.org",
    GITHUB_API_URL: "https://git.example.org/api/v1",
    GITHUB_EVENT_NAME: "pull_request",
  });
  expect([step.status, step.document.base]).toEqual([0, base]);
});
