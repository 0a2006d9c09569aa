import { chmod, mkdir, readFile, rm, symlink, truncate, utimes, writeFile } from "node:fs/promises";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { HostStatus, StatusDocument } from "../../src/results.ts";
import { long } from "../support/long.ts";
import { MAX_RESIDENT, residentPeak } from "../support/peak.ts";
import { succeed } from "../support/programs.ts";
import { StatusFleet } from "../support/status-fleet.ts";
import { bento, startBento } from "./bento.ts";

// One host says whatever it likes, and so does whoever took it over. The other one's status must be as ever, in the same time.

let fleet: StatusFleet;
beforeAll(async () => {
  fleet = await StatusFleet.make(["hostile", "well"]);
  for (const host of fleet.world.hosts) await fleet.publish(host);
  await fleet.beat("well");
  await fleet.report("well", "success", {}, "well\n");
});
afterAll(async () => fleet?.[Symbol.asyncDispose]());
afterEach(() => fleet.silence("hostile"));

/** Asks with everything there is to ask for, and gives what the hostile one got; the other one must be well. */
async function look(): Promise<{ host: HostStatus; table: string }> {
  const running = await startBento(["status", "--html", "out", "--json", "--fail-on", "none"], fleet.options);
  const peak = residentPeak(running.pid);
  const { status, stdout, stderr } = await running.finished;
  expect([status, stderr]).toEqual([0, ""]);
  expect(await peak).toBeLessThan(MAX_RESIDENT);
  const { hosts } = JSON.parse(stdout) as StatusDocument;
  const [host, well] = hosts;
  expect(well).toMatchObject({ name: "well", state: "up-to-date", log: "well\n" });
  const page = await readFile(path.join(fleet.dir, "out/index.html"), "utf8");
  expect(page.length).toBeLessThan(2_000_000);
  const table = (await bento(["status"], fleet.options)).stdout;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: there must be none.
  expect(table + stdout + page).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/);
  expect(table.split("\n")).toHaveLength(6);
  if (host === undefined) throw new Error("no host");
  return { host, table };
}

const own = (file: string) => succeed("chown", [`--reference=${fleet.reports("hostile")}`, "--no-dereference", file]);

/** What is put in place of a file among the reports, and never read. */
const PLACES: [string, (file: string) => Promise<unknown>][] = [
  ["a fifo", (file) => succeed("mkfifo", ["-m", "644", file])],
  ["a directory", (file) => mkdir(file)],
  ["a symlink to another host's", (file) => symlink("/well/reports/latest.json", file)],
  ["a symlink to what never ends", (file) => symlink("/dev/zero", file)],
  [
    "10 GB",
    async (file) => {
      await writeFile(file, "");
      await truncate(file, 10 * 1024 ** 3);
      await chmod(file, 0o640);
    },
  ],
  ["a file that nobody may read", (file) => writeFile(file, "{}", { mode: 0 })],
];

