import { readFileSync } from "node:fs";
import { FleetError } from "../errors.ts";

/** What of the event that started a workflow matters here. */
export interface WorkflowEvent {
  /** The number of the pull request that it is of. */
  pullRequest: number | null;
  /** Whether that is of another repository, whose owner may be anybody. */
  isFork: boolean;
  /** Whether it may be about code that nobody has merged: a pull request's, also when it has begun by way of another event. */
  isUnmerged: boolean;
  /** The commit that the pull request, or the queue's group of them, would be merged into. */
  base: string | null;
  /** For `workflow_run`: where the commit is from that the other workflow ran on. */
  head: { owner: string; branch: string; commit: string } | null;
}

/** What begins a workflow on code that somebody with the right to has put into this repository. */
const OWN = new Set(["push", "merge_group", "schedule", "workflow_dispatch", "repository_dispatch"]);

const COMMIT = /^[0-9a-f]{40}$/;

/**
 * Reads the event's payload. What a pull request's author has a say in (branches) is taken as text only.
 * @throws FleetError when the file can't be read.
 */
export function readEvent(file: string | undefined): WorkflowEvent {
  if (!file) return { pullRequest: null, isFork: false, isUnmerged: false, base: null, head: null };
  let payload: Payload;
  try {
    payload = JSON.parse(readFileSync(file, "utf8")) ?? {};
  } catch (cause) {
    throw new FleetError(`the event's payload can't be read: ${file}`, { cause });
  }
  const { pull_request: pull, workflow_run: run, merge_group: group, issue, repository: own } = payload;
  const base = pull?.base?.sha ?? group?.base_sha;
  const { head_branch: branch, head_sha: commit, head_repository: repository } = run ?? {};
  const owner = repository?.owner?.login;
  const isPull = pull !== undefined && pull !== null;
  const isRun = run !== undefined && run !== null;
  const isOwn = typeof own?.full_name === "string" && repository?.full_name === own.full_name;
  const isOwnRun = isRun && OWN.has(`${run.event}`) && isOwn;
  return {
    pullRequest: typeof pull?.number === "number" ? pull.number : null,
    // What is deleted in the meantime has no repository; that is no better known than a fork.
    isFork: isPull && pull.head?.repo?.full_name !== pull.base?.repo?.full_name,
    // A comment on a pull request is an issue's, and anybody may write one.
    isUnmerged: isPull || Boolean(issue?.pull_request) || (isRun && !isOwnRun),
    base: typeof base === "string" && COMMIT.test(base) ? base : null,
    head:
      typeof owner === "string" && typeof branch === "string" && typeof commit === "string" && COMMIT.test(commit)
        ? { owner, branch, commit }
        : null,
  };
}

interface Payload {
  pull_request?: null | {
    number?: unknown;
    base?: { sha?: unknown; repo?: { full_name?: unknown } };
    head?: { repo?: { full_name?: unknown } | null };
  };
  merge_group?: { base_sha?: unknown };
  issue?: null | { pull_request?: unknown };
  workflow_run?: null | {
    event?: unknown;
    head_branch?: unknown;
    head_sha?: unknown;
    head_repository?: null | { full_name?: unknown; owner?: { login?: unknown } };
  };
  repository?: null | { full_name?: unknown };
}
