import type { Rule, RuleOptions } from "./rule.ts";
import { deploysInEnvironment, deploysOneByOne, deploysToTheEnd } from "./rules/deploys.ts";
import {
  noDefaultPermissions,
  noExpressionsInScripts,
  noPersistedCredentials,
  noPullRequestTarget,
  pinned,
} from "./rules/everywhere.ts";
import { noOwnRunnersForForks, noSecretsForPullRequests } from "./rules/pull-requests.ts";
import type { Workflow } from "./workflow.ts";

// What makes a workflow that holds a fleet's keys dangerous. Each rule is one function, and says where, what, and what to do.

export const RULES = {
  pinned,
  noDefaultPermissions,
  noPullRequestTarget,
  noExpressionsInScripts,
  noSecretsForPullRequests,
  noOwnRunnersForForks,
  noPersistedCredentials,
  deploysInEnvironment,
  deploysOneByOne,
  deploysToTheEnd,
} satisfies Record<string, Rule>;

/** All that is wrong with a workflow: a line for each, `FILE:LINE: what (what to do)`. */
export function workflowProblems(workflow: Workflow, options: RuleOptions): string[] {
  return Object.values(RULES)
    .flatMap((rule) => rule(workflow, options))
    .map(({ path, message, hint }) => ({ line: workflow.lineOf(path), message, hint }))
    .sort((a, b) => a.line - b.line)
    .map(({ line, message, hint }) => `${workflow.file}:${line}: ${message} (${hint})`);
}
