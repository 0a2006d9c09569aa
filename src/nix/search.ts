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
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".nix"))
    .map((entry) => path.join(entry.parentPath, entry.name))
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
