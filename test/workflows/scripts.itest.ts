import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { originalWorkflows } from "../../src/commands/original-workflows.ts";
import { packageRoot, packageVersion } from "../../src/platform/package.ts";
import { endOf, workflowCopies } from "../../src/workflows/copies.ts";
import { parseWorkflow, type Step } from "../../src/workflows/workflow.ts";
import { gitRepository } from "../platform/git.ts";
import { scratch, writeTree } from "../platform/scratch.ts";
import { GhApi } from "../support/gh.ts";
import { exec, succeed } from "../support/programs.ts";

// The scripts in the workflows that `bento init` writes, run as the runner runs them.

const DIRECTORY = path.join(packageRoot(), ".github/workflows");
const originals = await Promise.all(
  ["check", "comment", "deploy", "status", "update"].map(
    async (name) => [`${name}.yml`, await readFile(path.join(DIRECTORY, `${name}.yml`), "utf8")] as const,
  ),
);
const copies = Object.entries(
  workflowCopies({ version: packageVersion(), fleet: "infra/fleet", originals: await originalWorkflows() }),
);
const stepsOf = (files: readonly (readonly [string, string])[]) =>
  files.flatMap(([file, text]) =>
    (parseWorkflow(file, text)?.jobs ?? []).flatMap((job) => job.steps.map((step) => ({ file, step }))),
  );
const scriptsOf = (files: readonly (readonly [string, string])[]) =>
  stepsOf(files).flatMap(({ file, step }) =>
    typeof step.keys.run === "string"
      ? [[`${path.basename(file)}: ${step.keys.name}`, step.keys.run, step] as const]
      : [],
  );
const ORIGINAL = "What the names of this fleet's reports end in";
const scripts = [...scriptsOf(copies), ...scriptsOf(originals).filter(([title]) => title.endsWith(ORIGINAL))];

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

test.each([
  [".", "."],
  ["./", "."],
  ["", "."],
  ["fleet", "fleet"],
  ["infra/fleet", "infra/fleet"],
  ["./infra//fleet/", "infra/fleet"],
  ["infra_fleet-2", "infra_fleet-2"],
  ["a+b", "a+b"],
  ["machines of ours", "machines of ours"],
  ["fermes/é.lock", "fermes/é.lock"],
])("the fleet %j has names of its own, the same in what is called as in copies", async (given, fleet) => {
  const { status, output } = await runScript(ORIGINAL, "/", { FLEET: given, LC_ALL: "C" });
  expect([status, output]).toEqual([0, `end=${endOf(fleet)}\n`]);
  // As artifacts, branches and files may be called.
  expect(endOf(fleet)).toMatch(/^(?:-[\w+-]+)?$/);
  await succeed("git", ["check-ref-format", `refs/heads/bento-update${endOf(fleet)}`]);
});

test("no two places make the same name, and every workflow makes it in the same way", () => {
  const places = [".", "a/b", "a-b", "a--b", "a+b", "a/b/", "a", "b", "a/-b", "a-/b"];
  expect(new Set(places.map(endOf)).size).toBe(places.length);
  const found = scriptsOf(originals).filter(([title]) => title.endsWith(ORIGINAL));
  expect(found.map(([title]) => title.split(":")[0])).toEqual(["check.yml", "comment.yml", "update.yml"]);
  expect(new Set(found.map(([, run]) => run)).size).toBe(1);
});

