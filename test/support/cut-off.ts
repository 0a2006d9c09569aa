import { closeSync, openSync, writeSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import path from "node:path";
import { expect, vi } from "vitest";
import type { Machine } from "./machine.ts";
import { runUntilChange } from "./power.ts";
import { type Exit, start } from "./programs.ts";

/** A place that the agent comes to: its nth call of that name. */
export type Place = readonly [call: string, n: number];

/**
 * What a shell does is seen by others only when it starts a program, opens a file or writes, so those are the places where it is
 * killed: between two of them nothing is different.
 */
const SEEN = "clone,clone3,fork,vfork,openat,write";

/** A run of the agent that is cut off. */
export interface Run {
  machine: Machine;
  env: Record<string, string>;
  /** `upgrade` unless told otherwise. */
  verb?: readonly string[];
  /** The agent's program, where it isn't this repository's. */
  program?: string;
}

/** Patience enough for a slow machine, and a guard that doesn't wait for longer than that. */
export const PATIENCE = {
  BENTO_BACKOFF: "0",
  BENTO_ACTIVATION_TIMEOUT: "20",
  BENTO_GUARD_SLACK: "0",
  BENTO_CONFIRM_TIMEOUT: "20",
};

const commandOf = ({ machine, verb = ["upgrade"], program = machine.agentFile }: Run) => [program, ...verb];
const envOf = ({ machine, env }: Run) => ({ ...machine.env, ...env });

/** The places of a run, in order. It comes to its end, with one of these exit statuses. */
export async function placesOf(run: Run, ends: readonly number[] = [0]): Promise<Place[]> {
  const log = path.join(run.machine.dir, "places");
  const trace = ["-qq", "-o", log, "-e", `trace=${SEEN}`, "bash", ...commandOf(run)];
  const { status, stderr } = await start("strace", trace, { env: envOf(run) }).done;
  expect(ends, stderr).toContain(status);
  const counts = new Map<string, number>();
  return [...(await readFile(log, "utf8")).matchAll(/^(\w+)\(/gm)].map(([, call = ""]) => {
    const n = (counts.get(call) ?? 0) + 1;
    counts.set(call, n);
    return [call, n];
  });
}

/** Kills the agent, and it alone, at a place. False when it has come to its end before. */
export async function killedAt([call, n]: Place, run: Run): Promise<boolean> {
  const inject = ["-qq", "-o", "/dev/null", "-e", `trace=${call}`, "-e", `inject=${call}:signal=KILL:when=${n}`];
  const { child, done } = start("strace", [...inject, "bash", ...commandOf(run)], { env: envOf(run) });
  void done;
  // Not its output's end: what it has started may hold that for as long as it likes.
  return new Promise((resolve) =>
    child.on("exit", (status, signal) => resolve(signal === "SIGKILL" || status === 137)),
  );
}

/** Runs of the agent, at most so many, until one says that there is nothing to do; what each said, after its exit status. */
export async function runsUntil(isAtRest: RegExp, most: number, run: () => Promise<Exit>): Promise<string[]> {
  const said: string[] = [];
  while (said.length < most) {
    const { status, stderr } = await run();
    said.push(`${status}: ${stderr}`);
    if (isAtRest.test(stderr)) break;
  }
  return said;
}

/** A guard that is not needed any more sees that within a second. */
export async function comesToRest(machine: Machine): Promise<void> {
  await vi.waitFor(() => expect(machine.processes()).toEqual([]), { timeout: 30_000, interval: 50 });
}

/** How many changes a run came to, and whether that was its end. */
export interface Changes {
  changes: number;
  isOver: boolean;
}

function untilChange(n: number, run: Run, dirs: readonly string[], act: (fail: () => void) => void): Promise<Changes> {
  return runUntilChange(n, { program: "bash", args: commandOf(run), env: envOf(run), dirs }, act);
}

/**
 * The power is lost right after the nth change of any file on a disk: of the machine, or of its Nix. All that runs is gone at
 * once. What /run has is in memory, and gone anyhow, so that a change there makes no difference to what is left.
 */
export function powerLostAt(n: number, run: Run): Promise<Changes> {
  const nix = path.dirname(run.machine.env.NIX_STORE_DIR ?? "/nix/store");
  return untilChange(n, run, [...placesIn(run, ["etc", "state", "profiles", "boot"]), `${nix}/`], (fail) => fail());
}

/** The same, of the changes in some of the machine's directories. */
export function powerLostIn(dirs: readonly string[], n: number, run: Run): Promise<Changes> {
  return untilChange(n, run, placesIn(run, dirs), (fail) => fail());
}

const placesIn = ({ machine }: Run, dirs: readonly string[]) => dirs.map((dir) => `${machine.path(dir)}/`);

/** The disk of the agent's state gets full, to the last byte, at its nth change, and stays so until the attempt is over. */
export async function fullAt(n: number, run: Run): Promise<Changes> {
  const filler = run.machine.path("state/filler");
  const result = await untilChange(n, run, [run.machine.path("state")], () => {
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

/** Milliseconds: all places take most of an hour. */
export const LONG = 7_200_000;

/**
 * Cuts off at places of 1 to `last`, and says how many there were. By default that is at `few` of them, with --all at about
 * `many`; BENTO_TEST_SWEEP=FROM:TO:STEP chooses, and 1:9999:1 are all of them. `cut` is given the place, throws when the machine
 * has not come back from it as it should, and says whether the run was cut off there at all: how often something is waited
 * for differs a little from run to run.
 */
export async function sweep(
  what: string,
  last: number,
  [few, many]: readonly [few: number, many: number],
  cut: (n: number) => Promise<boolean>,
): Promise<void> {
  const swept: number[] = [];
  const torn: string[] = [];
  for (const n of places(last, few, many)) {
    try {
      if (await cut(n)) swept.push(n);
    } catch (error) {
      torn.push(`place ${n} of ${last}: ${error instanceof Error ? error.message : error}`);
      console.error(`${what}: torn at ${torn.at(-1)}`);
      // After one that the machine has not come back from, the next ones say little.
      if (torn.length === 5) break;
    }
  }
  const converged = swept.length;
  console.log(`${what}: ${converged} of ${last} places, converged, from ${swept[0]} on; ${torn.length} torn`);
  expect(torn, what).toEqual([]);
  expect(converged, what).toBeGreaterThan(0);
}

function* places(last: number, few: number, many: number): Generator<number> {
  const told = process.env.BENTO_TEST_SWEEP?.split(":").map(Number);
  const count = process.env.BENTO_TEST_ALL === "1" ? many : few;
  const step = told?.[2] ?? Math.ceil(last / count);
  for (let n = told?.[0] ?? Math.ceil(step / 2); n <= Math.min(last, told?.[1] ?? last); n += step) yield n;
}
