import { readFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../../src/platform/package.ts";
import { definition } from "./runner.ts";

const sources = ["src/action.ts", "src/action/inputs.ts"].map((file) =>
  readFile(path.join(packageRoot(), file), "utf8"),
);
const source = (await Promise.all(sources)).join("\n");
const named = (call: RegExp) => [...new Set([...source.matchAll(call)].map((match) => match[1] ?? ""))].sort();

test("action.yml has exactly the inputs that are read", async () => {
  // The keys' inputs stand in a table.
  const read = named(
    /(?:\b(?:input|booleanInput|lines|secretInput|flag|count|pairs|baseOf)\(|\[\w+_KEY\]: )"([^"]+)"/g,
  );
  expect(Object.keys((await definition()).inputs).sort()).toEqual(read);
});

test("action.yml has exactly the outputs that are set", async () => {
  expect(Object.keys((await definition()).outputs).sort()).toEqual(named(/\bsetOutput\("([^"]+)"/g));
});

test("each input and output is described, and is optional by a default, or required", async () => {
  const { inputs, outputs } = await definition();
  for (const [name, { description, required, default: preset }] of Object.entries(inputs)) {
    expect(description, name).toMatch(/\S/);
    expect(required === true || typeof preset === "string", name).toBe(true);
  }
  for (const [name, { description }] of Object.entries(outputs)) expect(description, name).toMatch(/\S/);
});

test("it runs on the Node that GitHub has, from the file that is built", async () => {
  expect((await definition()).runs).toEqual({ using: "node24", main: "dist/index.js" });
});
