import { existsSync, readFileSync } from "node:fs";
import { readdir, rm } from "node:fs/promises";
import path from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { killedAt, LONG, type Place, placesOf, powerLostAt, type Run, sweep } from "../support/cut-off.ts";
import { makeKey } from "../support/keys.ts";
import { long } from "../support/long.ts";
import type { Machine } from "../support/machine.ts";
import { kill, processesWith } from "../support/programs.ts";
import { channelHost, sealWith } from "../support/release.ts";
import { World } from "../support/world.ts";

/**
 * Attempts that bring no new system, cut off as those in sweep.itest.ts are: the machine runs and boots what it did, the fleet is
 * told of each release once, and what must not be forgotten isn't.
 */
const HOST = "stays";
let world: World;
let machine: Machine;
let run: Run;
let releases = 0;

const SETTINGS = {
  BENTO_BACKOFF: "3600",
  BENTO_ACTIVATION_TIMEOUT: "20",
  BENTO_GUARD_SLACK: "0",
  BENTO_CONFIRM_TIMEOUT: "5",
};

beforeAll(async () => {
  world = await World.make({ hosts: [HOST] });
  machine = await world.machine(HOST);
  run = { machine, env: SETTINGS };
});
afterEach(() => kill(processes()));
afterAll(async () => world?.[Symbol.asyncDispose]());

/** A release of a system that is told by `definitions`. Each has another digest. */
async function publish(definitions: string): Promise<void> {
  releases += 1;
  await world.publish(HOST, channelHost(HOST, `# ${releases}\n${definitions}`), { evaluate: false });
}

const GOOD = 'environment.etc."good" = "1";';
const bad = (serial: number) => `environment.etc."bad" = "${serial}";`;

interface Ending {
  /** Brings the machine to where the attempt can be. */
  before?: () => Promise<void>;
  publish: () => Promise<void>;
  /** What the machine says when it has nothing to do any more. */
  rest: RegExp;
  outcome: string;
}

const endings: Record<string, Ending> = {
  "the system is the same": {
    publish: () => publish(GOOD),
    rest: /^up to date with release \d+\n$/,
    outcome: "unchanged",
  },
  "it does not build": {
    publish: () => publish("system.nothing = nothing;"),
    rest: /^release \d+ failed before, and is tried again in \d+ s\n$/,
    outcome: "failed",
  },
  "its signature is not the fleet's": {
    async publish() {
      releases += 1;
      const key = await makeKey(path.join(world.dir, `stranger-${releases}`));
      const release = await world.release(HOST, channelHost(HOST, `# ${releases}`), { evaluate: false });
      await world.put(HOST, { ...release, envelope: await sealWith(release.manifest, key) });
    },
    rest: /^refused as before: /,
    outcome: "refused",
  },
  "it is what went wrong before": {
    async before() {
      await publish(bad(0));
      expect((await machine.agent(SETTINGS)).stderr).toMatch(/\nrolled-back: /);
    },
    publish: () => publish(bad(0)),
    rest: / cut this machine off before, and is not tried again\n$/,
    outcome: "refused",
  },
  "it goes wrong": {
    publish: () => publish(bad(releases + 1)),
    rest: / cut this machine off before, and is not tried again\n$/,
    outcome: "rolled-back",
  },
};

const processes = () => processesWith("MACHINE", machine.dir).filter((pid) => existsSync(`/proc/${pid}/exe`));

/** The names of the reports that are on the server, where old ones are removed in time. */
async function reports(): Promise<string[]> {
  const names = await readdir(path.join(world.server.chroot(HOST), "reports"));
  return names.filter((name) => /^\d+-\d+\.json$/.test(name));
}

describe.each(Object.entries(endings))("%s: an attempt", (name, ending) => {
  beforeAll(async () => {
    await machine.healthCheck("good", `! [ -e ${machine.path("run/current-system/etc/bad")} ]`);
    await publish(GOOD);
    expect((await machine.agent(SETTINGS)).status).toBe(0);
    await ending.before?.();
  });
  beforeEach(() => rm(machine.path("state/retry.json"), { force: true }));

  /** Its runs, until one finds nothing to do: it is as it was, and of the release the fleet was told once. */
  async function converges(before: readonly string[], system: string): Promise<void> {
    const said: string[] = [];
    for (let n = 0; n < 6; n++) {
      const { status, stderr } = await machine.agent(SETTINGS);
      said.push(`${status}: ${stderr}`);
      if (ending.rest.test(stderr)) break;
      // What is inconclusive is tried again.
      if ((await machine.state("last.json"))?.outcome === "inconclusive")
        await rm(machine.path("state/retry.json"), { force: true });
    }
    const text = said.join("");
    expect(said.at(-1)?.slice(3), text).toMatch(ending.rest);
    const systems = [await machine.running(), await machine.profile(), await machine.bootDefault()];
    expect(systems, text).toEqual([system, system, system]);
    for (const file of ["intent.json", "ending.json"]) expect(await machine.state(file), text).toBeUndefined();
    expect(await readdir(machine.path("state/spool")), text).toEqual([]);
    const dir = path.join(world.server.chroot(HOST), "reports");
    const told = (await reports()).filter((name) => !before.includes(name));
    const outcomes = told.map((name) => JSON.parse(readFileSync(path.join(dir, name), "utf8")).outcome);
    expect(
      outcomes.filter((outcome) => outcome !== "inconclusive"),
      text,
    ).toEqual([ending.outcome]);
    expect(outcomes.length, text).toBeLessThanOrEqual(2);
    const { stdout } = await machine.agent(SETTINGS, ["history", "--json"]);
    const [last] = (JSON.parse(stdout) as { attempts: { outcome: string }[] }).attempts;
    expect(last?.outcome, text).toBe(ending.outcome);
    await vi.waitFor(() => expect(processes()).toEqual([]), { timeout: 30_000, interval: 50 });
  }

  const isShort = ending.outcome === "refused" && !ending.before;
  (isShort ? test : long)(
    "whose agent is killed anywhere is told of once",
    async () => {
      const first = await reports();
      const system = await machine.running();
      await ending.publish();
      const places = await placesOf(run, [0, 1]);
      await converges(first, system);
      await sweep(`${name}: killed`, places.length, [isShort ? 4 : 0, isShort ? 12 : 6], async (n) => {
        await rm(machine.path("state/retry.json"), { force: true });
        const before = await reports();
        await ending.publish();
        const isCut = await killedAt(places[n - 1] as Place, run);
        await converges(before, system);
        return isCut;
      });
    },
    LONG,
  );

  // Of a build that failed a restart may have taken the reason away, so that it is tried again.
  if (ending.outcome === "failed") return;
  long(
    "during which the power is lost anywhere is told of once",
    async () => {
      const first = await reports();
      const system = await machine.running();
      await ending.publish();
      const { changes } = await powerLostAt(Number.POSITIVE_INFINITY, run);
      await converges(first, system);
      await sweep(`${name}: power lost`, changes, [0, 6], async (n) => {
        const before = await reports();
        await ending.publish();
        const { isOver } = await powerLostAt(n, run);
        await machine.restart();
        await converges(before, system);
        return !isOver;
      });
    },
    LONG,
  );
});
