import { closeSync, mkdirSync, openSync, readSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { HostError } from "../errors.ts";
import type { LayoutEntry } from "./layout.ts";
import { openTracked } from "./tracked.ts";

// How what git tracks becomes a release directory.

/** Bytes in a release: more than any configuration has, since one is held in memory while it is sent. */
export const MAX_BYTES = 1024 ** 3;
/** What is being copied. */
const BLOCK = Buffer.alloc(256 * 1024);

/**
 * Makes a release directory of what it is laid out to be. Nothing waits for another thread, which for the small files of a
 * configuration takes ten times as long as copying them.
 * @throws HostError when a file can't be read, or all of them are too large.
 */
export function writeRelease(entries: readonly LayoutEntry[], root: string, dir: string): void {
  let bytes = 0;
  for (const entry of entries) {
    const target = path.join(dir, entry.target);
    switch (entry.kind) {
      case "directory":
        mkdirSync(target, { mode: 0o755 });
        break;
      case "link":
        symlinkSync(entry.text, target);
        break;
      case "text":
        writeFileSync(target, entry.text, { mode: 0o644, flag: "wx" });
        break;
      case "file":
        bytes += copyTracked(root, entry.source, target, entry.executable, MAX_BYTES - bytes);
    }
  }
}

/** Copies a regular file that git tracks, of at most `limit` bytes, and gives its size. */
function copyTracked(root: string, source: string, target: string, executable: boolean, limit: number): number {
  const { descriptor: from, size } = openTracked(root, source);
  try {
    if (size > limit) throw tooLarge(source);
    const to = openSync(target, "wx", executable ? 0o755 : 0o644);
    try {
      for (let bytes = 0; ; ) {
        const count = readSync(from, BLOCK);
        if (count === 0) return bytes;
        bytes += count;
        if (bytes > limit) throw tooLarge(source);
        writeFileSync(to, BLOCK.subarray(0, count));
      }
    } finally {
      closeSync(to);
    }
  } finally {
    closeSync(from);
  }
}

/** That a release would have more than MAX_BYTES with this file, which is named relative to the repository. */
export function tooLarge(file: string): HostError {
  return new HostError(`the tree is larger than ${MAX_BYTES / 1024 ** 2} MiB, at ${file}`, {
    at: { file },
    hint: "fetch large files from a server (pkgs.fetchurl) instead of keeping them in git",
  });
}
