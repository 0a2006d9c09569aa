import type { Called } from "./deploys.ts";
import type { Path, Workflow } from "./workflow.ts";

export interface Problem {
  path: Path;
  message: string;
  hint: string;
}

export interface RuleOptions {
  /** Actions, `owner/name`, that are left to move with a tag. */
  floating: readonly string[];
  /** Finds the other workflows of the repository. */
  called?: Called;
}

export type Rule = (workflow: Workflow, options: RuleOptions) => Problem[];
