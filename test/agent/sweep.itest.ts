import { cp, readFile, rm, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fullAt, killedAt, LONG, type Place, placesOf, powerLostAt, sweep } from "../support/cut-off.ts";
import { Hold } from "../support/hold.ts";
import { long } from "../support/long.ts";
import { ownAgent } from "../support/own-agent.ts";
import { kill, succeed } from "../support/programs.ts";
import { Swept } from "../support/swept.ts";

/**
 * An attempt that is cut off wherever it can be, from its first step to its last; after that the next runs bring the machine to its
 * release, with its secrets, and tell the fleet once. There are three ways to cut it off:
 *
 * killed: the agent alone is, while what it has started goes on.
 *
 * power lost: everything is gone at once, and so is /run, after any change that any program of the attempt has made on disk, Nix's
 * included. Then it boots. What was written and not synced is still there; where it isn't: sweep-unsynced.itest.ts.
 *
 * disk full: that of the agent's state, from such a change on until the attempt is over.
 *
 * By default a few places of each; with --all some more, for each way that releases come. See `sweep` in support/cut-off.ts.
 */
let swept: Swept;
beforeAll(async () => {
  swept = await Swept.make();
});
afterAll(async () => swept?.[Symbol.asyncDispose]());

const told = new Set(process.env.BENTO_TEST_SWEEP_WAYS?.split(","));
const isTold = (name: string) => told.size === 0 || told.has(name);
const ways = [
  ["sftp", [1, 40]],
  ["git", [0, 12]],
  ["branch", [0, 12]],
] as const;

describe.each(ways.filter(([name]) => isTold(name)))("%s: an attempt", (name, count) => {
  const run = count[0] > 0 ? test : long;

  run(
    "whose agent is killed anywhere: the next runs bring the machine to its release",
    async () => {
      const way = swept.ways[name];
      await swept.converges(way, await swept.publish(way));
      await swept.publish(way);
      const places = await placesOf(swept.run(way));
      await sweep(`${way.name}: killed`, places.length, count, async (n) => {
        const commit = await swept.publish(way);
        const isCut = await killedAt(places[n - 1] as Place, swept.run(way));
        await swept.converges(way, commit);
        return isCut;
      });
    },
    LONG,
  );

  run(
    "during which the power is lost anywhere: it boots, and the next runs bring it to its release",
    async () => {
      const way = swept.ways[name];
      await swept.converges(way, await swept.publish(way));
      await swept.publish(way);
      const { changes } = await powerLostAt(Number.POSITIVE_INFINITY, swept.run(way));
      await sweep(`${way.name}: power lost`, changes, count, async (n) => {
        const commit = await swept.publish(way);
        const { isOver } = await powerLostAt(n, swept.run(way));
        await swept.boots();
        await swept.converges(way, commit);
        return !isOver;
      });
      kill(swept.running());
    },
    LONG,
  );

  run(
    "during which the disk gets full anywhere: with room again the next runs bring it to its release",
    async () => {
      const way = swept.ways[name];
      const { machine } = swept;
      await swept.converges(way, await swept.publish(way));
      const state = machine.path("state");
      await cp(state, `${state}.there`, { recursive: true, verbatimSymlinks: true });
      await succeed("mount", ["-t", "tmpfs", "-o", "size=8m", "bento-test", state]);
      try {
        await cp(`${state}.there`, state, { recursive: true, verbatimSymlinks: true });
        await swept.publish(way);
        const { changes } = await fullAt(Number.POSITIVE_INFINITY, swept.run(way));
        await sweep(`${way.name}: disk full`, changes, count, async (n) => {
          const commit = await swept.publish(way);
          const { isOver } = await fullAt(n, swept.run(way));
          const [system, boots] = [await machine.running(), await machine.bootDefault()];
          if (system !== boots) expect(await machine.state("last.json")).toMatchObject({ outcome: "failed" });
          await swept.converges(way, commit, { harmless: /^(inconclusive|failed)$/ });
          return !isOver;
        });
      } finally {
        await succeed("umount", [state]);
        await rm(`${state}.there`, { recursive: true });
      }
    },
    LONG,
  );
});

