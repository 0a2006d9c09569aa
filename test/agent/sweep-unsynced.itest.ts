import { mkdir, readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { LONG, powerLostIn, sweep } from "../support/cut-off.ts";
import { long } from "../support/long.ts";
import { LosingDisk, type Loss } from "../support/losing-disk.ts";
import { kill } from "../support/programs.ts";
import { Swept } from "../support/swept.ts";

/**
 * The power is lost at any change that an attempt makes, and with it what was not synced by then: of the agent's state, of the
 * system profile, and of the boot loader's place, each of which has a disk of its own. It boots, and what the
 * fleet was told of is what boots; and the next runs bring it to its release.
 */
const DIRS = ["state", "profiles", "boot"];
/** Where the boot loader is itself, where that is elsewhere. */
const ESP = "esp";
let swept: Swept;
const disks: LosingDisk[] = [];
beforeAll(async () => {
  swept = await Swept.make();
  const { machine, world } = swept;
  // The file system's journal may bring one file to the disk with another, but not with one of another file system.
  await mkdir(machine.path(ESP));
  for (const dir of [...DIRS, ESP]) disks.push(await LosingDisk.make(world.dir, machine.path(dir)));
});
afterAll(async () => {
  kill(swept?.running() ?? []);
  for (const disk of disks) await disk[Symbol.asyncDispose]();
  await swept?.[Symbol.asyncDispose]();
});

test("an attempt whose end was reported, after which the power is lost: what it has brought is what boots", async () => {
  const { sftp } = swept.ways;
  await swept.converges(sftp, await swept.publish(sftp));
  const esp = swept.machine.path(ESP);
  const commit = await swept.publish(sftp, `system.bootScript = ''echo new > ${esp}/loader'';`);
  for (const disk of disks) await disk.sync();
  expect((await swept.agent(sftp, { BENTO_BOOT_LOADER: esp })).status).toBe(0);
  await swept.comesToRest();
  for (const disk of disks) await disk.lose("unsynced");
  await swept.boots();
  expect(swept.numberOf(await swept.machine.running())).toBe(String(swept.releases));
  expect(await readFile(`${esp}/loader`, "utf8")).toBe("new\n");
  await swept.converges(sftp, commit);
});

const told = new Set(process.env.BENTO_TEST_SWEEP_WAYS?.split(","));
const ways = [
  ["sftp", "unsynced", [1, 20]],
  ["sftp", "contents", [0, 20]],
  ["git", "unsynced", [0, 10]],
  ["git", "contents", [0, 10]],
  ["branch", "unsynced", [0, 10]],
  ["branch", "contents", [0, 10]],
] as const satisfies [string, Loss, number[]][];

describe.each(ways.filter(([name]) => told.size === 0 || told.has(name)))("%s, %s", (name, loss, count) => {
  const run = count[0] > 0 ? test : long;

  run(
    "an attempt during which the power is lost, and what wasn't synced: it boots, and the next runs bring it to its release",
    async () => {
      const way = swept.ways[name];
      await swept.converges(way, await swept.publish(way));
      await swept.publish(way);
      const { changes } = await powerLostIn(DIRS, Number.POSITIVE_INFINITY, swept.run(way));
      await sweep(`${way.name}: power and ${loss} lost`, changes, count, async (n) => {
        const commit = await swept.publish(way);
        for (const disk of disks) await disk.sync();
        const { isOver } = await powerLostIn(DIRS, n, swept.run(way));
        kill(swept.running());
        await swept.comesToRest();
        for (const disk of disks) await disk.lose(loss);
        await swept.boots();
        if ((await swept.outcomesOf(commit)).includes("success")) {
          expect(swept.numberOf(await swept.machine.running()), "what was reported boots").toBe(String(swept.releases));
        }
        await swept.converges(way, commit);
        return !isOver;
      });
    },
    LONG,
  );
});
