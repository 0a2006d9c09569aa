import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { ACTION } from "../workflows/copies.ts";
import { deployingCalls } from "../workflows/deploys.ts";
import { workflowProblems } from "../workflows/rules.ts";
import { parseWorkflow, texts, type Workflow } from "../workflows/workflow.ts";

const PLACES = [".github/workflows", ".forgejo/workflows", ".gitea/workflows"];

/**
 * What is dangerous in a repository's workflows, as far as they run Bento: they may hold the fleet's keys. What else a repository
 * automates is none of Bento's business.
 */
export async function workflowWarnings(repository: string): Promise<string[]> {
  const workflows: Workflow[] = [];
  for (const place of PLACES) {
    const names = await readdir(path.join(repository, place)).catch(() => []);
    for (const name of names.filter((one) => /\.ya?ml$/.test(one)).sort()) {
      const file = path.posix.join(place, name);
      const workflow = parseWorkflow(file, await readFile(path.join(repository, file), "utf8").catch(() => ""));
      if (workflow !== null) workflows.push(workflow);
    }
  }
  const called = (uses: string) => workflows.find(({ file }) => `./${file}` === uses) ?? null;
  return workflows
    .filter((workflow) => runsBento(workflow) || deployingCalls(workflow, called).length > 0)
    .flatMap((workflow) => workflowProblems(workflow, { floating: [ACTION], called }));
}

function runsBento({ jobs }: Workflow): boolean {
  return jobs
    .flatMap((job) => [job, ...job.steps])
    .some(({ keys: { uses, run } }) => texts([uses, run]).some((text) => /\bbento\b/i.test(text)));
}