describe.runIf(isTold("undo"))("undo", () => {
  const undo = ["rollback", "-y"];

  /** Going back by hand was cut off: the machine is at the one system or at the other, entirely, and says which. */
  async function isAtOneOf(before: number, commit: string): Promise<void> {
    const text = await swept.runs(swept.ways.sftp, {}, /^up to date with release|is not tried again$/m);
    await swept.isWhole(text);
    // A start brings the system's own into /etc, which here it doesn't.
    const number = swept.numberOf(await swept.machine.running());
    expect([String(before), String(swept.releases)], text).toContain(number);
    expect(swept.secret(), text).toBe(number);
    const isBack = number === String(before);
    expect(await swept.outcomesOf(commit), text).toEqual(isBack ? ["success", "rolled-back"] : ["success"]);
    expect(text).toMatch(isBack ? /was undone by hand, and is not tried again\n$/ : /up to date with release \d+\n$/);
    await swept.comesToRest();
  }

  long(
    "going back by hand, during which the power is lost anywhere: it boots, and is at one of the two systems",
    async () => {
      const { sftp } = swept.ways;
      const upgraded = async () => {
        await swept.converges(sftp, await swept.publish(sftp));
        const commit = await swept.publish(sftp);
        await swept.converges(sftp, commit);
        return commit;
      };
      await upgraded();
      const { changes } = await powerLostAt(Number.POSITIVE_INFINITY, swept.run(sftp, {}, undo));
      await sweep("going back by hand: power lost", changes, [0, 15], async (n) => {
        const commit = await upgraded();
        const { isOver } = await powerLostAt(n, swept.run(sftp, {}, undo));
        await swept.boots();
        await isAtOneOf(swept.releases - 1, commit);
        return !isOver;
      });
    },
    LONG,
  );
});

