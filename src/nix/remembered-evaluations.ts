import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { constants } from "node:fs";
import { open, readdir, rm, stat, utimes } from "node:fs/promises";
import path from "node:path";
import { makeDirectory, writeFileAtomically } from "../platform/files.ts";
import type { Nix } from "./nix.ts";
import systemExpression from "./system.nix";

/** Raised when what is remembered has another form. */
const FORMAT = 1;
/** Milliseconds after its last use that something is forgotten. */
const LIFETIME = 30 * 24 * 3600 * 1000;
/** A use is noted once in this many milliseconds: a note is a write. */
const NOTE = 24 * 3600 * 1000;
/** Bytes of an entry, at most; one has a few hundred, and whatever the evaluation has warned of. */
const MAX_SIZE = 16 * 1024 ** 2;

/**
 * Remembers what pure evaluations gave, each under a hash of everything that it depends on, so that nothing is evaluated
 * twice. A directory of JSON files, which CI can keep between jobs.
 *
 * Whoever can write to that directory can say what an evaluation gave. With a secret, only that is believed which was
 * remembered with the same secret: each entry has a message authentication code (HMAC-SHA-256) of its key and its content.
 *
 * `others` are directories of somebody else's, which are never written to: what is there counts only by its code, and so, without
 * a secret, not at all.
 */
export class EvaluationMemory {
  readonly #dir: string;
  readonly #secret: string | null;
  readonly #others: readonly string[];
  /** Part of the names of files, so that those with different secrets don't overwrite one another's. */
  readonly #suffix: string;

  constructor(dir: string, secret: string | null = null, others: readonly string[] = []) {
    this.#dir = dir;
    this.#secret = secret;
    this.#others = secret === null ? [] : others;
    this.#suffix = secret === null ? "" : `.${authenticate(secret, "name").toString("hex").slice(0, 16)}`;
  }

  /** What was remembered, or undefined. A file that can't be read, or that somebody else has written, is as none. */
  async recall<T>(key: string): Promise<T | undefined> {
    for (const dir of [this.#dir, ...this.#others]) {
      try {
        const file = this.#file(key, dir);
        const { text, mtimeMs } = await readEntry(file);
        const content = this.#authentic(key, text);
        if (content === undefined) continue;
        const value = JSON.parse(content);
        if (dir !== this.#dir) await writeFileAtomically(this.#file(key), text);
        else if (Date.now() - mtimeMs > NOTE) await utimes(file, new Date(), new Date());
        return value;
      } catch {
        // As none.
      }
    }
    return undefined;
  }

  /** Where nothing can be written, nothing is remembered, and that costs time alone. */
  async remember(key: string, value: unknown): Promise<void> {
    const content = JSON.stringify(value);
    const code = this.#secret === null ? "" : `${authenticate(this.#secret, key, content).toString("hex")}\n`;
    await writeFileAtomically(this.#file(key), `${content}\n${code}`).catch(() => {});
  }

  /** A file's first line, when the second one is its code, or none is needed. */
  #authentic(key: string, text: string): string | undefined {
    const [content = "", code = ""] = text.split("\n");
    if (this.#secret === null) return content;
    const given = Buffer.from(code, "hex");
    const expected = authenticate(this.#secret, key, content);
    return given.length === expected.length && timingSafeEqual(given, expected) ? content : undefined;
  }

  /** Forgets what has not been used for long; looks once a day. @throws what the file system says, where nothing can be written. */
  async forgetOld(now = Date.now()): Promise<void> {
    await makeDirectory(this.#dir);
    const note = path.join(this.#dir, "looked-for-old");
    if (now - (await modified(note)) < NOTE) return;
    await writeFileAtomically(note, "");
    for (const name of await readdir(this.#dir)) {
      const file = path.join(this.#dir, name);
      if (name.endsWith(".json") && now - (await modified(file)) > LIFETIME) await rm(file, { force: true });
    }
  }

  #file(key: string, dir = this.#dir): string {
    return path.join(dir, `${key}${this.#suffix}.json`);
  }
}

/** Whoever else can write there may have put a pipe there, which would be waited for, or a file that has no end. */
async function readEntry(file: string): Promise<{ text: string; mtimeMs: number }> {
  await using handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  const info = await handle.stat();
  if (!info.isFile() || info.size > MAX_SIZE) throw new Error(`${file} is no entry`);
  const buffer = Buffer.alloc(info.size);
  const { bytesRead } = await handle.read(buffer, 0, info.size, 0);
  return { text: buffer.toString("utf8", 0, bytesRead), mtimeMs: info.mtimeMs };
}

function authenticate(secret: string, ...parts: string[]): Buffer {
  return createHmac("sha256", secret)
    .update(JSON.stringify(["bento evaluations", ...parts]))
    .digest();
}

/** Milliseconds since 1970; 0 for a file that isn't there. */
async function modified(file: string): Promise<number> {
  return stat(file).then(
    (info) => info.mtimeMs,
    () => 0,
  );
}

/** The key of something that depends on `parts` alone, and on how Nix evaluates. */
export function memoryKey(nix: Nix, ...parts: string[]): string {
  const all = [FORMAT, systemExpression, nix.version, nix.passthrough.options, process.env.NIX_STORE_DIR ?? "", parts];
  return createHash("sha256").update(JSON.stringify(all)).digest("hex");
}

/** Whether evaluations of flakes depend on nothing but the flake: an overridden input may be anything. */
export function isPure(nix: Nix): boolean {
  return nix.passthrough.overrideInputs.length === 0;
}
