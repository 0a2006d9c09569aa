import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Upload } from "../../src/publish/publisher.ts";
import { long } from "../support/long.ts";
import { kill } from "../support/programs.ts";
import { World } from "../support/world.ts";
import { type DeployerOptions, startDeployer } from "./deployers.ts";
import { Deploys, expectTidy, timeToLivePasses } from "./fleet-state.ts";

// Two deploys of one fleet, each a process of its own.

let world: World;
let deploys: Deploys;
const HOSTS = ["first", "second"];

beforeAll(async () => {
  world = await World.make({ hosts: HOSTS });
  deploys = new Deploys(world);
});
afterAll(async () => world?.[Symbol.asyncDispose]());

const next = () => deploys.next({ first: 2_000, second: 3_000 });
const start = (uploads: readonly Upload[], options: DeployerOptions) => startDeployer(world, uploads, options);
const given = (host: string) => readFile(path.join(world.server.chroot(host), "releases/current"), "utf8");
const lock = () => readFile(path.join(world.server.root, ".bento/lock"), "utf8");

async function expectPublished(uploads: readonly Upload[]): Promise<void> {
  for (const { host, envelope } of uploads) {
    expect(await given(host)).toBe(envelope);
    await deploys.given(host);
  }
}

test("the second of two gives up, and says whose lock it is", async () => {
  const uploads = await next();
  await using ada = await start(uploads, { owner: "ada@laptop", pause: true });
  expect(await ada.line()).toBe("locked");
  await using grace = await start(uploads, { owner: "grace@desk" });
  const { error, exitStatus } = await grace.result();
  expect(error).toMatch(
    /^another deploy holds the fleet's lock: ada@laptop \(process \d+ on \S+\), last seen \d+ s ago$/,
  );
  expect(exitStatus).toBe(3);
  ada.goOn();
  expect(await ada.result()).toEqual({ first: null, second: null });
  await expectPublished(uploads);
  await expectTidy(world, HOSTS);
});

test("one that waits goes on when the other has ended, and sees what that has published", async () => {
  const uploads = await next();
  await using ada = await start(uploads, { owner: "ada", pause: true });
  expect(await ada.line()).toBe("locked");
  await using grace = await start(uploads, { owner: "grace", wait: 60_000 });
  expect(await grace.line()).toBe("waiting for ada");
  ada.goOn();
  expect(await ada.result()).toEqual({ first: null, second: null });
  await ada.status();
  expect(await grace.line()).toBe("locked");
  // It has read the pointers when it had the lock, not when it asked for it: there is nothing left to publish.
  expect(await grace.result()).toEqual({});
  await expectPublished(uploads);
  await expectTidy(world, HOSTS);
});

