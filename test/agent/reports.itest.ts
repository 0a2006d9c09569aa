import { existsSync } from "node:fs";
import { copyFile, readdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Hold } from "../support/hold.ts";
import type { Machine } from "../support/machine.ts";
import { kill, succeed } from "../support/programs.ts";
import { channelHost } from "../support/release.ts";
import { World } from "../support/world.ts";

/** Reports when the server isn't there to take them. */
let world: World;
beforeAll(async () => {
  world = await World.make({ hosts: ["late", "week"] });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

/** Names, sizes and texts of all that a machine remembers. */
async function stateOf(machine: Machine): Promise<string> {
  return succeed("sh", ["-c", 'cd "$BENTO_STATE" && find . -type f ! -name attempt.log | sort | xargs sha256sum'], {
    env: machine.env,
  });
}

async function spooled(machine: Machine): Promise<string[]> {
  return (await readdir(machine.path("state/spool"))).sort();
}

test("a server that is killed before the report: it is kept, and delivered once, later", async () => {
  const machine = await world.machine("late");
  await using hold = await Hold.make(machine, "boot");
  const { manifest } = await world.publish("late", channelHost("late", `system.bootScript = ''${hold.script}'';`));
  const attempt = machine.startAgent();
  await hold.reached();
  kill(world.server.sessions());
  await world.server.stop();
  await hold.letGo();
  const { status, stderr } = await attempt.done;
  expect(stderr).toMatch(
    /\nsuccess\nthe report could not be delivered now, and is kept: sftp: \S+ can't be reached: .*\n$/,
  );
  expect(status).toBe(0);
  expect(await machine.bootDefault()).toBe(manifest.toplevel);
  const kept = await spooled(machine);
  expect(kept).toHaveLength(2);

  // Killed while it takes it: what came of it before is not a report.
  await world.server.start();
  const reports = path.join(world.server.chroot("late"), "reports");
  const slow = machine.startAgent({ BENTO_REPORTER: await slowReporter(machine) });
  await vi.waitFor(() => expect(existsSync(machine.path("run/reporting"))).toBe(true), {
    timeout: 20_000,
    interval: 20,
  });
  kill([slow.pid]);
  await rm(machine.path("run/slow"));
  await slow.done;
  expect(await spooled(machine)).toEqual(kept);

  expect((await machine.agent()).stderr).toBe(`up to date with release ${manifest.sequence}\n`);
  expect((await machine.agent()).status).toBe(0);
  expect(await world.outcomes("late")).toEqual(["success"]);
  expect((await readdir(reports)).filter((name) => kept.includes(name)).sort()).toEqual(kept);
  expect(await spooled(machine)).toEqual([]);
});

/** The agent's own, which waits once for as long as run/slow is there. */
async function slowReporter(machine: Machine): Promise<string> {
  const file = machine.path("reporter");
  const own = path.join(path.dirname(machine.agentFile), "fetchers/sftp");
  const [slow, there] = [machine.path("run/slow"), machine.path("run/reporting")];
  await writeFile(slow, "");
  await writeFile(file, `#!/bin/sh\n: > ${there}\nwhile [ -e ${slow} ]; do sleep 0.05; done\nexec ${own} "$@"\n`, {
    mode: 0o755,
  });
  return file;
}

test("a server that is gone for a week: the machine asks, grows by nothing, and goes on when it is back", async () => {
  const machine = await world.machine("week");
  const first = await world.publish("week", channelHost("week", 'environment.etc."word" = "before";'));
  expect((await machine.agent()).status).toBe(0);
  await world.server.stop();
  expect((await machine.agent()).status).toBe(75);
  const before = await stateOf(machine);
  for (let poll = 0; poll < 5; poll++) {
    const { status, stderr } = await machine.agent();
    expect(stderr).toMatch(/^no contact: sftp: \S+ can't be reached: .*Connection refused\n$/);
    expect(status).toBe(75);
  }
  expect(await stateOf(machine)).toBe(before);
  expect(await machine.running()).toBe(first.manifest.toplevel);

  // Who goes back by hand meanwhile, again and again: the newest fifty are told.
  const report = JSON.parse(await readFile(machine.path("state/last.json"), "utf8"));
  const base = Date.parse("2026-01-01T00:00:00Z");
  for (let n = 0; n < 60; n++) {
    const name = `${base + n}-${report.sequence}`;
    await writeFile(
      machine.path(`state/spool/${name}.json`),
      JSON.stringify({ ...report, outcome: "failed", reason: `${n}` }),
    );
    await copyFile(machine.path("state/history/1.log.gz"), machine.path(`state/spool/${name}.log.gz`));
  }
  await machine.agent();
  await world.server.start();
  const second = await world.publish("week", channelHost("week", 'environment.etc."word" = "after";'));
  const { status, stderr } = await machine.agent();
  expect(stderr).toMatch(/\nsuccess\n$/);
  expect(status).toBe(0);
  expect(await machine.running()).toBe(second.manifest.toplevel);
  expect(await spooled(machine)).toEqual([]);
  expect(await world.report("week")).toMatchObject({ outcome: "success", sequence: second.manifest.sequence });
  const outcomes = await world.outcomes("week");
  expect(outcomes.filter((outcome) => outcome === "failed").length).toBe(50);
  // Of those before, the oldest made room.
  expect(outcomes.at(-1)).toBe("success");
  expect(outcomes.length).toBeLessThanOrEqual(52);
});
