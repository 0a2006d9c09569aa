import { existsSync, readFileSync } from "node:fs";
import { readdir, readFile, rm } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, vi } from "vitest";
import { packageRoot } from "../../src/platform/package.ts";
import { long } from "../support/long.ts";
import type { Machine } from "../support/machine.ts";
import { kill, processesWith, start } from "../support/programs.ts";
import { channelHost, type Release } from "../support/release.ts";
import { World } from "../support/world.ts";

/**
 * An attempt that is cut off wherever it can be: a shell starts a program for everything that it does, so that is at the start of
 * each of them. Cut off means that the agent is killed, while what it has started goes on; or that the power is lost, and all of
 * /run with it. After each, the next runs bring the machine to its release, and tell the fleet once.
 *
 * BENTO_TEST_SWEEP=FROM:TO:STEP chooses the places; with --all every third one, otherwise a few.
 */
let world: World;
let machine: Machine;
const AGENT = path.join(packageRoot(), "utils/agent/bento-agent");
/** Patience enough for a slow machine, and a guard that doesn't wait for longer than that. */
const SETTINGS = {
  BENTO_BACKOFF: "0",
  BENTO_ACTIVATION_TIMEOUT: "20",
  BENTO_GUARD_SLACK: "0",
  BENTO_CONFIRM_TIMEOUT: "20",
};
const FORKS = "clone,clone3,fork,vfork";

beforeAll(async () => {
  world = await World.make({ hosts: ["swept"] });
  machine = await world.machine("swept");
});
afterAll(async () => world?.[Symbol.asyncDispose]());

let releases = 0;
/** The next release; its number is in its system. */
async function publish(): Promise<Release> {
  releases += 1;
  const content = channelHost("swept", `environment.etc."number" = "${releases}";`);
  return world.publish("swept", content, { evaluate: false });
}

/** Ends the agent at its nth program. False when it has come to its end before. */
async function cutOff(n: number): Promise<boolean> {
  const inject = ["-qq", "-o", "/dev/null", "-e", `trace=${FORKS}`, "-e", `inject=${FORKS}:signal=KILL:when=${n}`];
  const { child, done } = start("strace", [...inject, "bash", AGENT, "upgrade"], {
    env: { ...machine.env, ...SETTINGS },
  });
  void done;
  // Not its output's end: what it has started may hold that for as long as it likes.
  return new Promise((resolve) =>
    child.on("exit", (status, signal) => resolve(signal === "SIGKILL" || status === 137)),
  );
}

/** The programs of the machine that run. */
function running(): number[] {
  return processesWith("MACHINE", machine.dir).filter((pid) => existsSync(`/proc/${pid}/exe`));
}

/** What was reported of a release. */
async function outcomesOf({ manifest }: Release): Promise<string[]> {
  const dir = path.join(world.server.chroot("swept"), "reports");
  const names = (await readdir(dir)).filter((name) => name.endsWith(`-${manifest.sequence}.json`)).sort();
  return Promise.all(names.map(async (name) => JSON.parse(await readFile(path.join(dir, name), "utf8")).outcome));
}

async function converges(release: Release, number: number): Promise<void> {
  const said: string[] = [];
  for (let run = 0; run < 4; run++) {
    const { status, stderr } = await machine.agent(SETTINGS);
    said.push(`${status}: ${stderr}`);
    if (/^up to date with release/m.test(stderr)) break;
  }
  const text = said.join("");
  const system = await machine.running();
  expect(readFileSync(machine.path("etc/number"), "utf8"), text).toBe(String(number));
  expect([await machine.profile(), await machine.bootDefault()], text).toEqual([system, system]);
  expect(await machine.state("applied.json"), text).toMatchObject({
    sequence: release.manifest.sequence,
    toplevel: system,
  });
  expect(existsSync(machine.path("state/intent.json"))).toBe(false);
  expect(await readdir(machine.path("state/spool"))).toEqual([]);
  const outcomes = await outcomesOf(release);
  expect(
    outcomes.filter((outcome) => outcome !== "inconclusive"),
    text,
  ).toEqual(["success"]);
  expect(outcomes.length, text).toBeLessThanOrEqual(2);
  // A guard that is not needed any more sees that within a second.
  await vi.waitFor(() => expect(running()).toEqual([]), { timeout: 30_000, interval: 50 });
}

long(
  "after an attempt that was cut off anywhere, the next one brings the machine to its release",
  async () => {
    await publish();
    const last = await count();
    const [from = 1, to = last, step = 1] = places(last);
    let swept = 0;
    for (let n = from; n <= to; n += step) {
      const release = await publish();
      const number = releases;
      const isPowerLost = Math.floor(n / step) % 2 === 1;
      const isCut = await cutOff(n);
      if (isPowerLost) await machine.restart();
      try {
        await converges(release, number);
      } catch (error) {
        throw new Error(`cut off at program ${n} of ${last}, ${isPowerLost ? "with" : "without"} a restart`, {
          cause: error,
        });
      }
      if (!isCut) break;
      swept += 1;
    }
    console.log(`cut off at ${swept} of ${last} places: ${from}, ${from + step}, …`);
    expect(swept).toBeGreaterThan(0);
    await rm(machine.path("run/strace"), { force: true });
    kill(running());
  },
  3_000_000,
);

/** How many programs an attempt starts. */
async function count(): Promise<number> {
  const log = path.join(world.dir, "forks");
  const traced = start("strace", ["-qq", "-o", log, "-e", `trace=${FORKS}`, "bash", AGENT, "upgrade"], {
    env: { ...machine.env, ...SETTINGS },
  });
  const { status, stderr } = await traced.done;
  expect(status, stderr).toBe(0);
  return (await readFile(log, "utf8")).split("\n").filter((line) => /^(clone3?|v?fork)\(/.test(line)).length;
}

function places(last: number): number[] {
  const told = process.env.BENTO_TEST_SWEEP;
  if (told) return told.split(":").map(Number);
  if (process.env.BENTO_TEST_ALL === "1") return [1, last, 3];
  return [Math.floor(last / 2), last, Math.ceil(last / 6)];
}
