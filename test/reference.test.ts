import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { actionReference } from "../scripts/reference/action.ts";
import { commandsReference } from "../scripts/reference/commands.ts";
import { fleetJsonSchema, fleetReference } from "../scripts/reference/fleet.ts";
import { manual } from "../scripts/reference/manual.ts";
import { packageRoot } from "../src/platform/package.ts";
import { definition } from "./action/runner.ts";
import { exec } from "./support/programs.ts";

// docs/reference/ and the manual page are made from what it describes. After a change: BENTO_UPDATE=1 scripts/test reference
const packageJson = async () => JSON.parse(await readFile(path.join(packageRoot(), "package.json"), "utf8"));
const pages: [string, () => Promise<string>][] = [
  ["docs/fleet.schema.json", async () => `${JSON.stringify(fleetJsonSchema(), null, 2)}\n`],
  ["docs/reference/fleet.md", async () => fleetReference()],
  ["docs/reference/commands.md", async () => commandsReference()],
  ["docs/reference/action.md", async () => actionReference(await definition())],
  ["share/man/man1/bento.1", async () => manual((await packageJson()).version)],
];

test.each(pages)("%s says what there is", async (name, make) => {
  const file = path.join(packageRoot(), name);
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

test.each([
  ["mandoc", ["-T", "lint", "-W", "warning"]],
  ["man", ["--warnings", "--local-file", "--encoding=utf8"]],
])("%s has nothing to say against the manual page", async (program, args) => {
  const { status, stdout, stderr } = await exec(
    "sh",
    [
      "-c",
      `command -v ${program} > /dev/null || exit 99; exec "$0" "$@"`,
      program,
      ...args,
      path.join(packageRoot(), "share/man/man1/bento.1"),
    ],
    { env: { MANPAGER: "cat", LC_ALL: "C.UTF-8" } },
  );
  if (status === 99) return;
  expect(
    `${stderr}${program === "mandoc" ? stdout : ""}`
      .split("\n")
      .filter((line) => !/missing date/.test(line))
      .join("\n"),
  ).toBe("");
  expect(status).toBeLessThan(3);
});
