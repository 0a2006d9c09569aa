import { chmod, mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { InterruptedError, UnavailableError } from "../../src/errors.ts";
import { type RunOptions, run } from "../../src/platform/process.ts";
import { scratch } from "./scratch.ts";

/** Runs a script with Node itself, which every machine that runs this has. */
const node = (script: string, args: readonly string[] = [], options: RunOptions = {}) =>
  run(process.execPath, ["-e", script, ...args], options);

/** A script that says it is there and stays until somebody ends it. */
const STAYS = "console.error('ready'); setInterval(() => {}, 1000);";

test("gives status and output, and a failure is a result", async () => {
  const result = await node("console.log('out'); console.error('err'); process.exit(7)");
  expect(result).toEqual({ status: 7, stdout: "out\n", stderr: "err\n", timedOut: false, overflowed: false });
});

test("a program that a signal ended has 128 and the signal's number as its status, as in a shell", async () => {
  expect((await node("process.kill(process.pid, 'SIGKILL')")).status).toBe(137);
  expect((await node("process.kill(process.pid, 'SIGTERM')")).status).toBe(143);
});

test("arguments arrive as they are, past any shell", async () => {
  const special = fc.constantFrom(" ", '"', "'", "\\", "$", "`", "*", ";", "&", "|", "\n", "é", "𝄞", "-", "$(id)", "~");
  const argument = fc.array(fc.oneof(special, fc.constantFrom("a", "b")), { maxLength: 6 }).map((a) => a.join(""));
  await fc.assert(
    fc.asyncProperty(fc.array(argument, { maxLength: 4 }), async (args) => {
      const result = await node("console.log(JSON.stringify(process.argv.slice(1)))", ["--", ...args]);
      expect(JSON.parse(result.stdout)).toEqual(args);
    }),
    { numRuns: 12 },
  );
});

test("a program's path may have spaces in it", async () => {
  await using dir = await scratch();
  const program = path.join(dir.path, "my programs", "say it");
  await mkdir(path.dirname(program));
  await writeFile(program, '#!/bin/sh\nprintf "%s|" "$0" "$@"\n');
  await chmod(program, 0o755);
  expect((await run(program, ["a b", ""])).stdout).toBe(`${program}|a b||`);
});

test("standard input is what is given, and empty otherwise", async () => {
  const echo = "process.stdin.pipe(process.stdout)";
  const bytes = "x".repeat(200_000);
  expect((await node(echo, [], { input: Buffer.from(bytes) })).stdout).toBe(bytes);
  expect((await node(echo)).stdout).toBe("");
});

test("a program that doesn't read its input takes nobody down with it", async () => {
  const result = await node("process.exit(3)", [], { input: Buffer.alloc(4 * 1024 * 1024) });
  expect(result.status).toBe(3);
});

test("the environment is this process's with the changes, and undefined takes a variable away", async () => {
  process.env.BENTO_TEST_KEPT = "kept";
  process.env.BENTO_TEST_GONE = "there";
  try {
    const script =
      "const e = process.env; console.log([e.BENTO_TEST_KEPT, e.BENTO_TEST_GONE, e.BENTO_TEST_NEW].join())";
    const result = await node(script, [], { env: { BENTO_TEST_GONE: undefined, BENTO_TEST_NEW: "new" } });
    expect(result.stdout).toBe("kept,,new\n");
  } finally {
    delete process.env.BENTO_TEST_KEPT;
    delete process.env.BENTO_TEST_GONE;
  }
});

test("runs in the directory it is told", async () => {
  await using dir = await scratch();
  expect((await node("console.log(process.cwd())", [], { cwd: dir.path })).stdout).toBe(`${dir.path}\n`);
});

test("stderr is passed on as it comes, and whole letters of it", async () => {
  const pieces: string[] = [];
  const script =
    "process.stderr.write(Buffer.from([0xc3])); setTimeout(() => process.stderr.write(Buffer.from([0xa9, 0x0a])), 200)";
  const result = await node(script, [], { onStderr: (text) => pieces.push(text) });
  expect(result.stderr).toBe("é\n");
  expect(pieces.join("")).toBe("é\n");
});

test("a program that isn't there could not be run: by its name, or its path", async () => {
  await using dir = await scratch();
  for (const program of ["bento-no-such-program", path.join(dir.path, "nothing")]) {
    const error = await run(program, []).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(UnavailableError);
    expect((error as Error).message).toBe(`${program} was not found on this machine`);
  }
});

test("a program that takes too long is ended, and what it said until then is there", async () => {
  const result = await node(STAYS, [], { timeout: 700 });
  expect(result).toMatchObject({ status: 143, stderr: "ready\n", timedOut: true, overflowed: false });
});

test("a timeout that has passed before the program started ends it too", async () => {
  expect(await node(STAYS, [], { timeout: 0 })).toMatchObject({ timedOut: true, status: 143 });
});

test("a program that won't be ended is killed", async () => {
  const stubborn = "process.on('SIGTERM', () => {}); console.error('ready'); setInterval(() => {}, 1000)";
  const abort = new AbortController();
  const result = node(stubborn, [], { signal: abort.signal, onStderr: () => abort.abort() });
  await expect(result).rejects.toBeInstanceOf(InterruptedError);
});

test("a program that prints without end is ended, and no more is kept than was allowed", async () => {
  const script = "const say = () => process.stdout.write('x'.repeat(1000), say); say();";
  const result = await node(script, [], { maxOutput: 100_000 });
  expect(result).toMatchObject({ overflowed: true, timedOut: false, status: 143 });
  expect(result.stdout.length).toBeLessThanOrEqual(100_000);
});

test("output of exactly the size allowed is whole, and no overflow", async () => {
  const result = await node("process.stdout.write('x'.repeat(5000))", [], { maxOutput: 5000 });
  expect(result).toMatchObject({ overflowed: false, status: 0, stdout: "x".repeat(5000) });
});

test("aborting ends the program and throws", async () => {
  const abort = new AbortController();
  let child = 0;
  const script = `console.error(process.pid); ${STAYS}`;
  const running = node(script, [], {
    signal: abort.signal,
    onStderr: (text) => {
      child ||= Number.parseInt(text, 10);
      abort.abort();
    },
  });
  await expect(running).rejects.toBeInstanceOf(InterruptedError);
  expect(child).toBeGreaterThan(0);
  expect(() => process.kill(child, 0)).toThrow(/ESRCH/);
});

test("aborting before the program has started ends it as well", async () => {
  const abort = new AbortController();
  const started = performance.now();
  const running = node("setTimeout(() => {}, 20_000)", [], { signal: abort.signal });
  abort.abort();
  await expect(running).rejects.toBeInstanceOf(InterruptedError);
  expect(performance.now() - started).toBeLessThan(4_000);
});

test("an abort of long ago starts nothing", async () => {
  await using dir = await scratch();
  const mark = path.join(dir.path, "mark");
  const running = node(`require("node:fs").writeFileSync(${JSON.stringify(mark)}, "")`, [], {
    signal: AbortSignal.abort(),
  });
  await expect(running).rejects.toBeInstanceOf(InterruptedError);
});

test("many at once keep their outputs and their ends apart", async () => {
  const aborts = [0, 1, 2, 3].map(() => new AbortController());
  const all = aborts.map((abort, i) =>
    node(i % 2 ? STAYS : `console.log(${i})`, [], { signal: abort.signal }).then(
      (result) => result.stdout,
      (error: Error) => error.constructor.name,
    ),
  );
  expect(await all[0]).toBe("0\n");
  expect(await all[2]).toBe("2\n");
  aborts[1]?.abort();
  aborts[3]?.abort();
  expect(await Promise.all(all)).toEqual(["0\n", "InterruptedError", "2\n", "InterruptedError"]);
});
