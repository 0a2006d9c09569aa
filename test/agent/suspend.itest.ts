import { readdir, stat, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Hold } from "../support/hold.ts";
import { long } from "../support/long.ts";
import type { Machine } from "../support/machine.ts";
import { channelHost } from "../support/release.ts";
import { World } from "../support/world.ts";

let world: World;
const hosts = ["away", "clock", "told"];
beforeAll(async () => {
  world = await World.make({ hosts });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

const bash = (text: string) => channelHost("away", `environment.etc."text" = "${text}";`);

async function status(machine: Machine) {
  return JSON.parse((await machine.agent({}, ["status", "--json"])).stdout);
}

test("while upgrades are suspended nothing is taken, and the fleet knows why", async () => {
  const machine = await world.machine("away");
  const { manifest } = await world.publish("away", bash("one"));
  const args = ["suspend", "--for", "3d", "--reason", "a fair\u001b[31m in Graz"];
  const suspended = await machine.agent({ SUDO_USER: "alice" }, args);
  const line = /^upgrades are suspended until (\S+Z) by alice: a fair \[31m in Graz/;
  expect(suspended.stderr).toMatch(line);
  expect(suspended.status).toBe(0);
  const until = line.exec(suspended.stderr)?.[1] ?? "";
  expect((Date.parse(until) - Date.now()) / 86_400_000).toBeCloseTo(3, 2);

  const attempt = await machine.agent();
  expect(attempt.stderr).toBe(`upgrades are suspended until ${until} by alice: a fair [31m in Graz\n`);
  expect(attempt.status).toBe(0);
  expect(await machine.running()).toBe(machine.factory);
  const fair = { suspendedUntil: until, suspendedReason: "a fair [31m in Graz" };
  expect(await world.heartbeat("away")).toMatchObject({ suspended: true, ...fair, sequence: null });
  expect((await status(machine)).suspended).toMatchObject({ until, reason: "a fair [31m in Graz", by: "alice" });
  expect((await machine.agent({}, ["status"])).stdout).toMatch(/^suspended {2}upgrades are suspended until/m);

  expect((await machine.agent({}, ["resume"])).stderr).toBe("upgrades go on with the next poll\n");
  expect((await machine.agent({}, ["resume"])).stderr).toBe("upgrades were not suspended\n");
  expect((await machine.agent()).status).toBe(0);
  expect(await machine.running()).toBe(manifest.toplevel);
  const heartbeat = await world.heartbeat("away");
  expect(heartbeat).toMatchObject({ suspended: false });
  expect(heartbeat).not.toHaveProperty("suspendedReason");
});

test("a suspension ends by itself, and neither a clock nor a damaged file ends it", async () => {
  const machine = await world.machine("clock");
  const isSuspended = async (state: object | string) => {
    const text = typeof state === "string" ? state : JSON.stringify({ reason: null, by: null, ...state });
    await writeFile(machine.path("state/suspended.json"), text);
    const { stdout, stderr } = await machine.agent({}, ["status", "--json"]);
    expect(stderr).toBe("");
    return JSON.parse(stdout).suspended !== null;
  };
  const now = Math.floor(Date.now() / 1000);
  const year = 365 * 86_400;
  expect((await machine.agent({}, ["suspend"])).status).toBe(0);
  expect(await isSuspended({ since: now - 10, until: now - 1 })).toBe(false);
  expect(await machine.state("suspended.json")).toBeUndefined();
  expect(await isSuspended({ since: now - 10, until: now + 60 })).toBe(true);
  expect(await isSuspended({ since: now - 3 * year, until: null })).toBe(true);
  // A clock that is back at its beginning, and one that is ten years ahead.
  expect(await isSuspended({ since: now + 10 * year, until: now + 10 * year + 60 })).toBe(true);
  expect(await isSuspended({ since: now - 10 * year, until: now - 10 * year + 60 })).toBe(true);
  expect(await isSuspended("")).toBe(true);
  expect(await isSuspended('{ "since": "gestern", "unt')).toBe(true);
  expect((await machine.agent()).stderr).toBe("upgrades are suspended\n");
  expect((await machine.agent({}, ["resume"])).status).toBe(0);
});

test.each([
  [["suspend", "--for", "3 days"], /^bento-agent: a duration is a number with m, h, d or w/],
  [["suspend", "--for", "900000w"], /of five years at most/],
  [["suspend", "--for", "0d"], /a duration is/],
  [["suspend", "--for"], /what is the value of --for\?/],
  [["suspend", "3d", "4d"], /suspend has no '3d'/],
  [["log", "../../etc/passwd"], /log has no/],
  [["status", "--yaml"], /status has no/],
  [["frobnicate"], /there is no 'frobnicate'/],
])("%j is no command", async (args, words) => {
  const machine = await world.machine("clock");
  const { status, stderr } = await machine.agent({}, args);
  expect(stderr).toMatch(words);
  expect(status).toBe(2);
  expect(await machine.state("suspended.json")).toBeUndefined();
});

test("history and log tell of the last attempts, and of the one that is running", async () => {
  const machine = await world.machine("told");
  const nothing = await machine.agent({}, ["history"]);
  expect(nothing.stdout).toBe("no attempt yet\n");
  expect((await machine.agent({}, ["log"])).status).toBe(1);

  const { manifest } = await world.publish("told", channelHost("told", 'environment.etc."a" = "1";'));
  expect((await machine.agent()).status).toBe(0);
  await machine.healthCheck("sick", "echo nothing from 9.9.9.9; exit 1");
  const bad = await world.publish("told", channelHost("told", 'environment.etc."a" = "2";'));
  expect((await machine.agent({ BENTO_CONFIRM_TIMEOUT: "2" })).status).toBe(1);
  // A poll with nothing new is no attempt.
  expect((await machine.agent()).status).toBe(0);

  const { stdout } = await machine.agent({}, ["history"]);
  expect(stdout.split("\n")).toEqual([
    expect.stringMatching(
      new RegExp(
        `^2  \\S+Z  rolled-back  release ${bad.manifest.sequence} \\(${bad.manifest.commit.slice(0, 12)} ${bad.manifest.subject}\\), took \\d+ s: the health check sick failed: nothing from 9`,
      ),
    ),
    expect.stringMatching(new RegExp(`^1  \\S+Z  success  release ${manifest.sequence} `)),
    "",
  ]);
  const { attempts } = JSON.parse((await machine.agent({}, ["history", "--json"])).stdout);
  expect(attempts).toMatchObject([
    { number: 2, outcome: "rolled-back", sequence: bad.manifest.sequence, subject: bad.manifest.subject },
    { number: 1, outcome: "success", to: manifest.toplevel },
  ]);
  expect((await machine.agent({}, ["log"])).stdout).toMatch(/^\d\d:\d\d:\d\d rolled-back: the health check sick/m);
  expect((await machine.agent({}, ["log", "1"])).stdout).toMatch(/^\d\d:\d\d:\d\d success$/m);
  expect((await machine.agent({}, ["log", "3"])).status).toBe(1);

  await using hold = await Hold.make(machine, "check");
  await machine.healthCheck("sick", hold.script);
  await world.publish("told", channelHost("told", 'environment.etc."a" = "3";'));
  const attempt = machine.startAgent();
  await hold.reached();
  expect(await status(machine)).toMatchObject({ upgrading: true, last: { outcome: "rolled-back" } });
  const follower = machine.startAgent({}, ["log", "-f"]);
  await new Promise((resolve) => follower.child.stdout?.once("data", resolve));
  await hold.letGo();
  expect((await attempt.done).status).toBe(0);
  const followed = await follower.done;
  expect(followed.stdout).toMatch(/activating [\s\S]* success\n$/);
  expect(followed.status).toBe(0);
  expect(await status(machine)).toMatchObject({ upgrading: false, last: { outcome: "success" }, undelivered: 0 });
});

long("the history stays small, and one of its files that is damaged is left out", async () => {
  const machine = await world.machine("told");
  const dir = machine.path("state/history");
  const file = (name: string) => `${dir}/${name}`;
  for (let number = 4; number <= 25; number += 1) {
    await writeFile(file(`${number}.json`), JSON.stringify({ outcome: "failed", started: "", finished: "" }));
    await writeFile(file(`${number}.log.gz`), Buffer.alloc(1_000_000));
  }
  await writeFile(file("24.json"), '{"outcome":"fai');
  await world.publish("told", channelHost("told", "{"), { evaluate: false });
  expect((await machine.agent()).status).toBe(1);

  const { attempts } = JSON.parse((await machine.agent({}, ["history", "--json"])).stdout);
  const numbers = attempts.map(({ number }: { number: number }) => number);
  expect(numbers).toEqual([26, 25, ...Array.from({ length: 17 }, (_, index) => 23 - index)]);
  const names = await readdir(dir);
  expect(names).not.toContain("6.log.gz");
  const sizes = await Promise.all(names.map(async (name) => (await stat(file(name))).size));
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThan(10 * 1024 * 1024);
  expect((await machine.agent({}, ["log", "26"])).stdout).toContain("failed: it does not build");
});
