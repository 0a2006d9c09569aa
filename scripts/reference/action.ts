import { packageVersion } from "../../src/platform/package.ts";
import { actionOf } from "../../src/workflows/copies.ts";
import { code, page, table } from "./markdown.ts";

interface Definition {
  inputs: Record<string, { description: string; required?: boolean; default?: string }>;
  outputs: Record<string, { description: string }>;
}

/** docs/reference/action.md, of what action.yml says. */
export function actionReference({ inputs, outputs }: Definition): string {
  return page(
    "The GitHub Action",
    "action.yml",
    "The same commands as on the command line, as a step of a workflow: `uses: " +
      actionOf(packageVersion()) +
      "`. `bento init` writes workflows\n" +
      "with it.",
    "## Inputs",
    table(
      ["input", "default", ""],
      Object.entries(inputs).map(([name, { description, required, default: preset }]) => [
        code(name),
        required ? "required" : code(preset ?? ""),
        description,
      ]),
    ),
    "## Outputs",
    table(
      ["output", ""],
      Object.entries(outputs).map(([name, { description }]) => [code(name), description]),
    ),
  );
}
