import { addAbortSignal } from "node:stream";
import { StringDecoder } from "node:string_decoder";
import { setTimeout as pause } from "node:timers/promises";
import { FleetError, InterruptedError } from "../errors.ts";

/** Milliseconds in which what follows an Enter can only have been pasted with it. */
const PASTE = 100;

const INTERRUPT = "\x03";
const END_OF_FILE = "\x04";
const ENDS = ["\r", "\n", INTERRUPT, END_OF_FILE];

/**
 * A secret from standard input: all of it, byte for byte, or a little more than `limit` bytes of what is longer; on a terminal,
 * one line that isn't shown.
 * @throws FleetError when several lines were pasted; InterruptedError for ^C and ^D, and when `signal` is aborted.
 */
export async function readSecret(question: string, limit: number, signal: AbortSignal): Promise<Buffer> {
  if (process.stdin.isTTY !== true) return piped(process.stdin, limit, signal);
  // First, so that nothing that answers the question is shown.
  process.stdin.setRawMode(true);
  try {
    process.stderr.write(question);
    return Buffer.from(firstLine(await typed(process.stdin, signal)));
  } finally {
    process.stdin.setRawMode(false);
    process.stdin.pause();
    process.stderr.write("\n");
  }
}

async function piped(input: NodeJS.ReadStream, limit: number, signal: AbortSignal): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let size = 0;
  try {
    for await (const piece of addAbortSignal(signal, input)) {
      pieces.push(piece);
      size += piece.length;
      if (size > limit) break;
    }
  } catch (error) {
    if (signal.aborted) throw new InterruptedError();
    throw error;
  }
  return Buffer.concat(pieces);
}

/** What is typed up to an Enter or another key that ends it, and whatever was pasted with that. */
async function typed(terminal: NodeJS.ReadStream, signal: AbortSignal): Promise<string> {
  const decoder = new StringDecoder("utf8");
  let text = "";
  let heard = () => {};
  const add = (piece: string) => {
    text += piece;
    heard();
  };
  const onData = (data: Buffer) => add(decoder.write(data));
  const onEnd = () => add(END_OF_FILE);
  const onAbort = () => add(INTERRUPT);
  terminal.on("data", onData).on("end", onEnd);
  signal.addEventListener("abort", onAbort);
  if (signal.aborted) onAbort();
  try {
    while (!ENDS.some((end) => text.includes(end))) {
      await new Promise<void>((resolve) => {
        heard = resolve;
      });
    }
    // A second pasted line must not be left to the shell, which would run it and keep it in its history.
    for (let length = -1; length !== text.length; ) {
      length = text.length;
      await pause(PASTE);
    }
    return text;
  } finally {
    terminal.off("data", onData).off("end", onEnd);
    signal.removeEventListener("abort", onAbort);
  }
}

function firstLine(text: string): string {
  const letters: string[] = [];
  const all = [...text];
  const end = all.findIndex((letter) => ENDS.includes(letter));
  if (all[end] === INTERRUPT || all[end] === END_OF_FILE) throw new InterruptedError();
  if (all.slice(end).some((letter) => !ENDS.includes(letter))) {
    throw new FleetError("that was more than one line, and nothing was written", {
      hint: "give a secret of several lines on standard input (< FILE), or with bento secret edit",
    });
  }
  for (const letter of all.slice(0, end)) {
    // Backspace, and ^U for the whole line.
    if (letter === "\x7f" || letter === "\b") letters.pop();
    else if (letter === "\x15") letters.length = 0;
    else letters.push(letter);
  }
  return letters.join("");
}
