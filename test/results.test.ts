import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../src/platform/package.ts";
import { checkDocumentSchema, checkJsonSchema, statusDocumentSchema, statusJsonSchema } from "../src/results/schema.ts";
import type { CheckDocument, StatusDocument } from "../src/results.ts";
import { check, checked, failing, reported, status } from "./render/documents.ts";

// After a change: BENTO_UPDATE=1 scripts/test results
test.each([
  ["check", checkJsonSchema()],
  ["status", statusJsonSchema()],
])("docs/%s.schema.json is the schema of what it prints", async (command, schema) => {
  const file = path.join(packageRoot(), `docs/${command}.schema.json`);
  const text = `${JSON.stringify(schema, null, 2)}\n`;
  if (process.env.BENTO_UPDATE) await writeFile(file, text);
  expect(await readFile(file, "utf8")).toBe(text);
});

test("the schema and the type of the document are the same", () => {
  const document: CheckDocument = check([checked("nas"), failing("router", "no")], { base: "main", warnings: ["w"] });
  const parsed: CheckDocument = checkDocumentSchema.parse(document);
  expect(parsed).toEqual(document);
});

test("the same of what status prints", () => {
  const attempt = {
    sequence: 1,
    commit: "0".repeat(40),
    subject: "A change",
    outcome: "rolled-back",
    reason: "no contact",
    from: "/nix/store/a",
    to: null,
    started: "2026-11-23T12:00:00.000Z",
    finished: null,
    duration: 1,
    received: "2026-11-23T12:00:00.000Z",
  } as const;
  const published = {
    sequence: 1,
    commit: "0".repeat(40),
    subject: "A change",
    toplevel: null,
    issued: "2026-11-23T12:00:00.000Z",
  };
  const running = { toplevel: "/nix/store/a", sequence: null };
  const said = { attempted: attempt, history: [attempt], log: "text", wave: 1, groups: ["canary"], agent: "1" };
  const document: StatusDocument = status([reported("nas"), reported("router", { published, running, ...said })]);
  const parsed: StatusDocument = statusDocumentSchema.parse(document);
  expect(parsed).toEqual(document);
});
