import { closeSync, existsSync, openSync, readFileSync, writeSync } from "node:fs";
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { loadFleet } from "../../src/fleet/load.ts";
import { renderedFiles } from "../../src/fleet/rendered.ts";
import { packageRoot } from "../../src/platform/package.ts";
import { GitPublisher } from "../../src/publish/git.ts";
import { archivesOf } from "../../src/release/plan.ts";
import { type GitRepository, gitRepository } from "../platform/git.ts";
import { writeTree } from "../platform/scratch.ts";
import { GitServer } from "../support/git-server.ts";
import { long } from "../support/long.ts";
import type { Machine } from "../support/machine.ts";
import { runUntilChange } from "../support/power.ts";
import { kill, processesWith, start, succeed } from "../support/programs.ts";
import { encrypt } from "../support/secrets.ts";
import { World } from "../support/world.ts";

/**
 * An attempt that is cut off wherever it can be, from its first step to its last; after that the next runs bring the machine to its
 * release, with its secrets, and tell the fleet once. There are three ways to cut it off:
 *
 * killed: the agent alone is, while what it has started goes on. What a shell does is seen by others only when it starts a
 * program, opens a file or writes, so those are the places: between two of them nothing is different.
 *
 * power lost: everything is gone at once, and so is /run, after any change that any program of the attempt has made on disk, Nix's
 * included. Then it boots. (What was written and not synced is still there, which is more than a power cut promises.)
 *
 * disk full: that of the agent's state, from such a change on until the attempt is over.
 *
 * By default a few places of each; with --all some more, for each way that releases come; BENTO_TEST_SWEEP=FROM:TO:STEP chooses, and
 * 1:9999:1 are all of them.
 */
const AGENT = path.join(packageRoot(), "utils/agent/bento-agent");
/** Patience enough for a slow machine, and a guard that doesn't wait for longer than that. */
const SETTINGS = {
  BENTO_BACKOFF: "0",
  BENTO_ACTIVATION_TIMEOUT: "20",
  BENTO_GUARD_SLACK: "0",
  BENTO_CONFIRM_TIMEOUT: "20",
};
const SEEN = "clone,clone3,fork,vfork,openat,write";

/** How releases come to the machine. */
interface Way {
  name: string;
  env: Record<string, string>;
  /** Publishes a release directory, and gives the commit that its reports name. */
  publish(dir: string): Promise<string>;
}

/** Milliseconds: all places take most of an hour. */
const LONG = 7_200_000;

const resources = new AsyncDisposableStack();
const HOST = "swept";
let world: World;
let machine: Machine;
let server: GitServer;
let fleet: GitRepository;
let settings: { remote: string; refs: string; hostKeys: string[] };

beforeAll(async () => {
  world = resources.use(await World.make({ hosts: [HOST] }));
  const key = world.hostKeys[HOST]?.publicKey ?? "";
  server = resources.use(
    await GitServer.make(path.join(world.dir, "git"), { write: [world.publisherKey.publicKey], read: [key] }),
  );
  settings = { remote: server.remote, refs: "refs/heads/bento/{host}", hostKeys: [server.hostKey.publicKey] };
  fleet = await gitRepository({
    "fleet.yaml": `git: { remote: "${server.remote}" }\nhosts: { ${HOST}: { key: "${key}" } }\n`,
    [`hosts/${HOST}/configuration.nix`]: "",
  });
  resources.use(fleet);
  machine = await world.machine(HOST);
  await writeFile(machine.path("etc/bento.json"), world.agentSettings({ git: settings }));
});
afterAll(async () => resources.disposeAsync());

const sftp: Way = {
  name: "over sftp",
  env: {},
  publish: async (dir) => (await world.publish(HOST, { dir }, { evaluate: false })).manifest.commit,
};

const git: Way = {
  name: "from a ref of git",
  env: { BENTO_FETCHER: "git", BENTO_REPORTER: "sftp" },
  async publish(dir) {
    const { manifest, envelope, archive } = await world.release(HOST, { dir }, { evaluate: false });
    const { name, size, bytes } = archive;
    const file = path.join(world.dir, name);
    await writeFile(file, bytes);
    const [repository, signal] = [fleet.dir, new AbortController().signal];
    await using publisher = await GitPublisher.open({ settings, repository, key: world.publisherKey.file, signal });
    await publisher.readCurrent([HOST]);
    const upload = { host: HOST, envelope, archive: { name, size, file }, keep: archivesOf(manifest) };
    expect((await publisher.publish([upload])).get(HOST)).toBeNull();
    return manifest.commit;
  },
};

