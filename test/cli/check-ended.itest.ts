import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { gitRepository } from "../platform/git.ts";
import { scratch } from "../platform/scratch.ts";
import { kill, succeed } from "../support/programs.ts";
import { World } from "../support/world.ts";
import { lineOf, startBento } from "./bento.ts";
import { configuration, endless } from "./configurations.ts";
import { makeFifo, reached } from "./fifo.ts";

// A check that is ended: by who started it, or since a host has taken too long.

let world: World;
beforeAll(async () => {
  world = await World.make({ hosts: [] });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

/** A repository with an endless host, which reads from a fifo, and one that is well. */
async function endlessFleet() {
  const dir = await scratch();
  const fifo = await makeFifo(path.join(dir.path, "fifo"));
  const repo = await gitRepository({
    "hosts/endless/configuration.nix": endless("endless", fifo),
    "hosts/well/configuration.nix": configuration("well"),
  });
  return {
    dir: repo.dir,
    fifo,
    // What is evaluated reads only what it is allowed to.
    check: (...args: string[]) => startBento(["check", "-I", `fifo=${dir.path}`, ...args], { cwd: repo.dir }),
    [Symbol.asyncDispose]: async () => {
      await repo[Symbol.asyncDispose]();
      await dir[Symbol.asyncDispose]();
    },
  };
}

test.each([
  ["SIGINT", "waits"],
  ["SIGTERM", "works"],
] as const)("%s while Nix %s: 130, and neither a process nor a file is left", async (signal, what) => {
  await using fleet = await endlessFleet();
  const running = await fleet.check();
  await using held = await reached(fleet.fifo, running);
  if (what === "works") await held.close();
  expect(running.children().length).toBeGreaterThan(0);
  kill([running.pid], signal);
  expect(await running.finished).toEqual({ status: 130, stdout: "", stderr: "error: interrupted\n" });
});

test("interrupted while it compares: the base's checkout goes too", async () => {
  await using fleet = await endlessFleet();
  const git = (...args: string[]) => succeed("git", args, { cwd: fleet.dir });
  await git("rm", "-rq", "hosts/endless");
  await git("mv", "hosts/well", "hosts/endless");
  await git("commit", "-qm", "cured");
  const running = await fleet.check("--base", "HEAD~1");
  await using _ = await reached(fleet.fifo, running);
  expect((await git("worktree", "list")).split("\n")).toHaveLength(2);
  kill([running.pid], "SIGINT");
  const { status, stderr } = await running.finished;
  expect(stderr).toMatch(/error: interrupted\n$/);
  expect(status).toBe(130);
  expect((await git("worktree", "list")).split("\n")).toHaveLength(1);
});

test("an evaluation that takes too long is that host's failure alone", async () => {
  await using fleet = await endlessFleet();
  const running = await fleet.check("--timeout", "8");
  await using _ = await reached(fleet.fifo, running);
  const { status, stdout } = await running.finished;
  expect(stdout).toMatch(/^✗ {2}endless {2}failed\n {4}the evaluation took longer than 8 s and was ended$/m);
  expect(lineOf("well", stdout)).toMatch(/^✓ .* ok /);
  expect(status).toBe(1);
});
