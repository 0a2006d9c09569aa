import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { copyFile, readdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Hold } from "../support/hold.ts";
import { Link, type LinkOptions } from "../support/link.ts";
import type { Machine } from "../support/machine.ts";
import { kill, succeed } from "../support/programs.ts";
import { channelHost } from "../support/release.ts";
import { World } from "../support/world.ts";

/** Reports when the server isn't there to take them. */
let world: World;
beforeAll(async () => {
  world = await World.make({ hosts: ["late", "week", "thin"] });
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

/** The server, as a machine has it, behind a line of this kind until the scope ends. */
async function behind(machine: Machine, options: LinkOptions) {
  await using resources = new AsyncDisposableStack();
  const link = resources.use(await Link.to(world.server.port, options));
  const file = machine.path("etc/bento.json");
  const text = await readFile(file, "utf8");
  await writeFile(file, world.agentSettings({ server: { port: link.port } }));
  resources.defer(() => writeFile(file, text));
  const kept = resources.move();
  return { link, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

test("an uplink that breaks after some bytes, each time: all that waits gets there, what matters first", async () => {
  const machine = await world.machine("thin");
  await world.publish("thin", channelHost("thin", 'environment.etc."word" = "thin";'));
  {
    await using line = await behind(machine, {});
    expect((await machine.agent()).status).toBe(0);
    // The poll, the release, contact before and after its activation, and one for the report with its log.
    expect(line.link.connections).toBe(5);
  }
  const report = JSON.parse(await readFile(machine.path("state/last.json"), "utf8"));
  const reports = path.join(world.server.chroot("thin"), "reports");
  const base = Date.now() + 1000;
  const names: string[] = [];
  for (let n = 0; n < 12; n++) {
    const name = `${base + n}-${report.sequence}`;
    const text = JSON.stringify({ ...report, outcome: "failed", reason: `${n}` });
    await writeFile(machine.path(`state/spool/${name}.json`), text);
    // More than ever gets through.
    const log = n === 6 ? `${randomBytes(90_000).toString("base64")}\nits end` : `log ${n}`;
    await writeFile(machine.path(`state/spool/${name}.log.gz`), gzipSync(log));
    names.push(name);
  }
  const onServer = async () => (await readdir(reports)).filter((name) => names.includes(name.replace(/\..*/, "")));
  const said: string[] = [];
  {
    await using line = await behind(machine, { trouble: () => ({ bytes: 45_000, how: "cut" }) });
    for (let poll = 0; poll < 6 && (await spooled(machine)).length > 0; poll++) {
      said.push((await machine.agent()).stderr);
      // No report waits for a log.
      expect(
        (await spooled(machine)).filter((name) => name.endsWith(".json")),
        said.join(""),
      ).toEqual([]);
      // One that is asked for more while a log waits has it told.
      expect(await world.report("thin")).toMatchObject({ reason: "11" });
      const left = (await spooled(machine)).length;
      expect((await onServer()).length + left, said.join("")).toBe(24);
    }
    expect(line.link.troubled, said.join("")).toBe(3);
    expect(await spooled(machine), said.join("")).toEqual([]);
    expect(await machine.state("undelivered")).toBeUndefined();
    const before = line.link.connections;
    expect((await machine.agent()).stderr).toMatch(/^up to date with release \d+\n$/);
    expect(line.link.connections - before).toBe(1);
  }
  expect(said[0]).toMatch(/\nthe log could not be delivered now, and is kept: /);
  // The reader takes them in the order in which they were written.
  await using publisher = await world.connect();
  const read = (await publisher.readAttempts(["thin"], { count: 12, log: 0 })).get("thin");
  expect(read?.state === "read" && read.attempts.map(({ name }) => name)).toEqual(names.toReversed());
  const cut = gunzipSync(await readFile(path.join(reports, `${names[6]}.log.gz`))).toString();
  expect(cut).toMatch(/^… the rest of this log is on the machine alone: .*\n[^\n]{19000,20000}\nits end$/);
});