describe.runIf(isTold("kinds"))("what is special", () => {
  test("the same system with another secret, which was confirmed and not kept yet when the power was lost", async () => {
    const { sftp } = swept.ways;
    const { machine } = swept;
    await swept.converges(sftp, await swept.publish(sftp));
    const system = swept.releases;
    const commit = await swept.publish(sftp, "", system);
    await using hold = await Hold.make(machine, "check");
    await machine.healthCheck("hold", hold.script);
    const { env } = swept.run(sftp);
    const attempt = machine.startAgent(env);
    await hold.reached();
    kill(swept.running());
    await attempt.done.catch(() => {});
    // What comes next is that the intent says so.
    const intent = await machine.state("intent.json");
    await writeFile(machine.path("state/intent.json"), JSON.stringify({ ...intent, phase: "committing" }));
    await rm(machine.path("checks/hold"));
    await hold.forget();
    await swept.boots([swept.releases - 1]);
    await swept.converges(sftp, commit, { system });
  });

  long(
    "a release that is the same system with another secret, during which the power is lost anywhere",
    async () => {
      const { sftp } = swept.ways;
      await swept.converges(sftp, await swept.publish(sftp));
      const system = swept.releases;
      const other = () => swept.publish(sftp, "", system);
      await other();
      const { changes } = await powerLostAt(Number.POSITIVE_INFINITY, swept.run(sftp));
      await sweep("another secret: power lost", changes, [0, 12], async (n) => {
        const commit = await other();
        const { isOver } = await powerLostAt(n, swept.run(sftp));
        await swept.boots([swept.releases - 1, swept.releases]);
        await swept.converges(sftp, commit, { system });
        return !isOver;
      });
    },
    LONG,
  );

  long(
    "suspending and resuming, during which the power is lost anywhere: upgrades are suspended or aren't, and can be again",
    async () => {
      const { sftp } = swept.ways;
      await swept.converges(sftp, await swept.publish(sftp));
      for (const verb of [["suspend", "--for", "3d"], ["resume"]]) {
        const opposite = verb[0] === "resume" ? ["suspend"] : ["resume"];
        await swept.agent(sftp, {}, opposite);
        const { changes } = await powerLostAt(Number.POSITIVE_INFINITY, swept.run(sftp, {}, verb));
        await sweep(`${verb[0]}: power lost`, changes, [0, 12], async (n) => {
          await swept.agent(sftp, {}, opposite);
          const { isOver } = await powerLostAt(n, swept.run(sftp, {}, verb));
          await swept.boots();
          expect((await swept.agent(sftp)).stderr).toMatch(/^(upgrades are suspended|up to date with release)/);
          expect((await swept.agent(sftp, {}, verb)).status).toBe(0);
          const expected = verb[0] === "resume" ? /^up to date with release/ : /^upgrades are suspended until/;
          expect((await swept.agent(sftp)).stderr).toMatch(expected);
          return !isOver;
        });
        await swept.agent(sftp, {}, ["resume"]);
      }
    },
    LONG,
  );

  long(
    "a release that brings another agent, which is killed or loses its power anywhere: the one that is there goes on",
    async () => {
      const { sftp } = swept.ways;
      await swept.converges(sftp, await swept.publish(sftp));
      await swept.bringAgents();
      await swept.publish(sftp);
      const places = await placesOf(swept.run(sftp));
      await sweep("another agent: killed", places.length, [0, 12], async (n) => {
        const commit = await swept.publish(sftp);
        const isCut = await killedAt(places[n - 1] as Place, swept.run(sftp));
        await swept.converges(sftp, commit);
        return isCut;
      });
      await swept.publish(sftp);
      const { changes } = await powerLostAt(Number.POSITIVE_INFINITY, swept.run(sftp));
      await sweep("another agent: power lost", changes, [0, 12], async (n) => {
        const commit = await swept.publish(sftp);
        const { isOver } = await powerLostAt(n, swept.run(sftp));
        await swept.boots();
        await swept.converges(sftp, commit);
        return !isOver;
      });
    },
    LONG,
  );
});

// The last, since a machine that has run a system with an agent takes none without.
describe.runIf(isTold("own-agent"))("its own agent", () => {
  long(
    "a release that its own agent proves, cut off anywhere from the poll to the report",
    async () => {
      const { sftp } = swept.ways;
      const { machine } = swept;
      // Another one each time, as a release's settings are other ones; it tells that it was asked.
      const asked = machine.path("etc/asked");
      await machine.healthCheck("asked", `echo "$BENTO_KEEP_REPORTS" > ${asked}`);
      const publish = () => {
        const settings = { BENTO_KEEP_REPORTS: String(1000 + swept.releases + 1) };
        return swept.publish(sftp, `environment.systemPackages = [ ${ownAgent(machine, settings)} ];`);
      };
      const converges = async (commit: string) => {
        await swept.converges(sftp, commit);
        expect(await readFile(asked, "utf8")).toBe(`${1000 + swept.releases}\n`);
      };
      await converges(await publish());
      const first = await publish();
      const places = await placesOf(swept.run(sftp));
      await converges(first);
      await sweep("its own agent: killed", places.length, [0, 20], async (n) => {
        const commit = await publish();
        const isCut = await killedAt(places[n - 1] as Place, swept.run(sftp));
        await converges(commit);
        return isCut;
      });
      const second = await publish();
      const { changes } = await powerLostAt(Number.POSITIVE_INFINITY, swept.run(sftp));
      await converges(second);
      await sweep("its own agent: power lost", changes, [0, 20], async (n) => {
        const commit = await publish();
        const { isOver } = await powerLostAt(n, swept.run(sftp));
        await swept.boots();
        await converges(commit);
        return !isOver;
      });
      await rm(machine.path("checks/asked"));
      await swept.converges(sftp, await publish());
    },
    LONG,
  );
});
