import { AsyncLocalStorage } from "node:async_hooks";
import type { ChildProcess } from "node:child_process";
import { subscribe } from "node:diagnostics_channel";
import { constants } from "node:os";
import { StringDecoder } from "node:string_decoder";
import { exec } from "@actions/exec";
import { InterruptedError, UnavailableError } from "../errors.ts";

export interface RunOptions {
  cwd?: string;
  /** Added to this process's environment; `undefined` removes a variable. */
  env?: Record<string, string | undefined>;
  /** Standard input; by default there is none. */
  input?: Buffer;
  signal?: AbortSignal;
  /** Ends the program when it is aborted; its status tells, and nothing is thrown. */
  kill?: AbortSignal;
  /** Told the program's process id. */
  onStart?: (pid: number) => void;
  /** Milliseconds after which the program is ended and the result says `timedOut`. */
  timeout?: number;
  /** Milliseconds between asking it to end and killing it. Default 10 s. */
  grace?: number;
  /** Bytes of stdout and of stderr kept, each; a program that prints more is ended. Default 64 MiB. */
  maxOutput?: number;
  /** Called with each piece of stdout as it comes: for output that is no text. */
  onStdout?: (data: Buffer) => void;
  /** Called with each piece of stderr as it comes. */
  onStderr?: (text: string) => void;
  /** Output goes to `onStdout` and `onStderr` alone, however much it is; the result has none. */
  keepNothing?: boolean;
}

export interface RunResult {
  /** The exit status; 128 + the signal's number when a signal ended the program. */
  status: number;
  stdout: string;
  stderr: string;
  timedOut: boolean;
  /** The program printed more than `maxOutput` and was ended. */
  overflowed: boolean;
}

/**
 * Milliseconds between asking a program to end and killing it. Nix first ends its builders and lets go of its locks, which takes
 * a busy machine a while; killed before, it leaves builders without a daemon running for good.
 */
const KILL_GRACE = 10_000;

interface Slot {
  child?: ChildProcess;
  /** Called when the program runs. */
  spawned: (child: ChildProcess) => void;
}

// @actions/exec offers neither a timeout nor a way to end what it started. Node announces every child process on a
// diagnostics channel, in the async context of the call that spawned it; that is how `run` gets hold of its own.
const spawning = new AsyncLocalStorage<Slot>();
let listening = false;

function listen(): void {
  if (listening) return;
  listening = true;
  subscribe("child_process", (message) => {
    const slot = spawning.getStore();
    if (!slot || slot.child !== undefined) return;
    const child = (message as { process: ChildProcess }).process;
    slot.child = child;
    child.once("spawn", () => slot.spawned(child));
  });
}

/**
 * Runs `program` with an argument vector, never through a shell, and gives its exit status and output. A status other than
 * zero is a result, not an error.
 *
 * @throws UnavailableError when the program isn't there; InterruptedError when `signal` aborted it.
 */
export async function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  if (options.signal?.aborted) throw new InterruptedError();
  listen();
  const maxOutput = options.maxOutput ?? 64 * 1024 * 1024;
  const out = options.keepNothing ? nothingKept : collector(maxOutput);
  const err = options.keepNothing ? nothingKept : collector(maxOutput);
  let timedOut = false;
  let overflowed = false;
  let killTimer: NodeJS.Timeout | undefined;
  let unwanted = false;

  const slot: Slot = {
    spawned: (child) => {
      // A program may end without reading its input; that is its own affair, and its status tells.
      child.stdin?.on("error", () => {});
      if (child.pid !== undefined) options.onStart?.(child.pid);
      if (unwanted) end();
    },
  };
  const end = () => {
    // It may not run yet; then it is ended as soon as it does.
    unwanted = true;
    const child = slot.child;
    if (child?.pid === undefined || killTimer) return;
    child.kill("SIGTERM");
    killTimer = setTimeout(() => child.kill("SIGKILL"), options.grace ?? KILL_GRACE);
  };
  const take = (into: Collector) => (data: Buffer) => {
    if (!into.add(data)) {
      overflowed = true;
      end();
    }
  };
  const decoder = new StringDecoder("utf8");
  const timeout =
    options.timeout === undefined
      ? undefined
      : setTimeout(() => {
          timedOut = true;
          end();
        }, options.timeout);
  options.signal?.addEventListener("abort", end);
  options.kill?.addEventListener("abort", end);
  if (options.kill?.aborted) end();
  try {
    const status: number | null = await spawning.run(slot, () =>
      // Its first argument is split at spaces like a shell's; the quotes keep a path with spaces in one piece.
      exec(`"${program}"`, [...args], {
        silent: true,
        ignoreReturnCode: true,
        ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
        env: environment(options.env),
        input: options.input ?? Buffer.alloc(0),
        listeners: {
          stdout: (data) => {
            take(out)(data);
            options.onStdout?.(data);
          },
          stderr: (data) => {
            take(err)(data);
            options.onStderr?.(decoder.write(data));
          },
        },
      }),
    );
    if (options.signal?.aborted) throw new InterruptedError();
    const signalNumber = slot.child?.signalCode ? constants.signals[slot.child.signalCode] : 0;
    return { status: status ?? 128 + signalNumber, stdout: out.text(), stderr: err.text(), timedOut, overflowed };
  } catch (error) {
    if (options.signal?.aborted) throw new InterruptedError();
    if (error instanceof Error && /unable to locate executable|ENOENT/i.test(error.message)) {
      throw new UnavailableError(`${program} was not found on this machine`, { cause: error });
    }
    throw error;
  } finally {
    clearTimeout(timeout);
    clearTimeout(killTimer);
    options.signal?.removeEventListener("abort", end);
    options.kill?.removeEventListener("abort", end);
  }
}

/** @actions/exec replaces the environment where it is given one, so this makes the whole of it. */
function environment(changes: Record<string, string | undefined> = {}): Record<string, string> {
  const whole = { ...process.env, ...changes };
  return Object.fromEntries(Object.entries(whole).filter((pair): pair is [string, string] => pair[1] !== undefined));
}

interface Collector {
  /** False when there is no more room. */
  add(data: Buffer): boolean;
  text(): string;
}

const nothingKept: Collector = { add: () => true, text: () => "" };

function collector(limit: number): Collector {
  const pieces: Buffer[] = [];
  let size = 0;
  return {
    add(data: Buffer): boolean {
      if (size + data.length > limit) return false;
      pieces.push(data);
      size += data.length;
      return true;
    },
    text: () => Buffer.concat(pieces).toString("utf8"),
  };
}
