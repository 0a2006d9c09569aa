import { existsSync, readFileSync } from "node:fs";
import { readlink, rm, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect } from "vitest";
import { killedAt, LONG, type Place, placesOf, powerLostAt, sweep } from "../support/cut-off.ts";
import { long } from "../support/long.ts";
import { kill } from "../support/programs.ts";
import { Swept } from "../support/swept.ts";

/**
 * Releases that come with a restart, cut off before it and after it: a new kernel, which is activated and then brought in by a
 * restart; and a system that can't be activated before one. The machine comes to run and boot what was released, has been
 * restarted into it, and the fleet was told once.
 */
let swept: Swept;
let settings: Record<string, string>;
beforeAll(async () => {
  swept = await Swept.make();
  const { machine } = swept;
  const command = machine.path("etc/restart");
  await writeFile(command, `#!/bin/sh\necho "$1" >> ${machine.path("etc/restarts")}\n`, { mode: 0o755 });
  settings = { BENTO_REBOOT: "now", BENTO_REBOOT_COMMAND: command };
});
afterAll(async () => {
  kill(swept?.running() ?? []);
  await swept?.[Symbol.asyncDispose]();
});

const kinds = {
  kernel: (n: number) => `boot.kernelVersion = "6.19.${n}";`,
  staged: (n: number) => `system.switch.inhibitors = { dbus = "dbus-${n}"; };`,
};

const isRestarting = () => existsSync(swept.machine.path("etc/restarts"));

/** The restart that the agent has asked for, and what the machine does when it starts. */
async function restart(): Promise<void> {
  kill(swept.running());
  await swept.comesToRest();
  await rm(swept.machine.path("etc/restarts"), { force: true });
  await swept.boots();
}

/** Runs and restarts, until there is nothing to do. */
async function converges(commit: string): Promise<void> {
  const { sftp } = swept.ways;
  const { machine } = swept;
  const said: string[] = [];
  for (let n = 0; n < 7; n++) {
    const { status, stderr } = await swept.agent(sftp, settings);
    said.push(`${status}: ${stderr}`);
    if (isRestarting()) await restart();
    else if (/^up to date with release \d+\n$/.test(stderr)) break;
  }
  const text = said.join("");
  expect(said.at(-1), text).toMatch(/^0: up to date/);
  await swept.isWhole(text);
  const system = await machine.running();
  expect(swept.numberOf(system), text).toBe(String(swept.releases));
  expect(readFileSync(machine.path("run/booted-system/etc/number"), "utf8"), text).toBe(String(swept.releases));
  expect(await machine.state("trial.json"), text).toBeUndefined();
  expect(await machine.state("last-resort.json"), text).toBeUndefined();
  expect(await machine.state("applied.json"), text).toMatchObject({ commit, toplevel: system });
  const outcomes = (await swept.outcomesOf(commit)).filter((outcome) => outcome !== "inconclusive");
  expect(outcomes, text).toEqual(["success"]);
  await swept.comesToRest();
}

/** The release up to the restart: the next run is the first one after it. */
async function restarted(kind: keyof typeof kinds): Promise<string> {
  const commit = await swept.publish(swept.ways.sftp, kinds[kind](swept.releases + 1));
  const { status, stderr } = await swept.agent(swept.ways.sftp, settings);
  expect([status, isRestarting()], stderr).toEqual([0, true]);
  await restart();
  return commit;
}

/** A release that runs and was started with, from which the next one differs by what its kind is about. */
async function settled(kind: keyof typeof kinds): Promise<void> {
  const commit = await swept.publish(swept.ways.sftp, kinds[kind](swept.releases + 1));
  const { status, stderr } = await swept.agent(swept.ways.sftp, settings);
  expect(status, stderr).toBe(0);
  await restart();
  await converges(commit);
}

