import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { CheckDocument } from "../../src/results.ts";
import { runStep } from "../action/runner.ts";
import { kill, succeed } from "../support/programs.ts";
import { bento, bentoJson, bentoOnTerminal, startBento } from "./bento.ts";
import { type BuildFleet, buildFleet } from "./build-fleet.ts";
import { makeFifo, reached } from "./fifo.ts";

let fleet: BuildFleet;

beforeAll(async () => {
  fleet = await buildFleet({ alpha: "p.shared p.broken", beta: "p.broken p.shared", gamma: "p.shared" });
});

afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]();
});

const build = (...args: string[]) => bento(["build", ...args], { cwd: fleet.dir, env: fleet.env });
const buildJson = (...args: string[]) =>
  bentoJson<CheckDocument>(["build", ...args], { cwd: fleet.dir, env: fleet.env });
const outcome = ({ document }: { document: CheckDocument }) =>
  Object.fromEntries(document.hosts.map(({ name, status }) => [name, status]));

test("what fails stops only those that need it; its log is shown once at its end, and kept whole", async () => {
  const { status, stdout, stderr } = await build();
  expect(status).toBe(1);
  expect(stdout).toMatch(/^✗ {2}alpha {2}failed\n {4}broken-1\.0 failed to build: builder failed with exit code 3\n/m);
  expect(stdout).toMatch(/^✗ {2}beta {3}failed\n {4}broken-1\.0 failed to build/m);
  expect(stdout).toMatch(/^✓ {2}gamma {2}ok {6}2 built/m);
  expect(stdout.match(/line 99/g)).toHaveLength(1);
  expect(stdout).not.toContain("line 30");
  const file = /→ the whole log: (.*)$/m.exec(stdout)?.[1] ?? "";
  const log = await readFile(file, "utf8");
  expect(log).toMatch(/^line 0\nline 1\n/);
  // Neither of them acts on a terminal.
  for (const text of [log, stdout]) {
    expect(text).toContain("red\n");
    // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what must not be there.
    expect(text).not.toMatch(/[\u001b\u0007]/);
  }
  // Nobody watches a terminal here: steps are lines.
  expect(stderr).toContain("building 3 of 3 hosts\n");
  expect(stderr).toContain("built gamma (1 of 3 hosts)\n");
  expect(await readFile(path.join(fleet.store.dir, "shared-builds"), "utf8")).toBe("built\n");
});

test("garbage that is collected as soon as something is built takes nothing of it away, also where other hosts fail", async () => {
  await fleet.set("epsilon", "p.shared (p.big 7)");
  const bin = path.join(fleet.store.dir, "collecting");
  await mkdir(bin);
  const real = await succeed("sh", ["-c", "command -v nix-store"]);
  const script = `#!/bin/sh\n${real} "$@"\nstatus=$?\ncase " $* " in *" --keep-going "*) ${real} --gc > ${bin}/log 2>&1 ;; esac\nexit $status\n`;
  await writeFile(path.join(bin, "nix-store"), script, { mode: 0o755 });
  const env = { ...fleet.env, PATH: `${bin}:${process.env.PATH}` };
  const args = ["build", "--hosts", "alpha,epsilon"];
  const { document, status } = await bentoJson<CheckDocument>(args, { cwd: fleet.dir, env });
  expect([status, document.hosts.map(({ status }) => status)]).toEqual([1, ["failed", "ok"]]);
  expect(await readFile(path.join(bin, "log"), "utf8")).toMatch(/store paths deleted/);
  await fleet.gc();
  await succeed("nix-store", ["--check-validity", document.hosts[1]?.toplevel ?? ""]);
  // What kept it until then is gone, and no host of this fleet's.
  const [roots = ""] = await readdir(path.join(fleet.state, "bento/roots"));
  expect(await readdir(path.join(fleet.state, "bento/roots", roots))).not.toContainEqual(expect.stringMatching(/^\./));
});

test("a host that can't be built here is told from one that fails, and the others are built", async () => {
  await fleet.set("phone", "p.shared p.foreign");
  await fleet.set("wizard", "p.special");
  await fleet.set("delta", "p.shared (p.big 1)");
  const built = await buildJson("--hosts", "phone,wizard,delta");
  expect(outcome(built)).toEqual({ phone: "skipped", wizard: "skipped", delta: "ok" });
  expect(built.status).toBe(0);
  expect(built.document.warnings).toEqual([
    expect.stringMatching(/^phone: not built, as neither this machine nor a remote builder .* builds riscv64-linux \(/),
    expect.stringMatching(/^wizard: not built, .* builds (?:\S+-linux with )?features teleport \(/),
  ]);
});

test("a build that fails can't pass itself off as one that can't be built here", async () => {
  await fleet.set("liar", "p.liar");
  const built = await buildJson("--hosts", "liar");
  expect(outcome(built)).toEqual({ liar: "failed" });
  expect(built.document.hosts[0]?.error?.message).toBe("liar-1.0 failed to build: builder failed with exit code 1");
});

test("compared with a base, only what changes is built", async () => {
  await fleet.set("gamma", "p.shared (p.big 2)");
  const built = await buildJson("--hosts", "alpha,gamma", "--base", "HEAD~1");
  expect(outcome(built)).toEqual({ alpha: "unchanged", gamma: "changed" });
  expect(built.status).toBe(0);
});

test("--logs says where logs are put", async () => {
  const logs = path.join(fleet.store.dir, "my logs");
  const { document } = await buildJson("--hosts", "alpha", "--logs", logs);
  const { log = "", derivation = "" } = document.hosts[0]?.error ?? {};
  expect(log).toBe(path.join(logs, `${path.basename(derivation, ".drv")}.log`));
  expect(existsSync(log)).toBe(true);
});

test("on a terminal the progress line says how far it is", async () => {
  const { stdout } = await bentoOnTerminal(["build", "--hosts", "alpha,gamma"], { cwd: fleet.dir, env: fleet.env });
  expect(stdout).toContain("\r\u001b[Kbuilding: 1 of 2 hosts");
});

test("on Actions, what is built is folded, and a log is no workflow command", async () => {
  await fleet.set("epsilon", "p.broken (p.big 3)");
  const step = await runStep({
    workspace: fleet.dir,
    inputs: { command: "build", hosts: "epsilon,gamma" },
    env: { ...fleet.env, HOME: process.env.HOME },
  });
  expect(step.status).toBe(1);
  const groups = step.commands.filter(({ name }) => name === "group").map(({ data }) => data);
  expect(groups).toEqual(["building 1 of 2 hosts", "the end of broken-1.0's log, which epsilon needs"]);
  expect(step.commands.filter(({ name }) => name === "endgroup")).toHaveLength(2);
  expect(step.log).toContain("::error::no annotation");
  expect(step.annotations("error").map(({ data }) => data)).toEqual([
    expect.stringMatching(/^broken-1\.0 failed to build: builder failed with exit code 3\n→ the whole log: /),
    "bento build: 1 failed: epsilon",
  ]);
});

test("interrupting ends what is being built", async () => {
  const fifo = await makeFifo(path.join(fleet.store.dir, "fifo"));
  await fleet.set("zeta", "p.endless");
  const running = await startBento(["build", "--hosts", "zeta"], { cwd: fleet.dir, env: fleet.env });
  await using _held = await reached(fifo, running);
  kill([running.pid], "SIGINT");
  // `finished` fails when there is a process left.
  expect((await running.finished).status).toBe(130);
});
