import { readFile, rm } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { StatusFleet } from "../support/status-fleet.ts";
import { TestGitHub } from "./github.ts";
import { runStep } from "./runner.ts";

// A scheduled job, and one after each deploy, that looks after the fleet.

const COMMIT = "4f1c2d9a7b300123456789abcdef0123456789ab";
let fleet: StatusFleet;
let github: TestGitHub;
beforeAll(async () => {
  fleet = await StatusFleet.make(["nas", "router", "old"]);
  github = await TestGitHub.start();
  for (const host of ["nas", "router"]) await fleet.publish(host, { commit: COMMIT });
  await fleet.publish("old");
  await fleet.beat("old");
});
afterAll(async () => {
  await github?.[Symbol.asyncDispose]();
  await fleet?.[Symbol.asyncDispose]();
});
beforeEach(() => {
  github.calls.length = 0;
});

async function look(inputs: Record<string, string> = {}) {
  return runStep({
    workspace: fleet.dir,
    event: { schedule: "17 * * * *" },
    inputs: {
      command: "status",
      "ssh-key": await readFile(fleet.world.publisherKey.file, "utf8"),
      token: "t0ken",
      "commit-status": "true",
      issue: "true",
      ...inputs,
    },
    env: { GITHUB_API_URL: github.url, GITHUB_REPOSITORY: "org/fleet" },
  });
}
const statuses = () =>
  (github.statuses.get(COMMIT) ?? []).map(({ context, state, description }) => [context, state, description]);
/** What is there for the first time; an issue's text is kept up to date. */
const made = () => github.calls.filter(({ method }) => method === "POST");
const changes = () => github.calls.filter(({ method }) => method !== "GET");

test("a commit is pending until its hosts have reported, and says it once", async () => {
  await fleet.beat("nas");
  const step = await look();
  expect(step.status, step.stdout + step.stderr).toBe(0);
  expect(statuses()).toEqual([["bento/deploy", "pending", "1 of 2 hosts runs it"]]);
  expect([...github.statuses.values()].flat()).toHaveLength(2);
  expect(github.issues).toEqual([]);
  github.calls.length = 0;
  await look();
  expect(changes()).toEqual([]);
  expect(github.calls.every(({ token }) => token === "Bearer t0ken")).toBe(true);
});

test("a host that rolls back: the commit failed, and an issue says why, once", async () => {
  await fleet.beat("router", { sequence: 1 });
  await fleet.report("router", "rolled-back", { reason: "@org/team <b>no contact</b> #1" });
  const step = await look();
  expect(step.status).toBe(1);
  expect(statuses()[0]).toEqual(["bento/deploy", "failure", "router: rolled back; 1 of 2 run it"]);
  expect(github.issues).toMatchObject([{ title: "Bento: router to look at", state: "open" }]);
  const [issue] = github.issues;
  expect(issue?.body).toMatch(/^<!-- bento status \. -->\n1 host to look at\.\n/);
  expect(issue?.body).toContain("<code>router</code> | rolled back");
  expect(issue?.body).not.toMatch(/<b>|@org|[^&]#1/);
  await look();
  expect(github.issues).toHaveLength(1);
  expect(statuses()).toHaveLength(2);
});

test("among many issues and many checks, its own are found, page by page; busy is waited for, and 422 is said", async () => {
  const others = Array.from({ length: 5 }, (_, n) => ({ context: `ci/${n}`, state: "success", description: "" }));
  github.statuses.set(COMMIT, [...others, ...(github.statuses.get(COMMIT) ?? [])]);
  for (let number = 50; number < 55; number++) {
    github.issues.unshift({ number, title: "a bug", body: "", state: "open", user: { login: "ada" } });
  }
  github.pageSize = 2;
  try {
    await look();
    expect(made()).toEqual([]);
    expect(github.calls.filter(({ path }) => path.includes("page=3")).length).toBeGreaterThanOrEqual(2);
    expect(github.mistakes).toEqual([]);

    github.trouble.push({ status: 429, headers: { "retry-after": "1" } }, { status: 502 });
    await look();
    expect(made()).toEqual([]);
    expect(github.trouble).toEqual([]);

    github.trouble.push({ status: 422 });
    const odd = await look({ issue: "false" });
    expect(odd.annotations("warning").map(({ data }) => data)).toEqual([expect.stringContaining("422")]);
    expect(made()).toEqual([]);
  } finally {
    github.pageSize = 100;
    github.issues.splice(0, 5);
    github.statuses.set(COMMIT, (github.statuses.get(COMMIT) ?? []).slice(5));
  }
});

test("an issue of somebody else with the same mark is left alone", async () => {
  const [mine] = github.issues;
  if (!mine) throw new Error("no issue");
  github.issues.unshift({ ...mine, number: 100, user: { login: "eve" } });
  await fleet.report("router", "success");
  await fleet.beat("router");
  const step = await look();
  expect(step.status).toBe(0);
  expect(statuses()[0]).toEqual(["bento/deploy", "success", "2 hosts run it"]);
  expect(github.issues.map(({ number, state }) => [number, state])).toEqual([
    [100, "open"],
    [1, "closed"],
  ]);
});

test("a commit that GitHub doesn't know any more is said, and the others have their status all the same", async () => {
  for (const status of [422, 404]) {
    github.statuses.clear();
    // The host old's, the newest, is asked for first.
    github.trouble.push({ status });
    const step = await look({ issue: "false" });
    expect([[...github.statuses.keys()], statuses().length]).toEqual([[COMMIT], 1]);
    expect(step.annotations("warning").map(({ data }) => data)).toEqual([
      expect.stringMatching(
        new RegExp(
          `^no commit status: (0{12}): GET /repos/org/fleet/commits/\\1\\w+/status: the API answered ${status}`,
        ),
      ),
    ]);
  }
  // The token, then, is at fault.
  github.trouble.push({ status: 404 }, { status: 404 });
  const step = await look({ issue: "false" });
  expect(step.annotations("warning").map(({ data }) => data)).toEqual([expect.stringContaining("'statuses: write'")]);
});

test("an issue that was opened, though 502 came of it, isn't opened twice", async () => {
  const before = github.issues.length;
  await fleet.report("router", "failed");
  github.trouble.push({ status: 502, to: "POST", isDone: true });
  await look({ "commit-status": "false" });
  expect(github.trouble).toEqual([]);
  expect(github.issues).toHaveLength(before + 1);
  await look({ "commit-status": "false" });
  expect(github.issues).toHaveLength(before + 1);
});

test("what is not wanted is not done, and what the token may not is said", async () => {
  await fleet.report("router", "failed");
  await look({ issue: "false", "commit-status": "false" });
  expect(github.calls).toEqual([]);
  github.trouble.push({ status: 403 }, { status: 403 });
  const step = await look({ "fail-on": "silent" });
  expect(step.status).toBe(0);
  expect(step.annotations("warning").map(({ data }) => data)).toEqual([
    "no commit status: the token may not, it needs 'statuses: write'",
    "no issue: the token may not, it needs 'issues: write'",
  ]);
  const wrong = await look({ "fail-on": "broken" });
  expect(wrong.annotations("error")[0]?.data).toMatch(/^there is no state 'broken' to fail on/);
});

test("html: the page, where it was asked for", async () => {
  await look({ html: "site", issue: "false", "commit-status": "false" });
  expect(await readFile(path.join(fleet.dir, "site/index.html"), "utf8")).toContain('"name":"router","state":"failed"');
  await rm(path.join(fleet.dir, "site"), { recursive: true });
});
