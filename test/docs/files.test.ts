import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../../src/platform/package.ts";

// docs/reference/files.md names all that the agent keeps, and every setting with its default.

const root = packageRoot();
const page = await readFile(path.join(root, "docs/reference/files.md"), "utf8");
const agent = path.join(root, "utils/agent");

/** The cells of the tables' rows that begin with code. */
const rows = [...page.matchAll(/^\| (`.*) \|$/gm)].map(([, row = ""]) => row.split(" | ").map((cell) => cell.trim()));

test("every setting of the agent's, with its default", async () => {
  const settings = await readFile(path.join(agent, "lib/settings.sh"), "utf8");
  const all = [...settings.matchAll(/^ +export (BENTO_\w+)(?:=\$\{\1:-(.*)\})?$/gm)];
  expect(all.length).toBeGreaterThan(40);
  const told = new Map(rows.map(([name = "", preset = ""]) => [name.replaceAll("`", ""), preset.replaceAll("`", "")]));
  for (const [, name = "", preset] of all) {
    expect(told.has(name), name).toBe(true);
    // What is worked out is told in words.
    if (preset !== undefined && !preset.includes("$")) expect(told.get(name), name).toBe(preset || "none");
  }
  const known = all.map(([, name]) => name);
  expect([...told.keys()].filter((name) => name.startsWith("BENTO_") && !known.includes(name))).toEqual([]);
});

test("every file that it keeps", async () => {
  const files = (await readdir(agent, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  const texts = await Promise.all(files.map(({ parentPath, name }) => readFile(path.join(parentPath, name), "utf8")));
  const written = texts.flatMap((text) => [
    ...[...text.matchAll(/\$(?:BENTO_STATE|\{BENTO_STATE\})\/([a-z][a-z.-]*[a-z])/g)].map(([, name = ""]) => name),
    ...[...text.matchAll(/\b(?:write|read)_(?:state|attempt) ([a-z-]+\.json)/g)].map(([, name = ""]) => name),
  ]);
  const names = new Set(written);
  expect(names.size).toBeGreaterThan(20);
  const section = page.slice(page.indexOf("| in `/var/bento` |"), page.indexOf("| elsewhere |"));
  const told = [...section.matchAll(/^\| (`.*?) \|/gm)].flatMap(([, cell = ""]) => {
    const [first = "", ...others] = cell.split(", ").map((name) => name.replaceAll("`", "").replace(/\/$/, ""));
    // `a.json`, `.lock` is a.json and a.lock.
    const stem = first.replace(/\.json$/, "");
    return [first, ...others.map((name) => (name.startsWith(".") ? stem + name : name))];
  });
  expect([...names].filter((name) => !told.includes(name)).sort()).toEqual([]);
  expect(told.filter((name) => !names.has(name)).sort()).toEqual([]);
});
