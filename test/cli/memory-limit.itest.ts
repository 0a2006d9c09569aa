import { mkdtemp, rm } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { CheckDocument } from "../../src/results.ts";
import { type GitRepository, gitRepository } from "../platform/git.ts";
import { memoryGroup } from "../support/memory-group.ts";
import { succeed } from "../support/programs.ts";
import { makeStore, type PrivateStore } from "../support/store.ts";
import { CLI, startTidy } from "./bento.ts";
import { configuration } from "./configurations.ts";

// A container, or a service, with less memory than the machine has.

const LIMIT = 600 * 1024 ** 2;

let dir: string;
let store: PrivateStore;
let repo: GitRepository & AsyncDisposable;
beforeAll(async () => {
  // Not below /tmp, which a store's directory refuses on some machines as one that others can write.
  dir = await mkdtemp("/var/tmp/bento-memory-");
  store = await makeStore(dir);
  const greedy = "  networking.gateway = toString (builtins.length (builtins.genList (n: n + 1) 60000000));";
  repo = await gitRepository({
    "hosts/anna/configuration.nix": configuration("anna"),
    "hosts/ben/configuration.nix": configuration("ben"),
    "hosts/greedy/configuration.nix": configuration("greedy", greedy),
    "hosts/zoe/configuration.nix": configuration("zoe"),
  });
});
afterAll(async () => {
  await repo?.[Symbol.asyncDispose]();
  await succeed("chmod", ["-R", "u+w", dir]);
  await rm(dir, { recursive: true });
});

test("a host that needs more memory than its control group may have fails alone, and is told so", async ({ skip }) => {
  using group = memoryGroup(LIMIT);
  if (group === undefined) return skip("no control group can be made here");
  const command = ["-c", `${group.enter} && exec "$@"`, "sh", process.execPath, CLI, "check", "--json"];
  const { status, stdout } = await (await startTidy("sh", command, { cwd: repo.dir, env: store.env })).finished;
  const { hosts } = JSON.parse(stdout) as CheckDocument;
  expect(hosts.map((host) => [host.name, host.status, host.error?.message ?? null])).toEqual([
    ["anna", "ok", null],
    ["ben", "ok", null],
    [
      "greedy",
      "failed",
      "the evaluation was killed, also with nothing else running: this machine has too little memory for it",
    ],
    ["zoe", "ok", null],
  ]);
  expect(status).toBe(1);
});
