import { readFile, rm } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Upload } from "../../src/publish/publisher.ts";
import { type Direction, Link } from "../support/link.ts";
import { exec, start } from "../support/programs.ts";
import { World } from "../support/world.ts";
import type { Deployment } from "./deployer.ts";
import { Deploys, expectTidy, timeToLivePasses } from "./fleet-state.ts";

// A deploy that is cut off anywhere, on either side. Whatever it was, each host is given its old release or its new one, whole,
// and the next deploy completes the work and leaves nothing behind. With BENTO_TEST_ALL=1 (scripts/test --all) everywhere,
// without at a few places.

const ALL = process.env.BENTO_TEST_ALL === "1";
/** `shared` gets the archive of `large`, and `again` the one that it has. `large` takes more than one packet. */
const SIZES = { small: 3_000, large: 300_000, shared: 300_000, again: null };
const HOSTS = Object.keys(SIZES);
const DEPLOYER = path.join(import.meta.dirname, "deployer.ts");

let world: World;
let deploys: Deploys;
/** What hosts are given before the deploy that is cut off. */
let before: readonly Upload[];

beforeAll(async () => {
  world = await World.make({ hosts: HOSTS });
  deploys = new Deploys(world);
  before = await deploys.next({ ...SIZES, again: 1_000 });
  await deployed(before);
  // Until there is as much history as there ever is, so that one deploy is like the next.
  for (let more = 0; more < 5; more++) {
    before = await deploys.next(SIZES);
    await deployed(before);
  }
});
afterAll(async () => world?.[Symbol.asyncDispose]());

/** A deploy from start to end, which leaves alone what is as it should be. */
async function deployed(uploads: readonly Upload[], port = world.server.port): Promise<void> {
  await using publisher = await world.connect(world.publisherKey, { port }, { attempts: 0, backoff: 1 });
  const [, current] = await Promise.all([publisher.lock("a test"), publisher.readCurrent(HOSTS)]);
  const needed = uploads.filter(({ host, envelope }) => {
    const state = current.get(host);
    return state?.state !== "present" || state.envelope !== envelope;
  });
  const failures = await publisher.publish(needed);
  expect([...failures.values()].filter((failure) => failure !== null)).toEqual([]);
}

interface Tally {
  cases: number;
  /** In which the deploy came to its end all the same. */
  ended: number;
  /** Hosts that had the old and the new release afterwards. */
  old: number;
  new: number;
}

/** Cuts deploys off at each of `places`, and looks at what is left. `cutOff` gives whether the deploy came to its end. */
async function sweep<T>(
  what: string,
  places: readonly T[],
  cutOff: (uploads: readonly Upload[], place: T) => Promise<boolean>,
): Promise<Tally> {
  const tally: Tally = { cases: 0, ended: 0, old: 0, new: 0 };
  for (const place of places) {
    const uploads = await deploys.next(SIZES);
    tally.cases += 1;
    try {
      if (await cutOff(uploads, place)) tally.ended += 1;
      // What the server was asked before it lost sight of its client, it still does; a lock lives longer than that takes.
      await world.server.sessionsEnd();
      for (const [index, { host, envelope }] of uploads.entries()) {
        const given = await readFile(path.join(world.server.chroot(host), "releases/current"), "utf8");
        expect([before[index]?.envelope, envelope]).toContain(given);
        tally[given === envelope ? "new" : "old"] += 1;
        await deploys.given(host);
      }
      await timeToLivePasses(world);
      await deployed(uploads);
      for (const { host, envelope } of uploads) {
        expect(await readFile(path.join(world.server.chroot(host), "releases/current"), "utf8")).toBe(envelope);
        await deploys.given(host);
      }
      await expectTidy(world, HOSTS);
    } catch (error) {
      throw new Error(`${what}, cut off at ${JSON.stringify(place)}`, { cause: error });
    }
    before = uploads;
  }
  console.log(
    `${what}: cut off at ${tally.cases} places, ${tally.ended} of them too late; hosts left with the old release ${tally.old}, ` +
      `with the new one ${tally.new}, torn 0; completed by the next deploy ${tally.cases}`,
  );
  return tally;
}

/** `count` of the numbers from `from` to `to`, from one end to the other; all of them when everything is to be tried. */
function range(from: number, to: number, count: number, step = 1): number[] {
  const all = Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, index) => from + index * step);
  if (ALL || all.length <= count) return all;
  return Array.from({ length: count }, (_, index) => all[Math.round((index * (all.length - 1)) / (count - 1))] ?? from);
}

/** Places in a connection of `total` bytes: at its beginning and its end, where most is said, closer to each other. */
function bytesOf(total: number): number[] {
  const edge = Math.min(10_000, Math.floor(total / 3));
  return [...range(0, edge, 2, 100), ...range(edge, total - edge, 2, 6_000), ...range(total - edge, total, 3, 100)];
}

