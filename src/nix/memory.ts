import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm, stat, utimes } from "node:fs/promises";
import path from "node:path";
import { writeFileAtomically } from "../platform/files.ts";
import type { Nix } from "./nix.ts";
import systemExpression from "./system.nix";

/** Raised when what is remembered has another form. */
const FORMAT = 1;
/** Milliseconds after its last use that something is forgotten. */
const LIFETIME = 30 * 24 * 3600 * 1000;
/** A use is noted once in this many milliseconds: a note is a write. */
const NOTE = 24 * 3600 * 1000;

/**
 * Remembers what pure evaluations gave, each under a hash of everything that it depends on, so that nothing is evaluated
 * twice. A directory of JSON files, which CI can keep between jobs.
 */
export class EvaluationMemory {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** What was remembered, or undefined. A file that can't be read is as none. */
  async recall<T>(key: string): Promise<T | undefined> {
    const file = this.#file(key);
    try {
      const value = JSON.parse(await readFile(file, "utf8"));
      const { mtimeMs } = await stat(file);
      if (Date.now() - mtimeMs > NOTE) await utimes(file, new Date(), new Date());
      return value;
    } catch {
      return undefined;
    }
  }

  async remember(key: string, value: unknown): Promise<void> {
    await writeFileAtomically(this.#file(key), `${JSON.stringify(value)}\n`);
  }

  /** Forgets what has not been used for long; looks once a day. */
  async forgetOld(now = Date.now()): Promise<void> {
    await mkdir(this.#dir, { recursive: true });
    const note = path.join(this.#dir, "looked-for-old");
    if (now - (await modified(note)) < NOTE) return;
    await writeFileAtomically(note, "");
    for (const name of await readdir(this.#dir)) {
      const file = path.join(this.#dir, name);
      if (name.endsWith(".json") && now - (await modified(file)) > LIFETIME) await rm(file, { force: true });
    }
  }

  #file(key: string): string {
    return path.join(this.#dir, `${key}.json`);
  }
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
