import { readFileSync } from "node:fs";

/** Makes `import text from "./x.nix"` give the file's text, in the bundle (rolldown) and in the tests (vitest) alike. */
export function textFiles() {
  return {
    name: "text-files",
    load(id: string) {
      if (!/\.(nix|sh|html)$/.test(id)) return undefined;
      return { code: `export default ${JSON.stringify(readFileSync(id, "utf8"))};`, moduleType: "js" as const };
    },
  };
}
