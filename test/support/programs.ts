import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { constants } from "node:os";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";

export interface Exit {
  /** 128 + the signal's number when a signal ended it. */
  status: number;
  stdout: string;
  stderr: string;
}

/** A program that runs. `done` is there when it has ended and nobody holds its output open any more. */
export interface Running {
  readonly pid: number;
  readonly child: ChildProcess;
  readonly done: Promise<Exit>;
}

export interface StartOptions {
  cwd?: string;
  /** Added to this process's environment; `undefined` removes a variable. */
  env?: Record<string, string | undefined>;
  /** A stream is for a program that is told things while it runs. */
  input?: string | Readable;
}

export function start(program: string, args: readonly string[], options: StartOptions = {}): Running {
  const child = spawn(program, args, {
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { ...process.env, ...options.env },
    stdio: ["pipe", "pipe", "pipe"],
  });
  const ended = new Promise<number>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (status, signal) => resolve(status ?? 128 + (signal ? constants.signals[signal] : 0)));
  });
  const outputs = Promise.all([text(child.stdout), text(child.stderr)]);
  // A program may end without having read what it was given.
  child.stdin.on("error", () => {});
  if (options.input instanceof Readable) options.input.pipe(child.stdin);
  else child.stdin.end(options.input ?? "");
  const done = ended.then(async (status) => {
    const [stdout, stderr] = await outputs;
    return { status, stdout, stderr };
  });
  return { pid: child.pid ?? 0, child, done };
}

export async function exec(program: string, args: readonly string[], options: StartOptions = {}): Promise<Exit> {
  return start(program, args, options).done;
}

/** Runs it, throws unless it succeeds, and gives what it printed, without the last line end. */
export async function succeed(program: string, args: readonly string[], options: StartOptions = {}): Promise<string> {
  const { status, stdout, stderr } = await exec(program, args, options);
  if (status !== 0) throw new Error(`${program} ${args.join(" ")} ended with status ${status}:\n${stderr}${stdout}`);
  return stdout.trimEnd();
}

/** Ends processes for good. One that is gone already is as good as ended. */
export function kill(pids: Iterable<number>, signal: NodeJS.Signals = "SIGKILL"): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  }
}

/** Every process that has `NAME=value` in the environment it was started with, but for this one. */
export function processesWith(name: string, value: string): number[] {
  const wanted = `${name}=${value}`;
  return processes().filter(
    (pid) => pid !== process.pid && (procFile(pid, "environ")?.split("\0").includes(wanted) ?? false),
  );
}

/** The processes below `pid`, and it itself. */
export function familyOf(pid: number): number[] {
  const parents = new Map(processes().map((child) => [child, parentOf(child)]));
  const family = [pid];
  for (const member of family) {
    for (const [child, parent] of parents) if (parent === member) family.push(child);
  }
  return family;
}

function processes(): number[] {
  return readdirSync("/proc").map(Number).filter(Number.isInteger);
}

function parentOf(pid: number): number {
  // The program's name stands in parentheses and may hold anything; the state and the parent follow the last one.
  const stat = procFile(pid, "stat") ?? "";
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
}

/** Undefined when the process is gone. */
export function procFile(pid: number, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "latin1");
  } catch {
    return undefined;
  }
}
