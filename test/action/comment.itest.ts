import { writeFile } from "node:fs/promises";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { scratch } from "../platform/scratch.ts";
import { check, checked, failing } from "../render/documents.ts";
import { pullRequest, push, schedule, workflowRun } from "./events.ts";
import { TestGitHub } from "./github.ts";
import { runStep } from "./runner.ts";

// What the Action writes on a pull request: a report of documents that are there already, so that nothing needs evaluating.

let github: TestGitHub;
let dir: Awaited<ReturnType<typeof scratch>>;

beforeEach(async () => {
  github = await TestGitHub.start();
  dir = await scratch();
});

afterEach(async () => {
  expect(github.mistakes).toEqual([]);
  await github[Symbol.asyncDispose]();
  await dir[Symbol.asyncDispose]();
});

const BASE = "1".repeat(40);
const HEAD = "2".repeat(40);

async function report(hosts = [checked("nas")], event: object = pullRequest(BASE, HEAD), inputs = {}) {
  const file = path.join(dir.path, "document.json");
  await writeFile(file, JSON.stringify(check(hosts)));
  return runStep({
    workspace: dir.path,
    event,
    inputs: { command: "report", documents: file, token: "ghs_aSecretToken", ...inputs },
    env: { GITHUB_API_URL: github.url, GITHUB_REPOSITORY: "example/fleet" },
  });
}

const written = () => github.calls.filter(({ method }) => method !== "GET").map(({ method, path }) => [method, path]);

test("the first report is a new comment, and each later one is written over it", async () => {
  expect((await report()).status).toBe(0);
  expect((await report([failing("nas", "no such thing")])).status).toBe(1);
  expect(written()).toEqual([
    ["POST", "/repos/example/fleet/issues/7/comments"],
    ["PATCH", "/repos/example/fleet/issues/comments/1"],
  ]);
  expect(github.comments).toHaveLength(1);
  expect(github.comments[0]?.body).toContain("no such thing");
  expect(github.calls.every(({ token }) => token === "Bearer ghs_aSecretToken")).toBe(true);
});

test("the same report is not written again", async () => {
  await report();
  await report();
  expect(written()).toHaveLength(1);
});

test("the comment is found behind many others, and somebody else's with the same mark is left alone", async () => {
  await report();
  const mine = github.comments.splice(0, 1)[0];
  if (mine === undefined) throw new Error("no comment");
  github.pageSize = 2;
  for (let id = 100; id < 105; id++) github.comments.push({ id, body: "hello", user: { login: "grace" } });
  github.comments.unshift({ id: 99, body: mine.body, user: { login: "mallory" } });
  github.comments.push(mine);
  await report([checked("router")]);
  expect(written().at(-1)).toEqual(["PATCH", "/repos/example/fleet/issues/comments/1"]);
  expect(github.comments.find(({ id }) => id === 99)?.body).not.toContain("router");
});

test("two fleets in one repository have a comment each", async () => {
  await report();
  await report([checked("nas")], pullRequest(BASE, HEAD), { fleet: "other" });
  expect(github.comments).toHaveLength(2);
});

