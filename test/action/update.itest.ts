import { cp, mkdir, rename, rm } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { originalWorkflows } from "../../src/commands/original-workflows.ts";
import { packageVersion } from "../../src/platform/package.ts";
import { workflowCopies } from "../../src/workflows/copies.ts";
import { parseWorkflow } from "../../src/workflows/workflow.ts";
import type { FleetRepository } from "../support/fleet.ts";
import { GhApi } from "../support/gh.ts";
import { succeed } from "../support/programs.ts";
import { World } from "../support/world.ts";
import { schedule } from "./events.ts";
import { TestGitHub } from "./github.ts";
import { WorkflowRun } from "./job.ts";

// update.yml from its first step to its last, with real git, Nix and gh. Of the fleet's flakes, nas has a newer input, the laptops one that
// nobody has any more, and the pi no lock yet. The tests go on where the one before them stopped.

let world: World;
let fleet: FleetRepository;
let remote: string;
let github: TestGitHub;
let gh: GhApi;
const inputs = (name: string) => path.join(world.dir, "inputs", name);

async function release(name: string): Promise<void> {
  const git = (...args: string[]) =>
    succeed("git", ["-c", "user.name=A", "-c", "user.email=a@example.org", ...args], { cwd: inputs(name) });
  await succeed("sh", ["-c", "date +%N >> news; echo '{ outputs = _: { }; }' > flake.nix"], { cwd: inputs(name) });
  await git("add", "-A");
  await git("commit", "-q", "-m", "News");
}

beforeAll(async () => {
  world = await World.make();
  for (const name of ["moving", "gone"]) {
    await mkdir(inputs(name), { recursive: true });
    await succeed("git", ["init", "-q", "-b", "main", inputs(name)]);
    await release(name);
  }
  fleet = await world.makeFleet();
  await cp(path.join(fleet.dir, "hosts/nas"), path.join(fleet.dir, "hosts/pi"), {
    recursive: true,
    verbatimSymlinks: true,
  });
  await fleet.edit("hosts/pi/flake.nix", "nixosConfigurations.nas", "nixosConfigurations.pi");
  await rm(path.join(fleet.dir, "hosts/pi/flake.lock"));
  for (const [host, input] of [
    ["nas", "moving"],
    ["laptops", "gone"],
  ] as const) {
    const flake = path.join(fleet.dir, "hosts", host);
    await fleet.edit(
      `hosts/${host}/flake.nix`,
      "inputs.",
      `inputs.${input}.url = "git+file://${inputs(input)}";\n  inputs.`,
    );
    await succeed("nix", ["flake", "lock", `path:${flake}`]);
  }
  await fleet.write("fleet.yaml", `${await fleet.read("fleet.yaml")}  pi: {}\n`);
  await fleet.render();
  await fleet.commit("Inputs that move");
  remote = path.join(world.dir, "remote.git");
  await succeed("git", ["clone", "-q", "--bare", fleet.dir, remote]);
  github = await TestGitHub.start();
  gh = await GhApi.start(path.join(world.dir, "gh-home"), ({ method, body }) =>
    method === "POST" ? { status: 201, body: { number: 41, ...body } } : { status: 200, body: [] },
  );
});

afterAll(async () => {
  await gh?.[Symbol.asyncDispose]();
  await github?.[Symbol.asyncDispose]();
  await world?.[Symbol.asyncDispose]();
});

/** A run of the workflow, each job with a checkout of its own. */
async function update(): Promise<WorkflowRun> {
  const [file, text] =
    Object.entries(
      workflowCopies({ version: packageVersion(), fleet: ".", originals: await originalWorkflows() }),
    ).find(([name]) => name.endsWith("update.yml")) ?? [];
  const workflow = parseWorkflow(file ?? "", text ?? "");
  if (workflow === null) throw new Error("no workflow");
  const run = await WorkflowRun.start(workflow);
  for (const job of ["update", "propose"]) {
    const workspace = path.join(world.dir, "checkout");
    await rm(workspace, { recursive: true, force: true });
    await succeed("git", ["clone", "-q", remote, workspace]);
    await run.run(job, {
      workspace,
      event: schedule(),
      token: "t0ken",
      env: {
        GITHUB_API_URL: github.url,
        GITHUB_REPOSITORY: "example/fleet",
        GITHUB_REPOSITORY_OWNER: "example",
        ...gh.env,
      },
    });
  }
  return run;
}

const report = () => github.comments.at(-1)?.body ?? "";

