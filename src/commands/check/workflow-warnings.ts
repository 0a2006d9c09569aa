import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { ACTION } from "../../workflows/copies.ts";
import { workflowProblems } from "../../workflows/rules.ts";
import { parseWorkflow, texts, type Workflow } from "../../workflows/workflow.ts";

const PLACES = [".github/workflows", ".forgejo/workflows", ".gitea/workflows"];

/**
 * What is dangerous in a repository's workflows, as far as they run Bento: they may hold the fleet's keys. What else a repository
 * automates is none of Bento's business.
 */
export async function workflowWarnings(repository: string): Promise<string[]> {
  const found: string[] = [];
  for (const place of PLACES) {
    const names = await readdir(path.join(repository, place)).catch(() => []);
    for (const name of names.filter((one) => /\.ya?ml$/.test(one)).sort()) {
      const file = path.posix.join(place, name);
      const text = await readFile(path.join(repository, file), "utf8").catch(() => "");
      const workflow = parseWorkflow(file, text);
      if (workflow !== null && runsBento(workflow)) found.push(...workflowProblems(workflow, { floating: [ACTION] }));
    }
  }
  return found;
}

function runsBento({ jobs }: Workflow): boolean {
  return jobs
    .flatMap((job) => [job, ...job.steps])
    .some(({ keys: { uses, run } }) => texts([uses, run]).some((text) => /\bbento\b/i.test(text)));
}
