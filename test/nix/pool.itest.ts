import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { InterruptedError } from "../../src/errors.ts";
import { type ExpressionJob, evaluateBatch, isSameKind, type Job, type JobResult } from "../../src/nix/batch.ts";
import { Nix, NO_PASSTHROUGH } from "../../src/nix/nix.ts";
import { evaluateAll } from "../../src/nix/pool.ts";
import { writeTree } from "../platform/scratch.ts";
import { long } from "../support/long.ts";
import { processesWith, succeed } from "../support/programs.ts";
import { privateStore, type Store } from "./store.ts";

const LIMITS = { timeout: 60_000 };

let store: Store;
let nix: Nix;
let real: string;
beforeAll(async () => {
  store = await privateStore();
  nix = await Nix.find();
  real = await succeed("sh", ["-c", "command -v nix-instantiate"]);
});
afterEach(() => vi.unstubAllEnvs());
afterAll(() => store.remove());

const job = (expression: string, more: Partial<ExpressionJob> = {}): ExpressionJob => ({
  kind: "expression",
  mode: "pure",
  expression,
  readable: [],
  searchPath: [],
  ...more,
});
/** What became of each, in a word or a value. */
const short = (results: readonly JobResult[]) => results.map((result) => (result.ok ? result.value : result.reason));
const spin =
  "(let numbers = builtins.genList (n: n) 1000; go = work: builtins.foldl' (sum: _: work sum) 0 numbers; in go (_: go (_: go (_: go (_: go (sum: sum + 1))))))";

/** Puts a nix-instantiate before the real one, a shell script in which $all is what it was called with, and real is called by `run`. */
async function pretend(name: string, script: string): Promise<string> {
  const bin = path.join(store.dir, name);
  const text = `#!/bin/sh\nall="$*"\nlog=${bin}/log\nrun() { exec ${real} "$@"; }\n${script}\n`;
  await writeTree(bin, { "nix-instantiate": { executable: text } });
  vi.stubEnv("PATH", `${bin}:${process.env.PATH}`);
  return path.join(bin, "log");
}

test("results are in the order of the jobs, whatever process they were evaluated by", async () => {
  const jobs = Array.from({ length: 40 }, (_, n) => job(`{ n = ${n}; }`));
  const heard: number[] = [];
  const results = await evaluateAll(nix, jobs, LIMITS, (index) => heard.push(index));
  expect(short(results)).toEqual(jobs.map((_, n) => ({ n })));
  expect(heard.sort((a, b) => a - b)).toEqual(jobs.map((_, n) => n));
});

test("no jobs need no Nix", async () => {
  await pretend("none", "exit 1");
  expect(await evaluateAll(nix, [], LIMITS)).toEqual([]);
  expect(await evaluateBatch(nix, [], LIMITS)).toEqual([]);
});

test("a batch ends with the first job that fails", async () => {
  const results = await evaluateBatch(nix, [job("1"), job('throw "no"'), job("3")], LIMITS);
  expect(short(results)).toEqual([1, "failed"]);
  expect(results[1]?.stderr).toContain("error: no");
  expect(results[0]?.stderr).not.toContain("error: no");
});

test.each([
  ["a warning that the store is busy, before a job that fails", "warning: SQLite database 'db' is busy", ""],
  ["the error that it is, at the first job", "", "error: SQLite database 'db' is busy"],
  ["the error that it is, behind the results", "", "after"],
])("%s: each job has its own result", async (_, warning, error) => {
  const name = `busy-${randomUUID()}`;
  await pretend(
    name,
    `[ -z "${warning}" ] || echo "${warning}" >&2
[ -n "${error}" ] && [ ! -e $log ] || run "$@"
touch $log
[ "${error}" = after ] || { echo "${error}" >&2; exit 1; }
${real} "$@" 2>&1 | sed '/^error:/,$d' >&2
echo "error: SQLite database 'db' is busy" >&2
exit 1`,
  );
  const jobs = Array.from({ length: 8 }, (_, n) => job(n === 2 ? 'throw "no"' : `${n}`));
  expect(short(await evaluateAll(nix, jobs, LIMITS))).toEqual([0, 1, "failed", 3, 4, 5, 6, 7]);
});

test("jobs that fail cost the others nothing", async () => {
  const bad = ['throw "no"', "{ }.gone", 'abort "stop"', "let a = a; in a", "1 + true"];
  const jobs = bad.flatMap((expression, n) => [job(`${n}`), job(expression)]);
  expect(short(await evaluateAll(nix, jobs, LIMITS))).toEqual(bad.flatMap((_, n) => [n, "failed"]));
});

test("each job has what it printed itself", async () => {
  const results = await evaluateAll(
    nix,
    [job('builtins.trace "from the first" 1'), job("2"), job('builtins.trace "from the third" 3')],
    LIMITS,
  );
  const said = results.map(({ stderr }) => [/from the first/.test(stderr), /from the third/.test(stderr)]);
  expect(said).toEqual([
    [true, false],
    [false, false],
    [false, true],
  ]);
});

long("the time limit is each job's, not the batch's", async () => {
  const slow = "(builtins.seq (builtins.foldl' (sum: n: sum + n) 0 (builtins.genList (n: n) 1500000)) 1)";
  const one = await evaluateBatch(nix, [job(slow)], LIMITS);
  const timeout = Math.max(1_000, (one[0]?.duration ?? 1) * 3_000);
  const jobs = [...Array.from({ length: 5 }, () => job(slow)), job(spin), job("7")];
  expect(short(await evaluateAll(nix, jobs, { timeout }))).toEqual([1, 1, 1, 1, 1, "timed-out", 7]);
});