async function deployer(uploads: readonly Upload[], more: Partial<Deployment>) {
  const { serverSettings: server, publisherKey } = world;
  const deployment: Deployment = { server, key: publisherKey.file, owner: "a child", uploads, ...more };
  return exec(process.execPath, [DEPLOYER, JSON.stringify(deployment)]);
}

test(
  "killed before and after any request that it makes",
  async () => {
    // How many there are: a signal that nobody minds, at a request that never comes.
    const uploads = await deploys.next(SIZES);
    const counted = await deployer(uploads, { signal: { name: "SIGKILL", at: 1_000_000, when: "before" } });
    expect(counted.status, counted.stdout + counted.stderr).toBe(0);
    const count = Number(/requests (\d+)/.exec(counted.stdout)?.[1]);
    expect(count).toBeGreaterThan(60);
    before = uploads;

    const places = range(1, count, 3).flatMap((at) => [
      { at, when: "before" as const },
      { at, when: "after" as const },
    ]);
    const tally = await sweep("client killed", places, async (next, place) => {
      const { status } = await deployer(next, { signal: { name: "SIGKILL", ...place } });
      return status === 0;
    });
    // It was cut off in the middle as well as at both ends.
    expect(tally.ended).toBe(0);
    expect(tally.new).toBeGreaterThan(0);
    expect(tally.old).toBeGreaterThan(0);
  },
  ALL ? 3_600_000 : 300_000,
);

/** A call of the server's process, and the how manieth of them. */
interface Call {
  name: string;
  when: number;
}

/** Publishes while the server's process is watched, or killed as it makes that call. */
async function watched(uploads: readonly Upload[], fatal?: Call): Promise<{ ended: boolean; calls: Call[] }> {
  const trace = path.join(world.dir, "trace");
  await rm(trace, { force: true });
  await using publisher = await world.connect(world.publisherKey, {}, { attempts: 0 });
  const fault = fatal === undefined ? [] : ["-e", `inject=${fatal.name}:signal=KILL:when=${fatal.when}`];
  const tracer = start("strace", [
    "-o",
    trace,
    "-e",
    "trace=!ppoll",
    ...fault,
    "-p",
    String(world.server.sessions().at(-1)),
  ]);
  await new Promise<void>((resolve) => {
    tracer.child.stderr?.on("data", (data: Buffer) => data.includes("attached") && resolve());
  });
  let ended = true;
  try {
    await Promise.all([publisher.lock("a test"), publisher.readCurrent(HOSTS)]);
    await publisher.publish(uploads);
    await publisher[Symbol.asyncDispose]();
  } catch {
    ended = false;
  }
  await publisher[Symbol.asyncDispose]();
  await tracer.done;
  const counts = new Map<string, number>();
  const calls: Call[] = [];
  for (const line of (await readFile(trace, "utf8")).split("\n")) {
    const name = /^(\w+)\(/.exec(line)?.[1];
    if (name === undefined || /^exit/.test(name)) continue;
    const when = (counts.get(name) ?? 0) + 1;
    counts.set(name, when);
    calls.push({ name, when });
  }
  return { ended, calls };
}

test(
  "the server's sftp process killed at any call that it makes",
  async () => {
    const uploads = await deploys.next(SIZES);
    const { ended, calls } = await watched(uploads);
    expect(ended).toBe(true);
    before = uploads;
    const places = range(0, calls.length - 1, 4).map((index) => calls[index] ?? { name: "read", when: 1 });
    const tally = await sweep(
      "server's process killed",
      places,
      async (next, call) => (await watched(next, call)).ended,
    );
    expect(tally.new).toBeGreaterThan(0);
    expect(tally.old).toBeGreaterThan(0);
  },
  ALL ? 3_600_000 : 300_000,
);

test.each<Direction>(["up", "down"])(
  "the connection cut at any byte: %s",
  async (direction) => {
    const uploads = await deploys.next(SIZES);
    await using whole = await Link.to(world.server.port);
    await deployed(uploads, whole.port);
    before = uploads;
    const total = whole.passed[direction];
    const tally = await sweep(`connection cut, ${direction}`, bytesOf(total + 3_000), async (next, bytes) => {
      await using link = await Link.to(world.server.port, { cut: { direction, bytes } });
      try {
        await deployed(next, link.port);
        return true;
      } catch (error) {
        expect(error).toMatchObject({ exitStatus: 3, message: expect.stringMatching(/was lost|^no sftp connection/) });
        return false;
      }
    });
    expect(tally.new).toBeGreaterThan(0);
    expect(tally.old).toBeGreaterThan(0);
  },
  ALL ? 3_600_000 : 300_000,
);
