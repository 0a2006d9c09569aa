import { readFile } from "node:fs/promises";
import path from "node:path";
import { packageRoot } from "../platform/package.ts";
import { COPIED } from "../workflows/copies.ts";

/**
 * Bento's own workflows by their name, as they lie beside what runs: in the bundle, a newer pin of an action would be a newer bundle, and
 * nobody but a person makes one.
 */
export async function originalWorkflows(): Promise<Record<string, string>> {
  const read = async (name: string) =>
    [name, await readFile(path.join(packageRoot(), ".github/workflows", `${name}.yml`), "utf8")] as const;
  return Object.fromEntries(await Promise.all(COPIED.map(read)));
}