test("what can be updated is proposed, a new lock too; what can't is in the report, and turns the run red", async () => {
  await release("moving");
  await rename(inputs("gone"), inputs("elsewhere"));
  await using run = await update();
  const { update: first, propose } = run.results;
  expect(first?.steps, first?.log).toMatchObject({
    locks: "failure",
    update: "success",
    check: "success",
    leave: "success",
  });
  expect(first?.result).toBe("failure");
  expect(first?.log).toMatch(/::error::bento flake-update: 1 failed: hosts\/laptops\/flake\.lock/);
  expect(await run.artifact("bento-update")).toEqual(["bento-check.json", "bento-flake-update.json", "locks.patch"]);
  expect(propose?.result, propose?.log).toBe("success");
  const changed = await succeed("git", ["diff", "--name-status", "main", "bento-update"], { cwd: remote });
  expect(changed.split("\n")).toEqual(["M\thosts/nas/flake.lock", "A\thosts/pi/flake.lock"]);
  expect(github.calls.filter(({ method }) => method === "POST").map(({ path }) => path)).toEqual([
    "/repos/example/fleet/issues/41/comments",
  ]);
  // Why, in git's words; and every host, the new lock's as well.
  expect(report()).toMatch(
    /hosts\/laptops\/flake\.lock is as it was.*[Gg]it.*inputs\/gone.*does not (?:appear to be a git repository|exist)/i,
  );
  for (const host of ["laptop-anna", "nas", "pi", "router"]) expect(report()).toContain(`<code>${host}</code>`);
  expect(report()).not.toContain("❌");
});

test("once all can be had, the run is green; and with nothing new nothing is proposed", async () => {
  await rename(inputs("elsewhere"), inputs("gone"));
  await succeed("git", ["update-ref", "refs/heads/main", "bento-update"], { cwd: remote });
  await release("gone");
  await using run = await update();
  expect([run.results.update?.result, run.results.propose?.result], run.results.update?.log).toEqual([
    "success",
    "success",
  ]);
  expect(report()).not.toContain("is as it was");
  await succeed("git", ["update-ref", "refs/heads/main", "bento-update"], { cwd: remote });
  await using none = await update();
  expect([none.results.update?.result, none.results.propose?.result]).toEqual(["success", "skipped"]);
  expect(none.results.update?.steps).toMatchObject({ check: "skipped", leave: "skipped" });
});

test("an update that breaks a host is proposed, and its report says so", async () => {
  await succeed("sh", ["-c", "echo '{ outputs = _: throw \"no more\"; }' > flake.nix"], { cwd: inputs("moving") });
  await succeed("git", ["-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-qam", "Broken"], {
    cwd: inputs("moving"),
  });
  const clone = path.join(world.dir, "use");
  await succeed("git", ["clone", "-q", remote, clone]);
  await succeed(
    "sed",
    ["-i", "s/nixpkgs, \\.\\.\\. }:/nixpkgs, moving, ... }: builtins.seq moving/", "hosts/nas/flake.nix"],
    { cwd: clone },
  );
  await succeed("git", ["-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-qam", "Use it"], {
    cwd: clone,
  });
  await succeed("git", ["push", "-q", "origin", "HEAD:main"], { cwd: clone });
  await using run = await update();
  expect(run.results.update?.steps.check, run.results.update?.log).toBe("failure");
  expect([run.results.update?.result, run.results.propose?.result]).toEqual(["success", "success"]);
  expect(report()).toMatch(/❌ \| <code>nas<\/code>/);
});

test("a fleet that can't be read at all makes no change and a red run", async () => {
  const clone = path.join(world.dir, "use");
  await succeed("sh", ["-c", "echo 'hosts: [' > fleet.yaml"], { cwd: clone });
  await succeed("git", ["-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-qam", "A typo"], {
    cwd: clone,
  });
  await succeed("git", ["push", "-q", "origin", "HEAD:main"], { cwd: clone });
  await using run = await update();
  expect([run.results.update?.result, run.results.propose?.result]).toEqual(["failure", "skipped"]);
});

test("a fleet without a flake has no lock, and a green run", async () => {
  const clone = path.join(world.dir, "use");
  await succeed(
    "sh",
    [
      "-c",
      "git reset -q --hard HEAD~1; rm -r hosts/nas hosts/pi hosts/laptops; echo 'hosts: { router: {} }' > fleet.yaml",
    ],
    { cwd: clone },
  );
  await succeed("git", ["-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-qam", "No flake"], {
    cwd: clone,
  });
  await succeed("git", ["push", "-q", "--force", "origin", "HEAD:main"], { cwd: clone });
  await using run = await update();
  expect([run.results.update?.result, run.results.propose?.result], run.results.update?.log).toEqual([
    "success",
    "skipped",
  ]);
});