describe.each(["kernel", "staged"] as const)("%s", (kind) => {
  const count = [1, 12] as const;
  const toRun = () => swept.run(swept.ways.sftp, settings);
  const publish = () => swept.publish(swept.ways.sftp, kinds[kind](swept.releases + 1));

  long(
    "before the restart the agent is killed, anywhere",
    async () => {
      await settled(kind);
      const first = await publish();
      const places = await placesOf(toRun());
      await converges(first);
      await sweep(`${kind}, before the restart: killed`, places.length, count, async (n) => {
        const commit = await publish();
        const isCut = await killedAt(places[n - 1] as Place, toRun());
        await converges(commit);
        return isCut;
      });
    },
    LONG,
  );

  long(
    "before the restart the power is lost, anywhere",
    async () => {
      await settled(kind);
      const first = await publish();
      const { changes } = await powerLostAt(Number.POSITIVE_INFINITY, toRun());
      await restart();
      await converges(first);
      await sweep(`${kind}, before the restart: power lost`, changes, count, async (n) => {
        const commit = await publish();
        const { isOver } = await powerLostAt(n, toRun());
        await restart();
        await converges(commit);
        return !isOver;
      });
    },
    LONG,
  );

  long(
    "after the restart the agent is killed, anywhere",
    async () => {
      await settled(kind);
      const first = await restarted(kind);
      const places = await placesOf(toRun());
      await converges(first);
      await sweep(`${kind}, after the restart: killed`, places.length, count, async (n) => {
        const commit = await restarted(kind);
        const isCut = await killedAt(places[n - 1] as Place, toRun());
        await converges(commit);
        return isCut;
      });
    },
    LONG,
  );

  long(
    "after the restart the power is lost, anywhere",
    async () => {
      await settled(kind);
      const first = await restarted(kind);
      const { changes } = await powerLostAt(Number.POSITIVE_INFINITY, toRun());
      await restart();
      await converges(first);
      await sweep(`${kind}, after the restart: power lost`, changes, count, async (n) => {
        const commit = await restarted(kind);
        const { isOver } = await powerLostAt(n, toRun());
        await restart();
        await converges(commit);
        return !isOver;
      });
    },
    LONG,
  );
});

describe("a kernel with which the machine doesn't do its job", () => {
  /** The release, up to the restart: the next run finds out. */
  async function restartedIntoBad(): Promise<string> {
    const commit = await swept.publish(
      swept.ways.sftp,
      `${kinds.kernel(swept.releases + 1)} environment.etc."bad-kernel" = "1";`,
    );
    const { status, stderr } = await swept.agent(swept.ways.sftp, settings);
    expect([status, isRestarting()], stderr).toEqual([0, true]);
    await restart();
    return commit;
  }

  /** Runs and restarts, until the machine runs, boots and was started with what it had before; the fleet was told once. */
  async function comesBack(commit: string, system: string): Promise<void> {
    const { machine } = swept;
    const said: string[] = [];
    for (let n = 0; n < 7; n++) {
      const { status, stderr } = await swept.agent(swept.ways.sftp, settings);
      said.push(`${status}: ${stderr}`);
      if (isRestarting()) await restart();
      else if (/ cut this machine off before, and is not tried again\n$/.test(stderr)) break;
    }
    const text = said.join("");
    expect(said.at(-1), text).toMatch(/^0: release \d+ cut this machine off before, and is not tried again\n$/);
    await swept.isWhole(text);
    const now = [await machine.running(), await readlink(machine.path("run/booted-system"))];
    expect(now, text).toEqual([system, system]);
    for (const file of ["trial.json", "last-resort.json", "ending.json"]) {
      expect(await machine.state(file), text).toBeUndefined();
    }
    const outcomes = (await swept.outcomesOf(commit)).filter((outcome) => outcome !== "inconclusive");
    expect(outcomes, text).toEqual(["rolled-back"]);
    await swept.comesToRest();
  }

  long(
    "the agent that finds out is killed, or loses its power, anywhere: the machine is restarted into what it had before",
    async () => {
      const toRun = () => swept.run(swept.ways.sftp, settings);
      await swept.machine.healthCheck("kernel", `! [ -e ${swept.machine.path("run/booted-system/etc/bad-kernel")} ]`);
      settings = { ...settings, BENTO_CONFIRM_TIMEOUT: "3", BENTO_RECOVERY_TIMEOUT: "10", BENTO_LAST_RESORT: "10" };
      await settled("kernel");
      const system = await swept.machine.running();
      const first = await restartedIntoBad();
      const places = await placesOf(toRun(), [1]);
      await comesBack(first, system);
      await sweep("a bad kernel: killed", places.length, [0, 6], async (n) => {
        const commit = await restartedIntoBad();
        const isCut = await killedAt(places[n - 1] as Place, toRun());
        await comesBack(commit, system);
        return isCut;
      });
      const second = await restartedIntoBad();
      const { changes } = await powerLostAt(Number.POSITIVE_INFINITY, toRun());
      await restart();
      await comesBack(second, system);
      await sweep("a bad kernel: power lost", changes, [0, 6], async (n) => {
        const commit = await restartedIntoBad();
        const { isOver } = await powerLostAt(n, toRun());
        await restart();
        await comesBack(commit, system);
        return !isOver;
      });
    },
    LONG,
  );
});
