import { spawn } from "node:child_process";
import { once } from "node:events";
import { succeed } from "../support/programs.ts";
import type { RunningBento } from "./bento.ts";

/** The other end of a fifo, held open: who reads from it waits until it is closed. */
export interface Held extends AsyncDisposable {
  close(): Promise<void>;
}

export async function makeFifo(file: string): Promise<string> {
  await succeed("mkfifo", [file]);
  return file;
}

/**
 * Resolves when somebody reads from a fifo, which is how something under test says that it has come that far. Throws when the
 * command has ended without.
 */
export async function reached(fifo: string, { done }: RunningBento): Promise<Held> {
  // To open a fifo for writing takes as long as nobody reads from it: another program does, since it can be given up.
  const holder = spawn("sh", ["-c", 'exec 3> "$0" && echo reached && exec cat', fifo], {
    stdio: ["pipe", "pipe", "ignore"],
  });
  const ended = once(holder, "close");
  const close = async () => {
    holder.stdin.end();
    await ended;
  };
  try {
    await Promise.race([
      once(holder.stdout, "data"),
      done.then((exit) => {
        throw new Error(`it has ended, and never came there: ${JSON.stringify(exit)}`);
      }),
    ]);
  } catch (error) {
    holder.kill("SIGKILL");
    throw error;
  }
  return { close, [Symbol.asyncDispose]: close };
}
