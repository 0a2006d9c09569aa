import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { actionReference } from "../scripts/reference/action.ts";
import { commandsReference } from "../scripts/reference/commands.ts";
import { fleetJsonSchema, fleetReference } from "../scripts/reference/fleet.ts";
import { packageRoot } from "../src/platform/package.ts";
import { definition } from "./action/runner.ts";

// docs/reference/ is made from what it describes. After a change: BENTO_UPDATE=1 scripts/test reference
const pages: [string, () => Promise<string>][] = [
  ["fleet.schema.json", async () => `${JSON.stringify(fleetJsonSchema(), null, 2)}\n`],
  ["reference/fleet.md", async () => fleetReference()],
  ["reference/commands.md", async () => commandsReference()],
  ["reference/action.md", async () => actionReference(await definition())],
];

test.each(pages)("docs/%s says what there is", async (name, make) => {
  const file = path.join(packageRoot(), "docs", name);
  const text = await make();
  if (process.env.BENTO_UPDATE) {
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, text);
  }
  expect(await readFile(file, "utf8")).toBe(text);
});

test("every key of fleet.yaml is described", () => {
  const undescribed = (schema: object, at: string): string[] =>
    Object.entries(schema).flatMap(([key, value]) => {
      if (typeof value !== "object" || value === null) return [];
      const missing =
        key === "properties"
          ? Object.entries(value as Record<string, { description?: string }>)
              .filter(([, { description }]) => !description)
              .map(([name]) => `${at}.${name}`)
          : [];
      return [...missing, ...undescribed(value, `${at}.${key}`)];
    });
  expect(undescribed(fleetJsonSchema(), "")).toEqual([]);
});
