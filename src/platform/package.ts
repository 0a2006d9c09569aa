import { existsSync, readFileSync } from "node:fs";
import path from "node:path";

/** Bento's own directory, with utils/ and action.yml, whether it runs from src/ or bundled from dist/. */
export function packageRoot(): string {
  let dir = import.meta.dirname;
  while (!existsSync(path.join(dir, "action.yml"))) {
    if (dir === path.dirname(dir)) throw new Error(`Bento's own files are not above ${import.meta.dirname}`);
    dir = path.dirname(dir);
  }
  return dir;
}

/** Bento's version, as package.json has it: `1.2.3`. */
export function packageVersion(): string {
  return JSON.parse(readFileSync(path.join(packageRoot(), "package.json"), "utf8")).version;
}
