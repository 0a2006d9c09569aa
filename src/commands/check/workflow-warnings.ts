import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import type { Repository } from "../../platform/git.ts";
import { ACTION } from "../../workflows/copies.ts";
import { deployingCalls } from "../../workflows/deploys.ts";
import { workflowProblems } from "../../workflows/rules.ts";
import { parseWorkflow, texts, type Workflow } from "../../workflows/workflow.ts";

const PLACES = [".github/workflows", ".forgejo/workflows", ".gitea/workflows"];

/**
 * What is dangerous in a repository's workflows, as far as they run Bento: they may hold the fleet's keys. What else a repository
 * automates is none of Bento's business. And what never starts, since a push to a branch would start it that there isn't.
 */
export async function workflowWarnings(repository: Repository): Promise<string[]> {
  const branches = await repository.branches();
  const workflows: Workflow[] = [];
  for (const place of PLACES) {
    const names = await readdir(path.join(repository.root, place)).catch(() => []);
    for (const name of names.filter((one) => /\.ya?ml$/.test(one)).sort()) {
      const file = path.posix.join(place, name);
      const workflow = parseWorkflow(file, await readFile(path.join(repository.root, file), "utf8").catch(() => ""));
      if (workflow !== null) workflows.push(workflow);
    }
  }
  const called = (uses: string) => workflows.find(({ file }) => `./${file}` === uses) ?? null;
  return workflows
    .filter((workflow) => runsBento(workflow) || deployingCalls(workflow, called).length > 0)
    .flatMap((workflow) => [
      ...workflowProblems(workflow, { floating: [ACTION], called }),
      ...neverPushed(workflow, branches),
    ]);
}

/** A deploy of main in a repository whose branch is master would wait for ever. Patterns may match what is still to come. */
function neverPushed(workflow: Workflow, branches: Awaited<ReturnType<Repository["branches"]>>): string[] {
  const { file, pushBranches } = workflow;
  if (branches === null || branches.names.size === 0 || pushBranches === null) return [];
  if (pushBranches.some((name) => branches.names.has(name) || /[*?+![]/.test(name))) return [];
  const wanted = pushBranches.join(" or ");
  const { main } = branches;
  const mine = main === null ? "" : `; this repository's is ${main}`;
  const hint =
    main === null ? "name a branch that there is" : `git branch -m ${main} ${pushBranches[0]}, or name ${main} there`;
  return [
    `${file}:${workflow.lineOf(["on", "push", "branches"])}: a push to ${wanted} starts it, and there is no such branch here${mine} (${hint})`,
  ];
}

function runsBento({ jobs }: Workflow): boolean {
  return jobs
    .flatMap((job) => [job, ...job.steps])
    .some(({ keys: { uses, run } }) => texts([uses, run]).some((text) => /\bbento\b/i.test(text)));
}