for (const [what, place] of PLACES) {
  test.each(["heartbeat.json", "latest.json"])(`${what} in place of %s`, async (name) => {
    await fleet.beat("hostile");
    await rm(fleet.reports("hostile", name), { force: true });
    await place(fleet.reports("hostile", name));
    await own(fleet.reports("hostile", name));
    const { host } = await look();
    expect(host).toMatchObject({
      state: "unknown",
      reason: expect.stringMatching(/^what it reported can't be read: /),
    });
  });

  test(`${what} in place of a past report, and of a log`, async () => {
    await fleet.beat("hostile");
    for (const name of ["1795430400000-1.json", "1795430400000-1.log.gz"]) {
      await place(fleet.reports("hostile", name));
      await own(fleet.reports("hostile", name));
    }
    await fleet.put("hostile", "1795430400001-1.json", "{}", 10);
    const { host } = await look();
    expect(host).toMatchObject({ state: "up-to-date", history: [], log: null });
  });
}

test.each([
  ["lists", "[".repeat(32_000) + "]".repeat(32_000)],
  ["objects", `${'{"a":'.repeat(8_000)}1${"}".repeat(8_000)}`],
  ["half of it", '{"version":1,"host":"hostile",'],
  ["nothing", ""],
  ["bytes that are no text", Buffer.from([0xff, 0xfe, 0, 1, 0x80])],
  ["another host's", JSON.stringify({ version: 1, host: "well", outcome: "success" })],
])("JSON that is %s", async (_, text) => {
  for (const name of ["heartbeat.json", "latest.json", "1795430400000-1.json"]) await fleet.put("hostile", name, text);
  expect((await look()).host).toMatchObject({
    state: "unknown",
    reason: "what it reported can't be understood",
    history: [],
  });
});

test("a log that is a bomb: a megabyte that stands for half a gigabyte", async () => {
  const bomb = gzipSync(Buffer.alloc(256 * 1024 ** 2, "boom\n"), { level: 9 });
  await fleet.beat("hostile");
  await fleet.report("hostile", "failed", { reason: "why" }, "x");
  const name =
    (await succeed("ls", [fleet.reports("hostile")])).split("\n").find((one) => one.endsWith(".log.gz")) ?? "";
  await fleet.put("hostile", name, Buffer.concat([bomb, bomb]));
  const { host } = await look();
  expect(host.state).toBe("failed");
  expect(host.log?.length).toBeLessThan(21_000);
  expect(host.log).toMatch(/\n… the log is larger than 4 MiB, and the rest of it was not read\n$/);
  const { stdout } = await bento(["status", "--host", "hostile", "--log"], fleet.options);
  expect(stdout.length).toBeLessThan(1_001_000);

  await fleet.put("hostile", name, gzipSync("a beginning\n".repeat(10_000)).subarray(0, 200));
  expect((await look()).host.log).toMatch(/\n… the rest of the log is damaged\n$/);
  await fleet.put("hostile", name, "no gzip");
  expect((await look()).host.log).toBe("\n… the rest of the log is damaged\n");
});

test.each([
  ["terminal escapes", "\u001b[2J\u001b]0;owned\u0007\u009b31m red \u001bPq"],
  ["bidi", "\u202eevil\u202c \u2066x\u2069"],
  ["HTML", "<script>alert(1)</script><img src=x onerror=alert(1)><!--"],
  ["markdown", "| a | **b** `c` [d](javascript:e)"],
  ["workflow commands", "x\n::set-output name=a::b\n::error::owned\r::stop-commands::t"],
])("texts with %s", async (_, text) => {
  await fleet.beat("hostile", { agent: text, running: text, suspendedReason: text, suspendedUntil: text });
  const said = { reason: text, from: text, to: text, started: text, finished: text, commit: text, digest: text };
  await fleet.report("hostile", "failed", said, `${text}\n`);
  const { host, table } = await look();
  expect(host).toMatchObject({ state: "failed", history: [{ outcome: "failed", commit: null, duration: null }] });
  // A line of the table begins with what we say, never with what a host does.
  for (const line of table.split("\n")) expect(line).not.toMatch(/^::/);
  const { stdout } = await bento(["status", "--host", "hostile"], fleet.options);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: there must be none.
  expect(stdout).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]|^::/m);
});

test("names that lead elsewhere, or hold anything, count for nothing", async () => {
  await fleet.beat("hostile");
  const report = JSON.stringify({ version: 1, host: "hostile", outcome: "failed", sequence: 1, reason: "planted" });
  const names = [
    "..%2f..%2fwell.json",
    "1795430400000-1.json\nx",
    "\u001b[2J.json",
    "-rf.json",
    "1-1.json",
    " 1795430400000-1.json",
  ];
  for (const name of names) await fleet.put("hostile", name, report);
  await fleet.put("hostile", "1795430400000-1.json", JSON.stringify({ ...JSON.parse(report), host: "../well" }));
  const { host } = await look();
  expect(host).toMatchObject({ state: "up-to-date", history: [] });
});

test("clocks ten years off: neither the host's word nor its files' times make it look alive", async () => {
  const year = 365 * 86_400;
  await fleet.beat("hostile", { time: "2036-01-01T00:00:00.000Z" }, -10 * year);
  await fleet.report("hostile", "success", { started: "2036-01-01T00:00:00.000Z" }, "log\n", -10 * year);
  for (const name of (await succeed("ls", [fleet.reports("hostile")])).split("\n")) {
    const time = Date.now() / 1000 + 10 * year;
    await utimes(fleet.reports("hostile", name), time, time);
  }
  expect((await look()).host).toMatchObject({
    state: "unknown",
    lastContact: null,
    reason: expect.stringContaining("dated in the future"),
  });
  await fleet.beat("hostile", {}, 10 * year);
  await fleet.silence("hostile");
  await fleet.beat("hostile", {}, 10 * year);
  expect((await look()).host).toMatchObject({ state: "silent" });
});

long("a flood of 100,000 reports", async () => {
  await fleet.beat("hostile");
  await fleet.report("hostile", "success", {}, "log\n");
  const script = 'cd "$0" && seq 1000000000000 1000000099999 | sed "s/$/-1.json/" | xargs touch';
  await succeed("sh", ["-c", script, fleet.reports("hostile")]);
  const { host } = await look();
  expect(host.state).toBe("up-to-date");
  const { status } = await bento(["status", "--host", "hostile", "--fail-on", "none"], fleet.options);
  expect(status).toBe(0);
});
