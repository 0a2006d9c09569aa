import path from "node:path";
import { originalWorkflows } from "../../src/commands/original-workflows.ts";
import { packageVersion } from "../../src/platform/package.ts";
import { actionOf, workflowCopies } from "../../src/workflows/copies.ts";
import { parseWorkflow } from "../../src/workflows/workflow.ts";

/** What a workflow's expressions stand for: `secrets.NAME`, `matrix.NAME`, and so on. */
export type Expressions = Readonly<Record<string, string>>;

/**
 * What the Action's step of a workflow that `bento init` writes gives it, with nothing added: the step with this command. An expression
 * that `known` doesn't have is empty, as a secret that isn't there is.
 */
export async function shippedInputs(
  workflow: string,
  command: string,
  known: Expressions,
): Promise<Record<string, string>> {
  const version = packageVersion();
  const [file, text] =
    Object.entries(workflowCopies({ version, fleet: ".", originals: await originalWorkflows() })).find(
      ([name]) => path.basename(name) === `bento-${workflow}.yml`,
    ) ?? [];
  const steps = parseWorkflow(file ?? "", text ?? "")?.jobs.flatMap((job) => job.steps) ?? [];
  const step = steps.find(({ keys, with: given }) => keys.uses === actionOf(version) && given.command === command);
  if (step === undefined) throw new Error(`${workflow} has no step with the command ${command}`);
  return Object.fromEntries(
    Object.entries(step.with).map(([name, value]) => [
      name,
      String(value).replaceAll(/\$\{\{ (.*?) \}\}/g, (_, expression: string) => known[expression] ?? ""),
    ]),
  );
}