long("one that has waited for long enough gives up", async () => {
  const uploads = await next();
  await using ada = await start(uploads, { owner: "ada", pause: true });
  expect(await ada.line()).toBe("locked");
  await using grace = await start(uploads, { owner: "grace", wait: 1_000 });
  const { error, exitStatus } = await grace.result();
  expect(error).toMatch(/^another deploy holds the fleet's lock: ada .*; waited for 1 s$/);
  expect(exitStatus).toBe(3);
  expect(JSON.parse(await lock())).toMatchObject({ owner: "ada" });
  expect(await readdir(path.join(world.server.root, ".bento"))).toEqual(["lock"]);
  ada.goOn();
  await ada.status();
});

test("a lock of one that was killed is taken over when its time to live is over, and not before", async () => {
  const uploads = await next();
  await using dead = await start(uploads, { owner: "dead", pause: true });
  expect(await dead.line()).toBe("locked");
  kill([dead.pid]);
  await using early = await start(uploads, { owner: "early" });
  expect((await early.result()).error).toContain("another deploy holds the fleet's lock: dead");
  await timeToLivePasses(world);
  await using late = await start(uploads, { owner: "late" });
  expect(await late.line()).toBe("locked");
  expect(await late.result()).toEqual({ first: null, second: null });
  await late.status();
  await expectPublished(uploads);
  await expectTidy(world, HOSTS);
});

test("one that waits takes over as well, once it is time", async () => {
  const uploads = await next();
  await using dead = await start(uploads, { owner: "dead", pause: true });
  expect(await dead.line()).toBe("locked");
  kill([dead.pid]);
  await using late = await start(uploads, { owner: "late", wait: 600_000 });
  expect(await late.line()).toBe("waiting for dead");
  await timeToLivePasses(world);
  expect(await late.line()).toBe("locked");
  expect(await late.result()).toEqual({ first: null, second: null });
  await late.status();
  await expectPublished(uploads);
  await expectTidy(world, HOSTS);
});

test("a lock is renewed for as long as its owner lives", async () => {
  const uploads = await next();
  await using ada = await start(uploads, { owner: "ada", pause: true, lockTimeToLive: 1_000 });
  expect(await ada.line()).toBe("locked");
  const content = await lock();
  await timeToLivePasses(world);
  const file = path.join(world.server.root, ".bento/lock");
  while (Date.now() - (await stat(file)).mtimeMs > 300_000) await new Promise((resolve) => setTimeout(resolve, 20));
  await using grace = await start(uploads, { owner: "grace" });
  expect((await grace.result()).error).toContain("another deploy holds the fleet's lock: ada");
  expect(await lock()).toBe(content);
  ada.goOn();
  expect(await ada.result()).toEqual({ first: null, second: null });
  await expectPublished(uploads);
});

test("one that was stopped for longer than its lock lives doesn't publish, nor touch the other's lock", async () => {
  const old = await next();
  await using stopped = await start(old, { owner: "stopped", pause: true });
  expect(await stopped.line()).toBe("locked");
  kill([stopped.pid], "SIGSTOP");
  await timeToLivePasses(world);
  const uploads = await next();
  await using grace = await start(uploads, { owner: "grace", pause: true });
  expect(await grace.line()).toBe("locked");
  const content = await lock();
  kill([stopped.pid], "SIGCONT");
  stopped.goOn();
  expect(await stopped.result()).toEqual({
    error: "another deploy has taken the fleet's lock over; nothing more was published",
    exitStatus: 3,
  });
  expect(await lock()).toBe(content);
  grace.goOn();
  expect(await grace.result()).toEqual({ first: null, second: null });
  await expectPublished(uploads);
  await expectTidy(world, HOSTS);
});

test("one that was stopped between its last look at the lock and the pointers doesn't publish either", async () => {
  const old = await next();
  // Its renames: two archives, then two pointers.
  const signal = { name: "SIGSTOP", at: 3, when: "before", request: "replace" } as const;
  await using stopped = await start(old, { owner: "stopped", signal });
  expect(await stopped.line()).toBe("locked");
  expect(await stopped.line()).toBe("stopped");
  await timeToLivePasses(world);
  const uploads = await next();
  await using grace = await start(uploads, { owner: "grace" });
  expect(await grace.line()).toBe("locked");
  expect(await grace.result()).toEqual({ first: null, second: null });
  await grace.status();
  kill([stopped.pid], "SIGCONT");
  expect(await stopped.result()).toEqual({
    error: "another deploy has taken the fleet's lock over; nothing more was published",
    exitStatus: 3,
  });
  await expectPublished(uploads);
  await expectTidy(world, HOSTS);
});

long("whoever takes over and dies before it has disarmed the one before leaves that to the next", async () => {
  const old = await next();
  const signal = { name: "SIGSTOP", at: 3, when: "before", request: "replace" } as const;
  await using stopped = await start(old, { owner: "stopped", signal });
  expect(await stopped.line()).toBe("locked");
  expect(await stopped.line()).toBe("stopped");
  const uploads = await next();
  // Its first rename is that for the lock, which fails; the second moves the stale one aside.
  const fatal = { name: "SIGKILL", at: 2, when: "after", request: "rename" } as const;
  await timeToLivePasses(world);
  await using short = await start(uploads, { owner: "short-lived", signal: fatal });
  expect(await short.status()).toBe(137);
  await timeToLivePasses(world);
  await using grace = await start(uploads, { owner: "grace" });
  expect(await grace.line()).toBe("locked");
  expect(await grace.result()).toEqual({ first: null, second: null });
  await grace.status();
  kill([stopped.pid], "SIGCONT");
  expect(await stopped.result()).toMatchObject({ exitStatus: 3 });
  await expectPublished(uploads);
  await expectTidy(world, HOSTS);
});

test("a lock that can't be read is somebody's all the same", async () => {
  const uploads = await next();
  await writeFile(path.join(world.server.root, ".bento/lock"), "");
  await using grace = await start(uploads, { owner: "grace" });
  expect((await grace.result()).error).toContain("another deploy holds the fleet's lock: an owner that can't be read");
});