test("what could not be updated before a check is told with it, and is inert; what is no such document is refused", async () => {
  const updates = path.join(dir.path, "updates.json");
  const write = (document: object) =>
    writeFile(updates, JSON.stringify({ version: 1, command: "flake-update", ...document }));
  await write({
    flakes: [
      {
        file: "hosts/a/flake.lock",
        error: { message: "git: gone\n@org/team <b>x</b> ![](https://evil.example/a.png)" },
      },
      { file: "hosts/b/flake.lock", error: null },
    ],
  });
  const documents = `${updates}\n${path.join(dir.path, "document.json")}`;
  const step = await report([checked("nas")], pullRequest(BASE, HEAD), { documents });
  expect(step.status, step.stdout).toBe(0);
  const body = github.comments[0]?.body ?? "";
  expect(body).toContain("hosts/a/flake.lock is as it was");
  expect(body).toContain("<code>nas</code>");
  expect(body).not.toMatch(/hosts\/b|<b>|@org|!\[/);
  await write({ flakes: [{ file: 1 }] });
  const wrong = await report([checked("nas")], pullRequest(BASE, HEAD), { documents });
  expect(wrong.annotations("error")[0]?.data).toMatch(/updates\.json is not what bento flake-update --json prints/);
  await write({ flakes: [] });
  const alone = await report([checked("nas")], pullRequest(BASE, HEAD), { documents: updates });
  expect(alone.annotations("error")[0]?.data).toBe("there is no document to report on");
});

test("a busy API is asked again when it says so, and a broken one too", async () => {
  github.trouble.push(
    { status: 429, headers: { "retry-after": "0" } },
    { status: 403, headers: { "retry-after": "0" } },
    { status: 502, headers: { "retry-after": "0" } },
  );
  expect((await report()).status).toBe(0);
  expect(github.comments).toHaveLength(1);
});

test("a connection that ends is made again", async () => {
  github.trouble.push({ status: 0 });
  expect((await report()).status).toBe(0);
  expect(github.comments).toHaveLength(1);
});

test.each([
  ["502", { status: 502, headers: { "retry-after": "0" } }],
  ["no answer", { status: 0 }],
])("a comment that was made, though %s came of it, isn't made twice; one that wasn't is", async (_what, trouble) => {
  github.trouble.push({ ...trouble, to: "POST", isDone: true });
  expect((await report()).status).toBe(0);
  expect(github.trouble).toEqual([]);
  expect(github.comments).toHaveLength(1);
  github.comments.length = 0;
  github.trouble.push({ ...trouble, to: "POST" });
  expect((await report()).status).toBe(0);
  expect(github.trouble).toEqual([]);
  expect(github.comments).toHaveLength(1);
});

test.each([
  ["is limited for longer than anybody waits", { status: 403, headers: { "retry-after": "3600" } }, 1],
  ["is limited for longer than anybody waits", { status: 429, headers: { "retry-after": "3600" } }, 1],
  ["stays broken", { status: 503, headers: { "retry-after": "0" } }, 4],
  ["stays busy", { status: 429, headers: { "retry-after": "0" } }, 4],
  ["answers no JSON", { status: 200, body: "<html>a proxy</html>" }, 1],
  ["sends the token elsewhere", { status: 302, headers: { location: "http://127.0.0.2:9/" } }, 1],
])(
  "an API that %s (%j) is a warning after as many tries as make sense, and no red step",
  async (_what, trouble, tries) => {
    github.trouble.push(...Array.from({ length: 9 }, () => trouble));
    const step = await report();
    expect([step.status, 9 - github.trouble.length]).toEqual([0, tries]);
    const level = trouble.status === 403 ? "notice" : "warning";
    expect(step.annotations(level)[0]?.data).toContain("no comment on the pull request");
    expect(step.stdout).not.toMatch(/bug in Bento|^ +at /m);
    expect(step.summary).toContain("1 host");
  },
);

test("a next page on another host isn't asked for: the token is for the API alone", async () => {
  github.pageSize = 1;
  github.elsewhere = "http://127.0.0.2:9";
  for (let id = 100; id < 103; id++) github.comments.push({ id, body: "hello", user: { login: "grace" } });
  const step = await report();
  expect([step.status, step.annotations("warning")[0]?.data]).toEqual([
    0,
    expect.stringContaining("pointed to another host, http://127.0.0.2:9"),
  ]);
});

test("Forgejo, whose workflows' comments are by another name, said or not", async () => {
  github.login = "forgejo-actions";
  await report();
  await report([checked("router")]);
  expect(github.comments).toHaveLength(1);
  expect(github.comments[0]?.body).toContain("router");
});

test("a pull request that the event isn't of, by its number", async () => {
  await report([checked("nas")], schedule(), { "pull-request": "41" });
  expect(written()).toEqual([["POST", "/repos/example/fleet/issues/41/comments"]]);
  const wrong = await report([checked("nas")], schedule(), { "pull-request": "main" });
  expect(wrong.annotations("error")[0]?.data).toBe("the input 'pull-request' must be a whole number, not 'main'");
});

test("a fork's token may not comment: a notice says so, and the summary has the report", async () => {
  github.trouble.push({ status: 403 });
  const step = await report();
  expect(step.status).toBe(0);
  expect(step.annotations("notice")[0]?.data).toContain("as is the rule for forks");
  expect(step.summary).toContain("1 host");
});

test.each([200, 422])("an API that answers something odd (%d) is a warning, and no red step", async (status) => {
  github.trouble.push({ status });
  const step = await report();
  expect(step.status).toBe(0);
  expect(step.annotations("warning")[0]?.data).toContain("no comment on the pull request");
});

test("after another workflow: the pull request is the one whose newest commit was checked", async () => {
  github.pulls.set("grace:change", [{ number: 12, head: { sha: HEAD } }]);
  await report([checked("nas")], workflowRun(HEAD));
  expect(written()).toEqual([["POST", "/repos/example/fleet/issues/12/comments"]]);
  // It has a newer commit by now, whose own report will come.
  await report([checked("nas")], workflowRun(BASE));
  expect(written()).toHaveLength(1);
});

test("a push, or a comment that nobody wants, asks the API for nothing", async () => {
  await report([checked("nas")], push(BASE, HEAD));
  await report([checked("nas")], pullRequest(BASE, HEAD), { comment: "false" });
  expect(github.calls).toEqual([]);
});

test("a report of a thousand failing hosts fits into a comment, and says where the rest is", async () => {
  const hosts = Array.from({ length: 1000 }, (_, n) =>
    failing(`host-${n}`, "x".repeat(200), { trace: "y".repeat(5000) }),
  );
  await report(hosts);
  const body = github.comments[0]?.body ?? "";
  expect(body.length).toBeLessThan(65_536);
  expect(body).toContain("more hosts: see the job");
});
