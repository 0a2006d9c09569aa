import { readFileSync } from "node:fs";
import { FleetError } from "../errors.ts";

/** What of the event that started a workflow matters here. */
export interface WorkflowEvent {
  /** The number of the pull request that it is of. */
  pullRequest: number | null;
  /** Whether that is of another repository, whose owner may be anybody. */
  isFork: boolean;
  /** The commit that the pull request, or the queue's group of them, would be merged into. */
  base: string | null;
  /** For `workflow_run`: where the commit is from that the other workflow ran on. */
  head: { owner: string; branch: string; commit: string } | null;
}

const COMMIT = /^[0-9a-f]{40}$/;

/**
 * Reads the event's payload. What a pull request's author has a say in (branches) is taken as text only.
 * @throws FleetError when the file can't be read.
 */
export function readEvent(file: string | undefined): WorkflowEvent {
  if (!file) return { pullRequest: null, isFork: false, base: null, head: null };
  let payload: Payload;
  try {
    payload = JSON.parse(readFileSync(file, "utf8")) ?? {};
  } catch (cause) {
    throw new FleetError(`the event's payload can't be read: ${file}`, { cause });
  }
  const { pull_request: pull, workflow_run: run, merge_group: group } = payload;
  const base = pull?.base?.sha ?? group?.base_sha;
  const { head_branch: branch, head_sha: commit, head_repository: repository } = run ?? {};
  const owner = repository?.owner?.login;
  return {
    pullRequest: typeof pull?.number === "number" ? pull.number : null,
    // What is deleted in the meantime has no repository; that is no better known than a fork.
    isFork: pull !== undefined && pull !== null && pull.head?.repo?.full_name !== pull.base?.repo?.full_name,
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
  workflow_run?: { head_branch?: unknown; head_sha?: unknown; head_repository?: { owner?: { login?: unknown } } };
}
