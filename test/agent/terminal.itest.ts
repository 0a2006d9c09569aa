import { once } from "node:events";
import { existsSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { PassThrough } from "node:stream";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Hold } from "../support/hold.ts";
import { long } from "../support/long.ts";
import type { Machine } from "../support/machine.ts";
import { exec, kill, type Running, start } from "../support/programs.ts";
import { channelHost } from "../support/release.ts";
import { World } from "../support/world.ts";

/** Who starts an attempt at a terminal may go away, or not listen: the attempt is one all the same. */
let world: World;
let machine: Machine;
beforeAll(async () => {
  world = await World.make({ hosts: ["desk"] });
  machine = await world.machine("desk");
});
afterAll(async () => world?.[Symbol.asyncDispose]());

/** A shell in a terminal of its own, as somebody has who is logged in; what is at the other end can go away. */
function terminal(words: string, keys = new PassThrough()): Running {
  const login = `sh -c "bash ${machine.agentFile} ${words}; true"`;
  return start("socat", ["-", `EXEC:'${login}',pty,setsid,ctty,stderr`], { env: machine.env, input: keys });
}

/** Not until nobody holds its output: what it has started may do that for as long as it likes. */
async function goAway({ pid, child }: Running): Promise<void> {
  const gone = once(child, "exit");
  kill([pid]);
  await gone;
}

const system = (word: string, more = "") => channelHost("desk", `environment.etc."word" = "${word}"; ${more}`);
const outcome = async () => (await machine.state("last.json"))?.outcome;
const isOver = () => !existsSync(machine.path("state/intent.json"));

/** Waits for a report of another attempt than those that were there before. */
async function told(before: number): Promise<string | undefined> {
  await vi.waitFor(async () => expect((await world.outcomes("desk")).length).toBe(before + 1), {
    timeout: 60_000,
    interval: 100,
  });
  await vi.waitFor(() => expect(isOver()).toBe(true), { timeout: 10_000, interval: 50 });
  return (await outcome()) as string;
}

test("a terminal that goes away while it is built, and nobody's answer: the upgrade comes to its end", async () => {
  await using build = await Hold.make(machine, "build");
  await using check = await Hold.make(machine, "check");
  await machine.healthCheck("check", check.script);
  const slow = `derivation {
    name = "slow"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" ''${build.script}; echo > $out'' ];
  }`;
  const { manifest } = await world.publish("desk", system("one", `environment.systemPackages = [ (${slow}) ];`));
  const gone = terminal("upgrade");
  await build.reached();
  await goAway(gone);
  await build.letGo();
  await check.reached();
  await check.letGo();
  expect(await told(0)).toBe("success");
  expect(await machine.running()).toBe(manifest.toplevel);
  expect(await machine.bootDefault()).toBe(manifest.toplevel);
});

long("one that goes away during the confirmation: the same, also of going back", async () => {
  const before = await machine.running();
  for (const [words, expected] of [
    ["upgrade", "success"],
    ["rollback -y", "rolled-back"],
  ] as const) {
    await using check = await Hold.make(machine, "check");
    await machine.healthCheck("check", check.script);
    if (words === "upgrade") await world.publish("desk", system("two"));
    const reports = (await world.outcomes("desk")).length;
    const gone = terminal(words);
    await check.reached();
    await goAway(gone);
    await check.letGo();
    expect(await told(reports)).toBe(expected);
    expect((await machine.running()) === before).toBe(words !== "upgrade");
    expect(await machine.bootDefault()).toBe(await machine.running());
  }
});

long("output that nobody reads to its end", async () => {
  const { manifest } = await world.publish("desk", system("three"));
  const { stdout } = await exec(
    "bash",
    ["-c", `bash ${machine.agentFile} upgrade 2>&1 | head -n 2; echo "\${PIPESTATUS[0]}"`],
    { env: machine.env },
  );
  expect(stdout).toMatch(/^release \d+: .*\nfetching\n0\n$/);
  expect(await machine.running()).toBe(manifest.toplevel);
  expect(await machine.bootDefault()).toBe(manifest.toplevel);
  expect(await world.report("desk")).toMatchObject({ outcome: "success", sequence: manifest.sequence });
});

test("an interrupt at the terminal, and an agent that is killed: what they have started ends with them", async () => {
  const pid = machine.path("run/builder");
  for (const how of ["interrupted", "killed"]) {
    await using build = await Hold.make(machine, "build");
    const waits = `derivation {
      name = "waits"; system = builtins.currentSystem; builder = "/bin/sh";
      args = [ "-c" ''echo $$ > ${pid}; ${build.script}'' ];
    }`;
    await world.publish("desk", system(how, `environment.systemPackages = [ (${waits}) ];`));
    const keys = new PassThrough();
    const attempt = how === "interrupted" ? terminal("upgrade", keys) : machine.startAgent();
    await build.reached();
    const builder = `/proc/${(await readFile(pid, "utf8")).trim()}`;
    expect(existsSync(builder)).toBe(true);
    if (how === "interrupted") keys.write("\x03");
    else kill([attempt.pid]);
    await vi.waitFor(() => expect([existsSync(builder), machine.processes()]).toEqual([false, []]), {
      timeout: 30_000,
      interval: 50,
    });
    await rm(pid);
  }
});

test("an interrupt at the terminal ends it, and what isn't confirmed is undone by the next run", async () => {
  const before = await machine.running();
  await using check = await Hold.make(machine, "check");
  await machine.healthCheck("check", check.script);
  const { manifest } = await world.publish("desk", system("four"));
  const keys = new PassThrough();
  const attempt = terminal("upgrade", keys);
  await check.reached();
  let said = "";
  attempt.child.stdout?.on("data", (data) => {
    said += data;
  });
  keys.write("\x03");
  await once(attempt.child, "exit");
  // What it has said last may come after its end.
  await vi.waitFor(() => expect(said).toContain("interrupted: what isn't confirmed yet is undone by the guard"), {
    timeout: 30_000,
  });
  await check.forget();
  expect(await machine.running()).toBe(manifest.toplevel);
  expect((await machine.agent()).stderr).toMatch(/\ninconclusive: the upgrade was cut off before it was confirmed/);
  expect(await machine.running()).toBe(before);
});
