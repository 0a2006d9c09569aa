import { deployingCalls, deployingJobs, environmentOf } from "../deploys.ts";
import { requires } from "../pull-requests.ts";
import type { Problem, RuleOptions } from "../rule.ts";
import { contexts, expressions, type Job, keys, stringOf, type Workflow } from "../workflow.ts";

// What a job that deploys must have.

/** Keys belong to an environment, which says which branches may use them, and who must agree. */
export function deploysInEnvironment(workflow: Workflow): Problem[] {
  return deployingJobs(workflow)
    .filter((job) => environmentOf(job) === null)
    .map((job) => ({
      path: job.path,
      message: `the job ${job.id} deploys without an environment: its keys are every branch's`,
      hint: "environment: fleet, limited to the branch main, with the keys as its secrets",
    }));
}

export function deploysOneByOne(workflow: Workflow): Problem[] {
  return deployingJobs(workflow).flatMap((job) => {
    const groups = [
      { path: ["concurrency"], group: groupOf(workflow.top.concurrency) },
      { path: [...job.path, "concurrency"], group: groupOf(job.keys.concurrency) },
    ].filter(({ group }) => group !== "");
    if (groups.some(({ group }) => isOneGroup(group, job))) return [];
    const hint = "concurrency: { group: bento-deploy, cancel-in-progress: false }";
    const [first] = groups;
    const why = "an older commit may overtake a newer one";
    return first === undefined
      ? [{ path: job.path, message: `the job ${job.id} deploys without a concurrency group: ${why}`, hint }]
      : [
          {
            path: first.path,
            message: `the job ${job.id}'s concurrency group, ${first.group}, is another one in every run: ${why}`,
            hint,
          },
        ];
  });
}

/** What is the same whenever a fleet is deployed from one branch. */
const STEADY =
  /^(?:github\.(?:workflow|workflow_ref|ref|ref_name|ref_type|repository|repository_id|repository_owner|event\.repository\.[\w.]+)|(?:inputs|vars)\.[\w-]+)$/i;

function isOneGroup(group: string, job: Job): boolean {
  return expressions(group).every((expression) => {
    // CONDITION && 'text' || OTHER is the text where the job has the same condition.
    const [, condition] = /^(.+?)&& *'[^']+' *\|\|/.exec(expression) ?? [];
    if (condition !== undefined && requires(job, condition)) return true;
    return contexts(expression).every((context) => STEADY.test(context));
  });
}

/** A host sees a whole release, whatever happens; but a rollout that is cut off leaves a fleet half way. */
export function deploysToTheEnd(workflow: Workflow, { called = () => null }: RuleOptions): Problem[] {
  const hint = "cancel-in-progress: false";
  return [...deployingJobs(workflow), ...deployingCalls(workflow, called)].flatMap((job) =>
    [
      { path: ["concurrency"], value: workflow.top.concurrency },
      { path: [...job.path, "concurrency"], value: job.keys.concurrency },
    ]
      .filter(({ value }) => ![undefined, false, "false"].includes(keys(value)["cancel-in-progress"] as undefined))
      .map(({ path }) => ({ path, message: `the deploy of the job ${job.id} may be cut off by the next one`, hint })),
  );
}

function groupOf(concurrency: unknown): string {
  return stringOf(typeof concurrency === "string" ? concurrency : keys(concurrency).group);
}