const branch: Way = {
  name: "of a branch of git",
  env: { BENTO_FETCHER: "git", BENTO_REPORTER: "sftp", BENTO_GIT_BRANCH: "main", BENTO_GIT_ALLOW_UNSIGNED: "1" },
  async publish(dir) {
    const files = {
      [`hosts/${HOST}/configuration.nix`]: await readFile(path.join(dir, "tree/configuration.nix"), "utf8"),
    };
    await writeTree(fleet.dir, files);
    await cp(path.join(dir, "secrets"), path.join(fleet.dir, "secrets", HOST), { recursive: true });
    fleet.git("add", "-A");
    await writeTree(fleet.dir, Object.fromEntries(renderedFiles(await loadFleet(fleet.dir))));
    fleet.git("add", "-A");
    fleet.git("commit", "-q", "-m", "a change");
    await server.git("fetch", "--quiet", fleet.dir, `+${fleet.head()}:refs/heads/main`);
    return fleet.head();
  },
};

let releases = 0;
/** The next release, published; its number is in its system, and its secret. */
async function publish(way: Way): Promise<string> {
  releases += 1;
  const dir = path.join(world.dir, `numbered-${releases}`);
  await mkdir(path.join(dir, "tree"), { recursive: true });
  const declared = JSON.stringify({ number: { owner: "nobody", group: "root", mode: "0400", restartUnits: [] } });
  const text = `{ ... }: {
    networking.hostName = "${HOST}";
    environment.etc."number" = "${releases}";
    environment.etc."bento-secrets.json" = ''${declared}'';
  }\n`;
  await writeFile(path.join(dir, "tree/configuration.nix"), text);
  await encrypt(String(releases), world.hostKeys[HOST]?.publicKey ?? "", path.join(dir, "secrets/number.age"));
  return way.publish(dir);
}

const number = () => readFileSync(machine.path("etc/number"), "utf8");
const secret = () => readFileSync(machine.path("run/bento-secrets/number"), "utf8");

/** The programs of the machine that run. */
function running(): number[] {
  return processesWith("MACHINE", machine.dir).filter((pid) => existsSync(`/proc/${pid}/exe`));
}

/** What was reported of a commit. */
async function outcomesOf(commit: string): Promise<string[]> {
  const dir = path.join(world.server.chroot(HOST), "reports");
  const names = (await readdir(dir)).filter((name) => /^\d+-\d+\.json$/.test(name)).sort();
  const reports = await Promise.all(
    names.map(async (name) => JSON.parse(await readFile(path.join(dir, name), "utf8"))),
  );
  return reports.filter((report) => report.commit === commit).map(({ outcome }) => outcome);
}

/** The power is back: what boots is a whole system, and has its secrets. */
async function boots(): Promise<void> {
  await machine.restart();
  const system = await machine.running();
  expect(existsSync(`${system}/bin/switch-to-configuration`), `${system} boots`).toBe(true);
  if (!existsSync(`${system}/etc/bento-secrets.json`)) return;
  const { status, stderr } = await machine.agent(SETTINGS, ["secrets"]);
  expect(status, stderr).toBe(0);
  expect(secret()).toBe(readFileSync(`${system}/etc/number`, "utf8"));
}

async function converges(way: Way, commit: string, harmless = /^inconclusive$/): Promise<void> {
  const said: string[] = [];
  for (let run = 0; run < 4; run++) {
    const { status, stderr } = await machine.agent({ ...SETTINGS, ...way.env });
    said.push(`${status}: ${stderr}`);
    if (/^up to date with release/m.test(stderr)) break;
  }
  const text = said.join("");
  const system = await machine.running();
  expect([number(), secret()], text).toEqual([String(releases), String(releases)]);
  expect([await machine.profile(), await machine.bootDefault()], text).toEqual([system, system]);
  expect(await machine.state("applied.json"), text).toMatchObject({ commit, toplevel: system });
  expect(existsSync(machine.path("state/intent.json"))).toBe(false);
  expect(await readdir(machine.path("state/spool"))).toEqual([]);
  expect(await readdir(machine.path("run/bento-secrets.d"))).toHaveLength(1);
  const outcomes = await outcomesOf(commit);
  const ends = outcomes.filter((outcome) => !harmless.test(outcome));
  expect(ends, text).toEqual(["success"]);
  expect(outcomes.length, text).toBeLessThanOrEqual(2);
  // A guard that is not needed any more sees that within a second.
  await vi.waitFor(() => expect(running()).toEqual([]), { timeout: 30_000, interval: 50 });
}

/** A place that the agent comes to: its nth call of that name. */
type Place = readonly [call: string, n: number];

