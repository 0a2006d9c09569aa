import type { Job, Workflow } from "./workflow.ts";

/** The events whose jobs run what a pull request's author wrote. */
const OF_PULL_REQUESTS = ["pull_request", "merge_group"];

/**
 * The jobs that may run for a pull request: those of a workflow that pull requests start, but for those whose condition is
 * another event. Whom a reusable workflow is called by isn't known: it has none.
 */
export function jobsOfPullRequests(workflow: Workflow): Job[] {
  const events = workflow.events.filter((event) => OF_PULL_REQUESTS.includes(event));
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

/** Whether its condition is that the event is another one; what isn't understood may run. */
function isForOthers(job: Job, events: readonly string[]): boolean {
  const condition = conditionOf(job);
  if (condition.includes("||")) return false;
  return condition.split("&&").some((part) => {
    const [, event] = /^\s*\(?\s*github\.event_name\s*==\s*'(\w+)'\s*\)?\s*$/.exec(part) ?? [];
    return event !== undefined && !events.includes(event);
  });
}

function asksForStatus(job: Job): boolean {
  return /\b(?:always|cancelled|failure)\s*\(/.test(conditionOf(job));
}

function conditionOf(job: Job): string {
  return String(job.keys.if ?? "").replace(/^\s*\$\{\{(.*)\}\}\s*$/s, "$1");
}

/** Whether its condition is that the pull request isn't of a fork. */
export function isOfThisRepository(job: Job): boolean {
  const condition = conditionOf(job);
  return (
    !condition.includes("||") &&
    condition
      .split("&&")
      .some((part) =>
        /^\s*(?:github\.event\.pull_request\.head\.repo\.full_name\s*==\s*github\.repository|github\.event\.pull_request\.head\.repo\.fork\s*==\s*false|!\s*github\.event\.pull_request\.head\.repo\.fork)\s*$/.test(
          part,
        ),
      )
  );
}
