import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../src/platform/package.ts";
import type { CheckDocument } from "../src/results.ts";
import { checkDocumentSchema, checkJsonSchema } from "../src/results-schema.ts";
import { check, checked, failing } from "./render/documents.ts";

const file = path.join(packageRoot(), "docs/check.schema.json");

// After a change: BENTO_UPDATE=1 scripts/test results
test("docs/check.schema.json is the schema of what check prints", async () => {
  const text = `${JSON.stringify(checkJsonSchema(), null, 2)}\n`;
  if (process.env.BENTO_UPDATE) await writeFile(file, text);
  expect(await readFile(file, "utf8")).toBe(text);
});

test("the schema and the type of the document are the same", () => {
  const document: CheckDocument = check([checked("nas"), failing("router", "no")], { base: "main", warnings: ["w"] });
  const parsed: CheckDocument = checkDocumentSchema.parse(document);
  expect(parsed).toEqual(document);
});
