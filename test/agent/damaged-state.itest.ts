import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { long } from "../support/long.ts";
import type { Machine } from "../support/machine.ts";
import { exec } from "../support/programs.ts";
import { channelHost, type Release } from "../support/release.ts";
import { World } from "../support/world.ts";

/** What a power cut, a full disk or a bad sector makes of what the agent remembers. */
let world: World;
let machine: Machine;
let release: Release;
beforeAll(async () => {
  world = await World.make({ hosts: ["damaged"] });
  machine = await world.machine("damaged");
  release = await world.publish("damaged", channelHost("damaged", 'environment.etc."word" = "good";'));
  expect((await machine.agent()).status).toBe(0);
});
afterAll(async () => world?.[Symbol.asyncDispose]());

const FILES = [
  "seen",
  "applied",
  "bad",
  "retry",
  "refused",
  "intent",
  "ending",
  "undo",
  "trial",
  "last-resort",
  "self-update",
  "last",
]
  .map((name) => `${name}.json`)
  .concat("delivered");

/** A genuine one of each, as far as they are not there: an attempt that was cut off, and all that can be remembered. */
const GENUINE = JSON.stringify(
  {
    ...{ phase: "committing", from: "/x", to: "/y", bootId: "z", started: "2026-01-01T00:00:00.000Z", sequence: 1 },
    until: 1,
  },
  null,
  2,
);

const DAMAGES: [string, (text: string) => string][] = [
  ["empty", () => ""],
  ["truncated", (text) => text.slice(0, text.length / 2)],
  ["zeros", (text) => "\0".repeat(text.length)],
  ["garbage", () => "\u001b[31m\xff\xfe{{{\n\n$(touch /tmp/x) `id`\n"],
  ["another type", () => "[1, [], {}]"],
  [
    "values of another type",
    () => '{\n  "sequence": {},\n  "phase": 7,\n  "until": "soon",\n  "bootId": [],\n  "digest": -1\n}',
  ],
  ["numbers that are none", () => '{\n  "sequence": 99999999999999999999,\n  "failures": 1e400,\n  "until": -5\n}'],
];

async function damage(file: string, how: (text: string) => string): Promise<void> {
  const place = machine.path(`state/${file}`);
  const text = existsSync(place) ? await readFile(place, "utf8") : GENUINE;
  await writeFile(place, how(text));
}

/** Whatever was remembered, a few runs later all is as it should be. */
async function isWell(what: string): Promise<void> {
  let said = `${what}:\n`;
  let status = 1;
  for (let run = 0; run < 3; run++) {
    const { stderr, ...rest } = await machine.agent();
    ({ status } = rest);
    said += `${status}: ${stderr}`;
    if (/^up to date with release \d+\n$/.test(stderr)) break;
  }
  expect(status, said).toBe(0);
  expect(said).toMatch(/\n0: up to date with release \d+\n$/);
  // None of the shell's own complaints, and nothing that didn't happen.
  expect(said).not.toMatch(/: line \d+: |jq: |syntax|unbound|integer expression|rolled-back|cut off|release 0/);
  expect([await machine.running(), await machine.profile(), await machine.bootDefault()], said).toEqual(
    Array(3).fill(release.manifest.toplevel),
  );
  expect(await machine.state("applied.json"), said).toMatchObject({ sequence: release.manifest.sequence });
  expect(await machine.state("intent.json"), said).toBeUndefined();
  expect(await machine.state("seen.json"), said).toMatchObject({ sequence: release.manifest.sequence });
}

test("state that is damaged is set aside, and said", async () => {
  for (const file of FILES) await writeFile(machine.path(`state/${file}`), "\0\0\0\0{");
  await writeFile(machine.path("state/.seen.json.new"), "{");
  const { stderr } = await machine.agent();
  expect(stderr).toMatch(/state\/intent\.json is damaged, and is taken as absent/);
  expect(stderr).toMatch(/\nunchanged\n$/);
  expect((await readdir(machine.path("state"))).filter((name) => name.endsWith(".new"))).toEqual([]);
  await isWell("all of them");
});

test.each(DAMAGES)("all of it is %s", async (name, how) => {
  for (const file of FILES) await damage(file, how);
  await isWell(name);
});

long("each of them alone, damaged in every way", async () => {
  for (const file of FILES) {
    for (const [name, how] of DAMAGES) {
      await damage(file, how);
      await isWell(`${file}: ${name}`);
    }
  }
});

test("what is a directory, or is not there at all", async () => {
  for (const file of FILES) {
    await rm(machine.path(`state/${file}`), { force: true });
    await mkdir(machine.path(`state/${file}`));
  }
  const { stderr } = await machine.agent();
  for (const file of FILES) await rm(machine.path(`state/${file}`), { recursive: true, force: true });
  await isWell(stderr);
  await rm(machine.path("state"), { recursive: true });
  await isWell("no state");
  expect((await exec("ls", [machine.path("state/spool")])).stdout).toBe("");
});
