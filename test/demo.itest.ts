import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../src/platform/package.ts";

// scripts/demo as a user starts it. It takes minutes, so it is one of the long ones.
const all = test.skipIf(!process.env.BENTO_TEST_ALL);

interface Demo {
  status: number | null;
  signal: NodeJS.Signals | null;
  output: string;
}

/** Runs the demo in a process group of its own, as a terminal does; `interrupt` is sent to all of it when `at` is printed. */
function demo(interrupt?: { signal: NodeJS.Signals; at: string }): Promise<Demo> {
  const child = spawn(path.join(packageRoot(), "scripts/demo"), [], {
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  let sent = false;
  const add = (data: Buffer) => {
    output += data;
    if (interrupt === undefined || sent || !output.includes(interrupt.at) || child.pid === undefined) return;
    sent = true;
    process.kill(-child.pid, interrupt.signal);
  };
  child.stdout.on("data", add);
  child.stderr.on("data", add);
  return new Promise((resolve) => child.on("close", (status, signal) => resolve({ status, signal, output })));
}

/** What a demo may leave: files, logins, and processes that have its world in their environment or on their command line. */
function left(): string[] {
  const files = readdirSync("/var/lib").filter((name) => name.startsWith("bento-demo"));
  const logins = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .filter((line) => /^bd\d+-/.test(line));
  const mounts = readFileSync("/proc/mounts", "utf8")
    .split("\n")
    .filter((line) => line.includes("bento-demo"));
  const processes = readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return ["environ", "cmdline"].some((file) =>
        readFileSync(`/proc/${pid}/${file}`, "utf8").includes("bento-demo."),
      );
    } catch {
      return false;
    }
  });
  return [...files, ...logins, ...mounts, ...processes];
}

all("the demo tells its story to the end, and leaves nothing behind", { timeout: 400_000 }, async () => {
  const { status, output } = await demo();
  expect(output).toMatch(/Everything came out as told, in \d+ seconds\.\s*$/);
  expect(status).toBe(0);
  expect(left()).toEqual([]);
});

for (const [signal, at] of [
  ["SIGINT", "2. The mistake is mended"],
  ["SIGTERM", "[nas] bento-agent upgrade"],
  ["SIGHUP", "6. A change cuts a host off"],
] as const) {
  all(`interrupted by ${signal}, the demo leaves nothing behind`, { timeout: 400_000 }, async () => {
    const { status, output } = await demo({ signal, at });
    expect(output).not.toContain("came out as told");
    expect([130, 143]).toContain(status);
    expect(left()).toEqual([]);
  });
}
