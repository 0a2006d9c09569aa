import { existsSync } from "node:fs";
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { stripVTControlCharacters } from "node:util";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { statusDocumentSchema } from "../../src/results/schema.ts";
import type { StatusDocument } from "../../src/results.ts";
import { succeed } from "../support/programs.ts";
import { StatusFleet, systemOf } from "../support/status-fleet.ts";
import { bento, bentoJson, lineOf, startBento, startOnTerminal } from "./bento.ts";

let fleet: StatusFleet;
beforeAll(async () => {
  fleet = await StatusFleet.make(["router", "nas", "web"], { rollout: [["web"], ["*"]] });
  for (const host of fleet.world.hosts) {
    await fleet.publish(host);
    await fleet.beat(host);
    await fleet.report(host, "success", {}, "all is well\n");
  }
});
afterAll(async () => fleet?.[Symbol.asyncDispose]());

const status = (...args: string[]) => bento(["status", ...args], fleet.options);

test("the fleet in a table, and as a document of its schema", async () => {
  await fleet.silence("nas");
  await fleet.report("nas", "rolled-back", { reason: "no contact with the server" });
  await fleet.beat("nas", { running: systemOf("nas", "old"), sequence: 1 });
  const { stdout, stderr, status: code } = await status();
  expect(stdout.split("\n").map((line) => line.trimEnd())).toEqual([
    expect.stringMatching(/^ {3}HOST {4}STATE {8}LAST CONTACT +PUBLISHED +REASON$/),
    expect.stringMatching(
      /^↩ {2}nas {5}rolled back {2}(just now|\d+ seconds? ago) +0{10}.. change number \d {2}no contact with the server$/,
    ),
    expect.stringMatching(/^✓ {2}router {2}up to date /),
    expect.stringMatching(/^✓ {2}web {5}up to date /),
    "",
    "3 hosts: 1 rolled back, 2 up to date",
    "",
  ]);
  expect([stderr, code]).toEqual(["", 1]);

  const { document } = await bentoJson<StatusDocument>(["status"], fleet.options);
  expect(statusDocumentSchema.strict().parse(document)).toEqual(document);
  expect(document.hosts.map(({ name, state, sync, health, wave }) => [name, state, sync, health, wave])).toEqual([
    ["nas", "rolled-back", "rolled-back", "ok", 2],
    ["router", "up-to-date", "applied", "ok", 2],
    ["web", "up-to-date", "applied", "ok", 1],
  ]);
  expect(document.hosts[0]?.attempted).toMatchObject({ outcome: "rolled-back", duration: 95 });
  expect(document.hosts[0]).toMatchObject({ history: null, log: null });
});

test("--host tells what became of its last attempts, newest first by when they came, with what their commits say", async () => {
  await succeed(
    "sh",
    ["-c", 'git -c user.name=Ada -c user.email=a@example.org commit -q --allow-empty -m "Open the <port>"'],
    {
      cwd: fleet.dir,
    },
  );
  const commit = await succeed("git", ["rev-parse", "HEAD"], { cwd: fleet.dir });
  await fleet.silence("router");
  await fleet.beat("router");
  // Its clock is ten years off: what counts is when the server got it.
  const wrong = { started: "2036-01-01T00:00:00.000Z", finished: "2036-01-01T00:00:45.000Z", sequence: 1, commit };
  await fleet.report("router", "failed", { ...wrong, reason: "attribute 'nginxx' missing" }, "first\n", 600);
  await fleet.report("router", "success");
  // That of the attempt before isn't taken for it.
  expect(await status("--host", "router", "--log")).toMatchObject({ stdout: "", status: 1 });
  const reports = (await readdir(fleet.reports("router"))).filter((name) => /^\d+-\d+\./.test(name));
  const [unlogged = ""] = reports.filter((name) => !reports.includes(name.replace(/json$/, "log.gz")));
  await fleet.put("router", unlogged.replace(/json$/, "log.gz"), gzipSync("line one\nline two\n"));
  const { stdout, status: code } = await status("--host", "router");
  const lines = stdout.split("\n");
  expect(lines[0]).toBe("✓ router up to date");
  expect(stdout).toContain(`  runs          ${systemOf("router", "new")}, of release `);
  expect(stdout).toMatch(/^ {2}wave {10}2$/m);
  const [heading, first, second, ...rest] = lines.slice(lines.indexOf("") + 1);
  expect(heading).toMatch(/^TIME \(UTC\) +OUTCOME +TOOK +COMMIT +SYSTEM +REASON$/);
  const [before, after] = ["old", "new"].map((seed) => systemOf("router", seed).slice(11, 19));
  expect(first).toMatch(
    new RegExp(`success +1 min +0{10}.. change number \\d +${before} → ${after} nixos-system-router-26.05$`),
  );
  expect(second).toMatch(
    new RegExp(`failed +45 s +${commit.slice(0, 12)} Open the <port> .* attribute 'nginxx' missing$`),
  );
  expect(rest).toEqual([""]);
  expect(code).toBe(0);

  expect(await status("--host", "router", "--log")).toMatchObject({ stdout: "line one\nline two\n", status: 0 });
  expect(await status("--host", "nas", "--log")).toMatchObject({
    stdout: "",
    stderr: "error: no log of nas is at the server: no contact with the server\n",
    status: 1,
  });
  const { document } = await bentoJson<StatusDocument>(["status", "--host", "router"], fleet.options);
  expect(document.hosts[0]?.history).toHaveLength(2);
  expect(document.hosts[0]?.log).toBe("line one\nline two\n");
  expect(statusDocumentSchema.strict().parse(document)).toEqual(document);
});

