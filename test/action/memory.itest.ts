import { readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { beforeEach, expect, test } from "vitest";
import { makeCacheKey } from "../../src/nix/cache-key.ts";
import type { HostCheck } from "../../src/results.ts";
import type { FleetRepository } from "../support/fleet.ts";
import { succeed } from "../support/programs.ts";
import { withFleet } from "../support/with-fleet.ts";
import type { World } from "../support/world.ts";
import { pullRequest, push } from "./events.ts";
import { runStep } from "./runner.ts";

// What is evaluated on a pull request, and believed after the merge. The two jobs have a cache directory in common, as they
// have on a machine of one's own, and where a CI keeps it between jobs.

let world: World;
let fleet: FleetRepository;
let cache: string;
let n = 0;
const { secretKey } = makeCacheKey("cache-1");

withFleet({}, (made) => {
  ({ world, fleet } = made);
});

beforeEach(() => {
  cache = path.join(world.dir, `cache-${n++}`);
});
const hosts = "nas,laptop-anna";
const env = () => ({
  XDG_CACHE_HOME: cache,
  XDG_STATE_HOME: path.join(world.dir, "state"),
  HOME: world.store.env.HOME,
});
const head = () => fleet.git("rev-parse", "HEAD");

async function check(inputs: Record<string, string>, more: Record<string, string> = {}) {
  const commit = await head();
  const step = await runStep({
    workspace: fleet.dir,
    inputs: { command: "check", hosts, comment: "false", ...inputs },
    event: pullRequest(commit, commit),
    env: { ...env(), ...more },
  });
  expect(step.status, step.stdout).toBe(0);
  return step.document.hosts as HostCheck[];
}

async function build(inputs: Record<string, string> = {}, more: Record<string, string> = {}) {
  const commit = await head();
  const step = await runStep({
    workspace: fleet.dir,
    inputs: { command: "build", hosts, "cache-key": secretKey, ...inputs },
    event: push(commit, commit),
    env: { ...env(), ...more },
  });
  expect(step.status, step.stdout).toBe(0);
  return step.document.hosts as HostCheck[];
}
const remembered = (checks: readonly HostCheck[]) => checks.map((host) => host.remembered);

test("with a key that both have, the merge evaluates nothing again, whatever commit it is", async () => {
  await fleet.git("checkout", "-q", "-b", "change");
  await fleet.edit("hosts/nas/configuration.nix", "pkgs.postgresql", "pkgs.curl");
  await fleet.commit("nas: curl");
  const checked = await check({ "memory-key": "only this repository's own jobs have it" });
  await fleet.git("checkout", "-q", "main");
  await fleet.git("merge", "-q", "--no-ff", "-m", "Merge", "change");
  const built = await build({ "memory-key": "only this repository's own jobs have it" });
  expect(remembered(checked)).toEqual([false, false]);
  expect(remembered(built)).toEqual([true, true]);
  expect(built.map(({ toplevel }) => toplevel)).toEqual(checked.map(({ toplevel }) => toplevel));
});

test("what a fork's job has left is neither built nor signed, whatever it says", async () => {
  const [anna, nas] = await check({});
  // It says that the nas' system is the laptop's.
  const dir = path.join(cache, "bento/evaluations");
  for (const name of await readdir(dir)) {
    const text = await readFile(path.join(dir, name), "utf8");
    const poisoned = text
      .replaceAll(nas?.drv ?? "?", anna?.drv ?? "")
      .replaceAll(nas?.toplevel ?? "?", anna?.toplevel ?? "");
    await writeFile(path.join(dir, name), poisoned);
  }
  expect((await check({}))[1]?.toplevel, "the memory isn't poisoned").toBe(anna?.toplevel);
  for (const inputs of [{}, { "memory-key": "a key" }]) {
    const built = await build(inputs);
    expect(remembered(built)).toEqual([false, false]);
    expect(built[1]?.toplevel).toBe(nas?.toplevel);
  }
  // The key may come by the step's environment as well.
  const built = await build({ "cache-key": "" }, { BENTO_CACHE_KEY: secretKey });
  expect([remembered(built), built[1]?.toplevel]).toEqual([[false, false], nas?.toplevel]);
  const info = await succeed("nix", ["path-info", "--json", nas?.toplevel ?? ""]);
  expect(info).toContain("cache-1:");
});

test("without a key, the steps of one job believe one another, and no other job's", async () => {
  const job = (token: string) => ({ ACTIONS_RUNTIME_TOKEN: token });
  expect(remembered(await build({}, job("the first")))).toEqual([false, false]);
  expect(remembered(await build({}, job("the first")))).toEqual([true, true]);
  expect(remembered(await build({}, job("another")))).toEqual([false, false]);
});
