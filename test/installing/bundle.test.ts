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
