import { readFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { report } from "../scripts/pictures/report.ts";
import { packageRoot } from "../src/platform/package.ts";
import { temporaryDirectory } from "../src/platform/temporary.ts";

test("the README's picture shows what a check reports today; if not: node scripts/pictures/make.ts", async () => {
  await using dir = await temporaryDirectory();
  const shown = await readFile(path.join(packageRoot(), "docs/pictures/report.md"), "utf8");
  // What is folded in is Nix's own text, and not in the picture.
  const [visible] = shown.split("<details>");
  const [today] = (await report(dir.path)).split("<details>");
  expect(today).toBe(visible);
});