test("--html writes a page with every host's history and log, whole or not at all", async () => {
  const { stdout, status: code } = await status("--html", "out/site");
  expect(stdout).toContain("3 hosts: ");
  expect(code).toBe(1);
  const page = await readFile(path.join(fleet.dir, "out/site/index.html"), "utf8");
  const [, data = ""] = /<script type="application\/json" id="data">(.*?)<\/script>/s.exec(page) ?? [];
  const { title, hosts } = JSON.parse(data);
  expect(title).toBe("fleet");
  const router = hosts.find(({ name }: { name: string }) => name === "router");
  expect(router).toMatchObject({ log: "line one\nline two\n", state: "up-to-date" });
  expect(router.history.map(({ outcome }: { outcome: string }) => outcome)).toEqual(["success", "failed"]);
  expect(await readdir(path.join(fleet.dir, "out/site"))).toEqual(["index.html"]);
  await rm(path.join(fleet.dir, "out"), { recursive: true });

  const nowhere = await status("--html", "fleet.yaml/site");
  expect([nowhere.status, nowhere.stdout]).toEqual([3, ""]);
  expect(nowhere.stderr).toMatch(/^error: .*fleet\.yaml\/site\/index\.html can't be written \(ENOTDIR\)\n$/);
});

test("--metrics writes what Prometheus reads", async () => {
  expect((await status("--metrics", "out/bento.prom")).stdout).toContain("3 hosts: ");
  const text = await readFile(path.join(fleet.dir, "out/bento.prom"), "utf8");
  expect(text).toMatch(/^bento_host_state\{host="web",state="up-to-date",sync="applied",health="ok"\} 1$/m);
  expect(await readdir(path.join(fleet.dir, "out"))).toEqual(["bento.prom"]);
  await rm(path.join(fleet.dir, "out"), { recursive: true });
});

test("--notify runs a command once for each trouble, and once more when it is over", async () => {
  const out = path.join(fleet.world.dir, "notified");
  const state = path.join(fleet.world.dir, "state/told.json");
  const said = async () => (await readFile(out, "utf8").catch(() => "")).split("\n").filter((line) => line !== "");
  // What a host says is no part of the command.
  const evil = `$(touch ${out}.pwned) \`touch ${out}.pwned\`; touch ${out}.pwned '"`;
  const look = async (
    command = `cat >> ${out}; env | grep '^BENTO_\\(EVENT\\|HOST\\|STATE\\|STATE_BEFORE\\|REASON\\)' | sort >> ${out}`,
  ) => {
    await rm(out, { force: true });
    const { stderr, status: code } = await status(
      "--notify",
      command,
      "--notify-state",
      state,
      "--fail-on",
      "rolled-back,failed",
    );
    return { stderr, code, said: await said() };
  };
  await fleet.report("nas", "failed", { reason: evil });
  const broken = await look("echo no mail today >&2; exit 3");
  expect(broken.code).toBe(3);
  expect(broken.stderr).toBe(
    "error: the command of --notify failed for nas (status 3: no mail today)\n→ it is called again the next time\n",
  );
  const first = await look();
  expect(JSON.parse(first.said[0] ?? "")).toMatchObject({
    version: 1,
    event: "trouble",
    before: null,
    host: { name: "nas", state: "failed", reason: evil },
  });
  expect(first.said.slice(1)).toEqual([
    "BENTO_EVENT=trouble",
    "BENTO_HOST=nas",
    `BENTO_REASON=${evil}`,
    "BENTO_STATE=failed",
    "BENTO_STATE_BEFORE=",
  ]);
  expect((await look()).said).toEqual([]);
  await fleet.report("nas", "success");
  await fleet.beat("nas");
  expect((await look()).said.slice(1)).toContain("BENTO_EVENT=recovered");
  expect((await look()).said).toEqual([]);
  expect(existsSync(`${out}.pwned`)).toBe(false);
  await writeFile(state, "{");
  expect(await look()).toMatchObject({ code: 2, said: [] });
});

test("--fail-on says which states make the exit status 1", async () => {
  await fleet.report("nas", "rolled-back");
  expect((await status("--fail-on", "failed,silent")).status).toBe(0);
  expect((await status("--fail-on", "silent,rolled-back")).status).toBe(1);
  expect((await status("--fail-on", "up-to-date", "--hosts", "web")).status).toBe(1);
  expect((await status("--fail-on", "none")).status).toBe(0);
});

test.each([
  [["--fail-on", "rolledback"], "there is no state 'rolledback' to fail on\n→ did you mean 'rolled-back'?"],
  [
    ["--fail-on", "bad"],
    "there is no state 'bad' to fail on\n→ the states are: failed, rolled-back, refused, unknown, silent, inconclusive, drifted, suspended, reboot-pending, applying, pending, new, unreported, auto-updated, up-to-date; or none",
  ],
  [["--host", "ruter"], "no host is called 'ruter'\n→ did you mean 'router'?"],
  [["--host", "*"], "'*' is no host's name"],
  [["--log"], "--log needs --host NAME: whose log?"],
  [["--watch", "--json"], "--watch and --json don't go together\n→ run status --json as often as you like"],
  [["--watch", "--host", "nas"], "--watch shows the fleet, and --host one host\n→ --hosts NAME --watch watches one"],
  [["--watch", "--interval", "0"], "--interval must be a second at least, such as 10s"],
])("%j is refused", async (args, message) => {
  const { status: code, stdout, stderr } = await status(...args);
  expect([code, stdout, stderr]).toEqual([2, "", `error: ${message}\n`]);
});

test("--watch on no terminal prints the table, and then a line for each change", async () => {
  await fleet.report("nas", "success");
  await fleet.beat("nas");
  const running = await startBento(["status", "--watch", "--interval", "1s"], fleet.options);
  let shown = "";
  running.child.stdout?.on("data", (data) => {
    shown += data;
  });
  await vi.waitFor(() => expect(shown).toContain("3 hosts: 3 up to date\n"), { timeout: 30_000 });
  await fleet.report("nas", "failed", { reason: "\u001b[2Jno \u202espace" });
  await vi.waitFor(() => expect(shown).toContain(" nas: up to date → failed, "), { timeout: 30_000 });
  const sessions = fleet.world.server.sessions().length;
  await fleet.report("nas", "success");
  await vi.waitFor(() => expect(shown).toContain(" nas: failed → up to date, "), { timeout: 30_000 });
  // The same connection.
  expect(fleet.world.server.sessions()).toHaveLength(sessions);
  process.kill(running.pid, "SIGINT");
  const { status: code, stdout } = await running.finished;
  const lines = stdout.trimEnd().split("\n").slice(6);
  expect(lines).toHaveLength(2);
  expect(lines[0]).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d nas: up to date → failed, .*: \ufffd\[2Jno \ufffdspace$/);
  expect(code).toBe(0);
});

test("--watch on a terminal stays in its place, goes on when the server was away, and gives the terminal back", async () => {
  await fleet.report("nas", "success");
  const running = await startOnTerminal(["status", "--watch", "--interval", "1s"], fleet.options);
  let shown = "";
  running.child.stdout?.on("data", (data) => {
    shown += data;
  });
  await vi.waitFor(() => expect(shown).toContain("3 hosts: 3 up to date"), { timeout: 30_000 });
  await fleet.report("nas", "failed");
  await vi.waitFor(() => expect(shown).toContain("3 hosts: 1 failed, 2 up to date"), { timeout: 30_000 });
  // A window that is made smaller: as much as it has room for.
  const [pid] = running.children();
  const terminal = await succeed("readlink", [`/proc/${pid}/fd/1`]);
  const large = shown.length;
  await succeed("stty", ["-F", terminal, "cols", "30", "rows", "5"]);
  await vi.waitFor(() => expect(shown.slice(large)).toContain("… and 3 hosts more"), { timeout: 30_000 });
  const page = shown.split("\u001b[H").find((one) => one.includes("… and 3 hosts more"));
  const lines = stripVTControlCharacters(page ?? "").split("\r\n");
  expect(lines).toHaveLength(5);
  for (const line of lines) expect(line.length, line).toBeLessThanOrEqual(30);
  await succeed("stty", ["-F", terminal, "cols", "200", "rows", "50"]);
  await fleet.world.server.stop();
  await vi.waitFor(() => expect(shown).toMatch(/! .*(lost|reach)/), { timeout: 30_000 });
  await fleet.world.server.start();
  const before = shown.length;
  await fleet.report("nas", "success");
  await vi.waitFor(() => expect(shown.slice(before)).toContain("3 hosts: 3 up to date"), { timeout: 30_000 });
  for (const pid of running.children()) process.kill(pid, "SIGINT");
  await running.finished;
  const [open, home] = ["\u001b[?1049h\u001b[?25l", "\u001b[H"];
  expect(shown.split(open)).toHaveLength(2);
  expect(shown.split(home).length).toBeGreaterThan(3);
  // Nothing is cleared before it is drawn, and the rest of each line is.
  expect(shown).not.toContain("\u001b[2J");
  expect(shown).toContain("\u001b[K\r\n");
  // What it saw last stays on the page that was there before.
  const [, after = ""] = shown.split("\u001b[?25h\u001b[?1049l");
  expect(lineOf("nas", after)).toMatch(/up to date/);
});