describe("updates of locks", () => {
  const BRANCH = "bento-update-infra+fleet";
  interface Pull {
    number: number;
    head: { ref: string; repo: { full_name: string; owner: { login: string } } };
    base: { ref: string };
  }

  /** A fleet at GitHub, what a job has checked out of it, and GitHub's API as far as pull requests go. */
  async function world() {
    await using resources = new AsyncDisposableStack();
    const dir = resources.use(await scratch());
    const repo = resources.use(
      await gitRepository({ "hosts/a/flake.lock": "old\n", "flake.lock": "old\n", "hosts/a/flake.nix": "1\n" }),
    );
    const remote = path.join(dir.path, "remote.git");
    await succeed("git", ["clone", "-q", "--bare", repo.dir, remote]);
    const work = path.join(dir.path, "work");
    await succeed("git", ["clone", "-q", remote, work]);
    const pulls: Pull[] = [];
    const pull = (number: number, ref: string, owner = "example"): Pull => ({
      number,
      head: { ref, repo: { full_name: `${owner}/fleet`, owner: { login: owner } } },
      base: { ref: "main" },
    });
    const gh = await GhApi.start(path.join(dir.path, "home"), ({ method, url, body }) => {
      if (url.pathname !== "/repos/example/fleet/pulls") return { status: 404, body: { message: "Not Found" } };
      if (method === "POST") {
        const made = pull(41 + pulls.length, body.head);
        pulls.push(made);
        return { status: 201, body: made };
      }
      // What isn't asked for isn't looked at, as GitHub does.
      const { head, base } = Object.fromEntries(url.searchParams);
      const found = pulls.filter(
        (one) =>
          (head === undefined || head === `${one.head.repo.owner.login}:${one.head.ref}`) &&
          (base === undefined || base === one.base.ref),
      );
      return { status: 200, body: found };
    });
    resources.use(gh);
    const git = (...args: string[]) => succeed("git", args, { cwd: work });
    /** Runs the script with a patch of what `change` does to the checkout. */
    const propose = async (change: () => Promise<unknown>) => {
      const patch = path.join(dir.path, "locks.patch");
      await git("fetch", "-q", "--prune");
      await git("reset", "-q", "--hard", "origin/main");
      await change();
      await git("add", "--all");
      await writeFile(patch, `${await git("diff", "--binary", "--cached")}\n`);
      await git("reset", "-q", "--hard");
      return runScript("Open the pull request, or renew it", work, {
        PATCH: patch,
        TITLE: "Update flake.lock",
        BRANCH,
        BOT: "41898282+github-actions[bot]@users.noreply.github.com",
        GITHUB_REPOSITORY: "example/fleet",
        GITHUB_REPOSITORY_OWNER: "example",
        ...gh.env,
      });
    };
    const locks = (text: string) => () => writeTree(work, { "flake.lock": text, "hosts/a/flake.lock": text });
    const pushed = (file: string) => succeed("git", ["show", `${BRANCH}:${file}`], { cwd: remote });
    const all = resources.move();
    const made = { dir: dir.path, repo, remote, work, pulls, pull, gh, git, propose, locks, pushed };
    return { ...made, [Symbol.asyncDispose]: () => all.disposeAsync() };
  }

  test("a patch becomes a branch and a pull request, and is renewed; nothing else of the patch is taken", async () => {
    await using at = await world();
    const first = await at.propose(() =>
      writeTree(at.work, { "flake.lock": "new\n", "hosts/a/flake.lock": "new\n", "hosts/a/flake.nix": "2\n" }),
    );
    expect([first.status, first.stderr, first.output]).toEqual([0, "", "number=41\n"]);
    expect(await at.pushed("flake.lock")).toBe("new");
    expect(await at.pushed("hosts/a/flake.lock")).toBe("new");
    expect(await at.pushed("hosts/a/flake.nix")).toBe("1");
    expect(await succeed("git", ["log", "--format=%an: %s", `main..${BRANCH}`], { cwd: at.remote })).toBe(
      "github-actions[bot]: Update flake.lock",
    );
    expect(at.gh.calls.find(({ method }) => method === "POST")?.body).toEqual({
      title: "Update flake.lock",
      head: BRANCH,
      base: "main",
      body: "The report is the comment below.",
    });

    const second = await at.propose(at.locks("newer\n"));
    expect([second.status, second.output]).toEqual([0, "number=41\n"]);
    expect(await at.pushed("flake.lock")).toBe("newer");
    expect(at.gh.calls.filter(({ method }) => method === "POST")).toHaveLength(1);
  });

  test("a lock that is new is in the patch, and in the pull request", async () => {
    await using at = await world();
    // Bento itself lies there, too, as a repository of its own.
    await succeed("git", ["init", "-q", path.join(at.work, ".bento")]);
    await writeTree(at.work, {
      ".bento/flake.lock": "{}",
      "hosts/b/flake.lock": "made\n",
      "hosts/b/other.nix": "made\n",
      "hosts/a/flake.lock": "newer\n",
      "notflake.lock": "made\n",
    });
    const patch = path.join(at.dir, "found.patch");
    const { status, output } = await runScript("What has changed", at.work, { PATCH: patch });
    expect([status, output]).toEqual([0, "changed=true\n"]);
    const found = await readFile(patch, "utf8");
    expect(found.match(/^diff .*$/gm)).toEqual([
      "diff --git a/hosts/a/flake.lock b/hosts/a/flake.lock",
      "diff --git a/hosts/b/flake.lock b/hosts/b/flake.lock",
    ]);
    await at.git("clean", "-ffdxq");
    const step = await at.propose(() => writeTree(at.work, { "hosts/b/flake.lock": "made\n" }));
    expect([step.status, step.stderr]).toEqual([0, ""]);
    expect(await at.pushed("hosts/b/flake.lock")).toBe("made");
  });

  test("nothing new is no change", async () => {
    await using at = await world();
    const { status, output } = await runScript("What has changed", at.work, { PATCH: path.join(at.dir, "none") });
    expect([status, output]).toEqual([0, ""]);
  });

  test("a fork's pull request from a branch of that name is somebody else's", async () => {
    await using at = await world();
    at.pulls.push(at.pull(666, BRANCH, "mallory"));
    const step = await at.propose(at.locks("new\n"));
    expect([step.status, step.output]).toEqual([0, "number=42\n"]);
    expect(at.pulls.map(({ number }) => number)).toEqual([666, 42]);
    // A fork within the organisation, which its owner's name doesn't tell.
    at.pulls.splice(0, 2, {
      ...at.pull(667, BRANCH),
      head: { ref: BRANCH, repo: { full_name: "example/other", owner: { login: "example" } } },
    });
    expect((await at.propose(at.locks("newer\n"))).output).toBe("number=42\n");
  });

  test("what somebody has committed to the branch stays, and the job says so", async () => {
    await using at = await world();
    expect((await at.propose(at.locks("new\n"))).status).toBe(0);
    const mine = path.join(at.dir, "mine");
    await succeed("git", ["clone", "-q", "--branch", BRANCH, at.remote, mine]);
    const commit = async (...args: string[]) => {
      const who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"];
      await succeed("git", [...who, "commit", "-q", "--allow-empty", ...args], { cwd: mine });
      await succeed("git", ["push", "-q", "--force", "origin", BRANCH], { cwd: mine });
      return succeed("git", ["rev-parse", "HEAD"], { cwd: mine });
    };
    const stays = async (tip: string, says: string) => {
      const step = await at.propose(at.locks("newer\n"));
      expect([step.status, step.output]).toEqual([1, ""]);
      expect(step.stdout).toContain(`${says}\n::error::the branch ${BRANCH} has commits of somebody's`);
      expect(await succeed("git", ["rev-parse", BRANCH], { cwd: at.remote })).toBe(tip);
    };
    await stays(await commit("-m", "Mend what the update breaks"), "by ada@example.org, committed by ada@example.org");
    // One of the bot's that somebody has changed.
    await succeed("git", ["reset", "-q", "--hard", "HEAD~1"], { cwd: mine });
    const bot = "by 41898282+github-actions[bot]@users.noreply.github.com, committed by ada@example.org";
    await stays(await commit("--amend", "-m", "Update flake.lock, and more"), bot);
    // Merged, it isn't lost.
    await succeed("git", ["update-ref", "refs/heads/main", BRANCH], { cwd: at.remote });
    expect((await at.propose(at.locks("newest\n"))).status).toBe(0);
    expect(await at.pushed("flake.lock")).toBe("newest");
  });

  test("what comes to the branch after the job has looked stays, too", async () => {
    await using at = await world();
    expect((await at.propose(at.locks("new\n"))).status).toBe(0);
    const step = await at.propose(async () => {
      await at.locks("newer\n")();
      // The checkout has looked already.
      await succeed("git", ["update-ref", `refs/heads/${BRANCH}`, "main"], { cwd: at.remote });
    });
    expect(step.status).toBe(1);
    expect(step.stderr).toContain("stale info");
    expect(await at.pushed("flake.lock")).toBe("old");
  });
});
