import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../../src/platform/package.ts";

test("the bundle loads nothing native: what lies in a node_modules nearby may be built for another Node, and crashes this one", async () => {
  const dist = path.join(packageRoot(), "dist");
  for (const file of await readdir(dist)) {
    expect(await readFile(path.join(dist, file), "utf8"), file).not.toMatch(
      /require\w*\("[^"]*(?:\.node|cpu-features)"\)/,
    );
  }
});

test("nor is any workflow in it: whoever, or whatever, brings a pin of an action up to date needn't bundle", async () => {
  const dist = path.join(packageRoot(), "dist");
  const workflows = path.join(packageRoot(), ".github/workflows");
  const pins = new Set<string>();
  for (const file of await readdir(workflows)) {
    for (const [, pin = ""] of (await readFile(path.join(workflows, file), "utf8")).matchAll(/@([0-9a-f]{40})\b/g))
      pins.add(pin);
  }
  expect(pins.size).toBeGreaterThan(2);
  for (const file of await readdir(dist)) {
    const text = await readFile(path.join(dist, file), "utf8");
    expect(
      [...pins].filter((pin) => text.includes(pin)),
      file,
    ).toEqual([]);
  }
});
