import { existsSync } from "node:fs";
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