/** Kills the agent at a place. False when it has come to its end before. */
async function killedAt([call, n]: Place, way: Way): Promise<boolean> {
  const inject = ["-qq", "-o", "/dev/null", "-e", `trace=${call}`, "-e", `inject=${call}:signal=KILL:when=${n}`];
  const { child, done } = start("strace", [...inject, "bash", AGENT, "upgrade"], {
    env: { ...machine.env, ...SETTINGS, ...way.env },
  });
  void done;
  // Not its output's end: what it has started may hold that for as long as it likes.
  return new Promise((resolve) =>
    child.on("exit", (status, signal) => resolve(signal === "SIGKILL" || status === 137)),
  );
}

/** The places of an attempt, in order. */
async function placesOf(way: Way): Promise<Place[]> {
  const log = path.join(world.dir, "places");
  const { done } = start("strace", ["-qq", "-o", log, "-e", `trace=${SEEN}`, "bash", AGENT, "upgrade"], {
    env: { ...machine.env, ...SETTINGS, ...way.env },
  });
  const { status, stderr } = await done;
  expect(status, stderr).toBe(0);
  const counts = new Map<string, number>();
  return [...(await readFile(log, "utf8")).matchAll(/^(\w+)\(/gm)].map(([, call = ""]) => {
    const n = (counts.get(call) ?? 0) + 1;
    counts.set(call, n);
    return [call, n];
  });
}

/** What an attempt does at its disks, until its nth change. */
function untilChange(n: number, way: Way, dirs: string[], act: (fail: () => void) => void, verb = ["upgrade"]) {
  const env = { ...machine.env, ...SETTINGS, ...way.env };
  return runUntilChange(n, { program: "bash", args: [AGENT, ...verb], env, dirs }, act);
}

const powerLostAt = (n: number, way: Way, verb = ["upgrade"]) =>
  untilChange(n, way, [machine.dir, path.join(world.dir, "nix")], (fail) => fail(), verb);

/** The disk of the agent's state gets full, to the last byte, and stays so until the attempt is over. */
async function fullAt(n: number, way: Way): Promise<{ changes: number; isOver: boolean }> {
  const filler = machine.path("state/filler");
  const result = await untilChange(n, way, [machine.path("state")], () => {
    const file = openSync(filler, "w");
    for (const size of [65536, 4096]) {
      try {
        for (;;) writeSync(file, Buffer.alloc(size));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
      }
    }
    closeSync(file);
  });
  await rm(filler, { force: true });
  return result;
}

/** The places to cut off at, of `last`; with --all about `many` of them, and otherwise `few`. */
function* places(last: number, few: number, many: number): Generator<number> {
  const told = process.env.BENTO_TEST_SWEEP?.split(":").map(Number);
  const count = process.env.BENTO_TEST_ALL === "1" ? many : few;
  const step = told?.[2] ?? Math.ceil(last / count);
  for (let n = told?.[0] ?? Math.ceil(step / 2); n <= Math.min(last, told?.[1] ?? last); n += step) yield n;
}

const told = new Set(process.env.BENTO_TEST_SWEEP_WAYS?.split(","));
const ways: [string, Way, number, number][] = [
  ["sftp", sftp, 1, 40],
  ["git", git, 0, 12],
  ["branch", branch, 0, 12],
];

describe.each(ways.filter(([name]) => told.size === 0 || told.has(name)))("%s: an attempt", (_, way, few, many) => {
  const run = few > 0 ? test : long;

  run(
    `with releases ${way.name}, whose agent is killed anywhere: the next runs bring the machine to its release`,
    async () => {
      await converges(way, await publish(way));
      await publish(way);
      const all = await placesOf(way);
      const swept: number[] = [];
      for (const n of places(all.length, few, many)) {
        const place = all[n - 1] as Place;
        const commit = await publish(way);
        const isCut = await killedAt(place, way);
        await converges(way, commit).catch((error) => {
          throw new Error(`killed at place ${n} of ${all.length}: ${place}`, { cause: error });
        });
        // How often it waits for something differs a little from attempt to attempt.
        if (isCut) swept.push(n);
      }
      console.log(`${way.name}: killed at ${swept.length} of ${all.length} places: ${swept.slice(0, 2)}, …`);
      expect(swept.length).toBeGreaterThan(0);
    },
    LONG,
  );

  run(
    `with releases ${way.name}, during which the power is lost anywhere: it boots, and the next runs bring it to its release`,
    async () => {
      await converges(way, await publish(way));
      await publish(way);
      const { changes: last } = await powerLostAt(Number.POSITIVE_INFINITY, way);
      const swept: number[] = [];
      for (const n of places(last, few, many)) {
        const commit = await publish(way);
        const { isOver } = await powerLostAt(n, way);
        try {
          await boots();
          await converges(way, commit);
        } catch (error) {
          throw new Error(`power lost after change ${n} of ${last}`, { cause: error });
        }
        if (!isOver) swept.push(n);
      }
      console.log(`${way.name}: power lost after ${swept.length} of ${last} changes: ${swept.slice(0, 2)}, …`);
      expect(swept.length).toBeGreaterThan(0);
      kill(running());
    },
    LONG,
  );

  run(
    `with releases ${way.name}, during which the disk gets full anywhere: with room again the next runs bring it to its release`,
    async () => {
      await converges(way, await publish(way));
      const state = machine.path("state");
      await cp(state, `${state}.there`, { recursive: true, verbatimSymlinks: true });
      await succeed("mount", ["-t", "tmpfs", "-o", "size=8m", "bento-test", state]);
      try {
        await cp(`${state}.there`, state, { recursive: true, verbatimSymlinks: true });
        await publish(way);
        const { changes: last } = await fullAt(Number.POSITIVE_INFINITY, way);
        const swept: number[] = [];
        for (const n of places(last, few, many)) {
          const commit = await publish(way);
          const { isOver } = await fullAt(n, way);
          try {
            const [system, boots] = [await machine.running(), await machine.bootDefault()];
            if (system !== boots) expect(await machine.state("last.json")).toMatchObject({ outcome: "failed" });
            await converges(way, commit, /^(inconclusive|failed)$/);
          } catch (error) {
            throw new Error(`the disk full after change ${n} of ${last}`, { cause: error });
          }
          if (!isOver) swept.push(n);
        }
        console.log(`${way.name}: the disk full after ${swept.length} of ${last} changes: ${swept.slice(0, 2)}, …`);
        expect(swept.length).toBeGreaterThan(0);
      } finally {
        await succeed("umount", [state]);
      }
    },
    LONG,
  );
});

/** Going back by hand was cut off: the machine is at the one system or at the other, entirely, and says which. */
async function isAtOneOf(before: number, commit: string): Promise<void> {
  const said: string[] = [];
  for (let run = 0; run < 4; run++) {
    const { status, stderr } = await machine.agent(SETTINGS);
    said.push(`${status}: ${stderr}`);
    if (/^up to date with release|is not tried again$/m.test(stderr)) break;
  }
  const text = said.join("");
  const system = await machine.running();
  // A start brings the system's own into /etc, which here it doesn't.
  const number = readFileSync(`${system}/etc/number`, "utf8");
  expect([String(before), String(releases)], text).toContain(number);
  expect(secret(), text).toBe(number);
  expect([await machine.profile(), await machine.bootDefault()], text).toEqual([system, system]);
  for (const file of ["intent.json", "undo.json"]) expect(await machine.state(file), text).toBeUndefined();
  expect(await readdir(machine.path("state/spool"))).toEqual([]);
  const isBack = number === String(before);
  expect(await outcomesOf(commit), text).toEqual(isBack ? ["success", "rolled-back"] : ["success"]);
  expect(text).toMatch(isBack ? /was undone by hand, and is not tried again\n$/ : /up to date with release \d+\n$/);
  await vi.waitFor(() => expect(running()).toEqual([]), { timeout: 30_000, interval: 50 });
}

describe.runIf(told.size === 0 || told.has("undo"))("undo", () => {
  const undo = ["rollback", "-y"];

  long(
    "going back by hand, during which the power is lost anywhere: it boots, and is at one of the two systems",
    async () => {
      const upgraded = async () => {
        await converges(sftp, await publish(sftp));
        const commit = await publish(sftp);
        await converges(sftp, commit);
        return commit;
      };
      await upgraded();
      const { changes: last } = await powerLostAt(Number.POSITIVE_INFINITY, sftp, undo);
      const swept: number[] = [];
      for (const n of places(last, 0, 15)) {
        const commit = await upgraded();
        const { isOver } = await powerLostAt(n, sftp, undo);
        try {
          await boots();
          await isAtOneOf(releases - 1, commit);
        } catch (error) {
          throw new Error(`power lost after change ${n} of ${last}`, { cause: error });
        }
        if (!isOver) swept.push(n);
      }
      console.log(`going back by hand: power lost after ${swept.length} of ${last} changes: ${swept.slice(0, 2)}, …`);
      expect(swept.length).toBeGreaterThan(0);
    },
    LONG,
  );
});
