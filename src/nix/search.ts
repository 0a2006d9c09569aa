import { readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";

/** Bytes of a file that is looked through; no Nix file that a person wrote is larger. */
const MAX_FILE = 1024 ** 2;

/**
 * Every place in the Nix files of a tree where a pattern is, the file relative to the tree.
 *
 * @param pattern with the flag g.
 */
export function findInNixFiles(dir: string, pattern: RegExp): { file: string; line: number; column: number }[] {
  return nixFiles(dir)
    .sort()
    .flatMap((file) => {
      if (statSync(file).size > MAX_FILE) return [];
      const text = readFileSync(file, "utf8");
      return [...text.matchAll(pattern)].map(({ index }) => {
        const lines = text.slice(0, index).split("\n");
        return { file: path.relative(dir, file), line: lines.length, column: (lines.at(-1)?.length ?? 0) + 1 };
      });
    });
}

/** Node's own way to go down a tree follows symlinks, also those that lead to a directory around them, and so does it without end. */
function nixFiles(dir: string): string[] {
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    const file = path.join(dir, entry.name);
    if (entry.isDirectory()) return nixFiles(file);
    return entry.isFile() && entry.name.endsWith(".nix") ? [file] : [];
  });
}
