import type { Job, Workflow } from "./workflow.ts";

/**
 * The events whose jobs run what a pull request's author wrote: `pull_request`, reviews and their comments (Gitea has more of
 * them), and a merge queue.
 */
function isOfPullRequests(event: string): boolean {
  return event === "merge_group" || (event.startsWith("pull_request") && event !== "pull_request_target");
}

/**
 * The jobs that may run for a pull request: those of a workflow that pull requests start, but for those whose condition is
 * another event. Whom a reusable workflow is called by isn't known: it has none.
 */
export function jobsOfPullRequests(workflow: Workflow): Job[] {
  const events = workflow.events.filter(isOfPullRequests);
  if (events.length === 0) return [];
  const kept = new Set(workflow.jobs.filter((job) => !isForOthers(job, events)).map((job) => job.id));
  // Who waits for a job that is skipped is skipped, unless its condition asks what became of it.
  for (let before = -1; before !== kept.size; ) {
    before = kept.size;
    for (const job of workflow.jobs) {
      if (!asksForStatus(job) && job.needs.some((id) => !kept.has(id))) kept.delete(job.id);
    }
  }
  return workflow.jobs.filter((job) => kept.has(job.id));
}

/** Whether its condition leaves none of the events; what isn't understood may run. */
function isForOthers(job: Job, events: readonly string[]): boolean {
  const conditions = conditionsOf(job);
  return events.every((event) => conditions.some((condition) => excludes(condition, event)));
}

function excludes(condition: string, event: string): boolean {
  const [, name, operator, value] = /^(github\.event_name|github\.ref) *(==|!=) *'([^']*)'$/.exec(condition) ?? [];
  if (name === "github.event_name") return (operator === "==") !== (value === event);
  // A pull request's is refs/pull/N/merge, and a merge queue's a branch of its own.
  return (
    name === "github.ref" && operator === "==" && /^refs\/(?:heads|tags)\/(?!gh-readonly-queue\/)/.test(value ?? "")
  );
}

/** Whether its condition is that the run before it, after which it comes, was of no pull request. */
export function isAfterPush(job: Job): boolean {
  return conditionsOf(job).some((condition) =>
    /^github\.event\.workflow_run\.event *== *'(?:push|schedule|workflow_dispatch|release)'$/.test(condition),
  );
}

function asksForStatus(job: Job): boolean {
  return /\b(?:always|cancelled|failure)\s*\(/.test(conditionOf(job));
}

function conditionOf(job: Job): string {
  return String(job.keys.if ?? "").replace(/^\s*\$\{\{(.*)\}\}\s*$/s, "$1");
}

/** Whether a job runs only where the condition holds, as far as that is plain. */
export function requires(job: Job, condition: string): boolean {
  return conditionsOf(job).includes(condition.trim());
}

/** What must all hold for the job to run, as far as that is plain; a text comes after what it is compared with. */
function conditionsOf(job: Job): string[] {
  const condition = conditionOf(job);
  if (condition.includes("||")) return [];
  return condition.split("&&").map((part) =>
    part
      .replace(/^\s*\(([^()]*)\)\s*$/, "$1")
      .trim()
      .replace(/^('[^']*')\s*(==|!=)\s*(.*)$/, "$3 $2 $1"),
  );
}

/** Whether its condition is that the pull request isn't of a fork. */
export function isOfThisRepository(job: Job): boolean {
  const repo = "github.event.pull_request.head.repo";
  const said = [
    `${repo}.full_name==github.repository`,
    `github.repository==${repo}.full_name`,
    `${repo}.fork==false`,
    `!${repo}.fork`,
  ];
  return conditionsOf(job).some((condition) => said.includes(condition.replaceAll(/\s/g, "")));
}