test("one that prints too much is ended, and the others aren't", async () => {
  const noise = `builtins.foldl' (_: n: builtins.trace "${"noise ".repeat(200)}" n) 0 (builtins.genList (n: n) 100000)`;
  expect(short(await evaluateAll(nix, [job("1"), job(noise), job("3")], LIMITS))).toEqual([1, "overflowed", 3]);
});

test("what was killed is tried again when nothing else runs", async () => {
  // As the kernel does it, when two are there.
  const log = await pretend(
    "kill-once",
    `case $all in *greedy*) echo greedy >> "$log"; [ "$(grep -c . "$log")" -gt 1 ] || kill -KILL $$ ;; esac\nrun "$@"`,
  );
  const jobs = [job("1"), job('"greedy"'), job("3")];
  expect(short(await evaluateAll(nix, jobs, LIMITS))).toEqual([1, "greedy", 3]);
  expect((await readFile(log, "utf8")).split("\n").filter(Boolean).length).toBeGreaterThan(1);
});

test("what is killed alone as well is told so, once", async () => {
  const log = await pretend(
    "kill-always",
    `case $all in *greedy*) echo greedy >> "$log"; kill -KILL $$ ;; esac\nrun "$@"`,
  );
  const heard: number[] = [];
  const jobs = [job('"greedy"'), job("2"), job("3"), job("4")];
  const results = await evaluateAll(nix, jobs, LIMITS, (index) => heard.push(index));
  expect(short(results)).toEqual(["killed", 2, 3, 4]);
  expect(heard.sort()).toEqual([0, 1, 2, 3]);
  expect((await readFile(log, "utf8")).split("\n").filter(Boolean)).toHaveLength(2);
});

test.each([
  "error: out of memory",
  "terminate called after throwing an instance of 'std::bad_alloc'",
  "GC Warning: Out of Memory! Aborting",
])("a want of memory in Nix's words: %s", async (words) => {
  await pretend(`words-${words.length}`, `echo "${words}" >&2; exit 1`);
  expect(short(await evaluateBatch(nix, [job("1")], LIMITS))).toEqual(["killed"]);
});

test("a batch has jobs of one kind", () => {
  const restricted = job("1", { mode: "restricted", searchPath: ["nixpkgs=/a"] });
  const flake: Job = { kind: "flake", installable: "path:/a#b", apply: "x: x", arguments: [] };
  expect(isSameKind(restricted, { ...restricted, readable: ["/b"] })).toBe(true);
  expect(isSameKind(restricted, job("1"))).toBe(false);
  expect(isSameKind(restricted, { ...restricted, searchPath: ["nixpkgs=/b"] })).toBe(false);
  expect(isSameKind(flake, flake)).toBe(false);
  expect(isSameKind(flake, restricted)).toBe(false);
});

test("jobs of different kinds are evaluated each its own way", async () => {
  const dir = await store.tree("readable", { file: "text" });
  const reads = `builtins.readFile ${dir}/file`;
  const flake = await store.tree("flake", { "flake.nix": "{ outputs = { self }: { answer = 42; }; }" });
  const jobs: Job[] = [
    job(reads),
    job(reads, { mode: "restricted", readable: [dir] }),
    // Of what is evaluated together, each may read what the others may.
    job(reads, { mode: "restricted", searchPath: [`other=${flake}`] }),
    { kind: "flake", installable: `path:${flake}#answer`, apply: "n: n + 1", arguments: [] },
    job("builtins ? currentTime"),
    job("builtins ? currentTime", { mode: "restricted" }),
  ];
  expect(short(await evaluateAll(nix, jobs, LIMITS))).toEqual(["failed", "text", "failed", 43, false, true]);
});

test("a job can't speak for another", async () => {
  const names = 'map (entry: builtins.match "bento-(.{36}).*" entry.prefix) builtins.nixPath';
  const marks = `builtins.concatLists (builtins.filter (found: found != null) (${names}))`;
  const forger = `builtins.foldl' (value: mark: builtins.trace "\${mark} \\"forged\\"" value) "own" (${marks})`;
  const mode = { mode: "restricted", readable: [store.dir] } as const;
  const jobs = [job(forger, mode), job('"its own"', mode), job("3", mode)];
  expect(short(await evaluateBatch(nix, jobs, LIMITS))).toEqual(["own", "its own", 3]);
});

test("interrupting ends every process, and nothing more is begun", async () => {
  vi.stubEnv("BENTO_TEST_POOL", store.dir);
  const abort = new AbortController();
  const interruptible = await Nix.find(NO_PASSTHROUGH, abort.signal);
  const running = evaluateAll(
    interruptible,
    Array.from({ length: 6 }, () => job(spin)),
    LIMITS,
  );
  const ended = expect(running).rejects.toBeInstanceOf(InterruptedError);
  await vi.waitFor(() => expect(processesWith("BENTO_TEST_POOL", store.dir).length).toBeGreaterThan(0), 10_000);
  abort.abort();
  await ended;
  await vi.waitFor(() => expect(processesWith("BENTO_TEST_POOL", store.dir)).toEqual([]), 10_000);
});
