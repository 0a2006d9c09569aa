import { isOfThisRepository, jobsOfPullRequests } from "./pull-requests.ts";
import { expressions, type Job, keys, type Path, type Step, texts, type Workflow } from "./workflow.ts";

// What makes a workflow that holds a fleet's keys dangerous. Each rule is one function, and says where, what, and what to do.

export interface Problem {
  path: Path;
  message: string;
  hint: string;
}

export interface RuleOptions {
  /** Actions, `owner/name`, that are left to move with a tag. */
  floating: readonly string[];
}

export type Rule = (workflow: Workflow, options: RuleOptions) => Problem[];

/** An action by a tag or branch is whatever its owner, or who took over the owner, makes of it tomorrow. */
function pinned(workflow: Workflow, { floating }: RuleOptions): Problem[] {
  const used = workflow.jobs.flatMap((job) => [job, ...job.steps]);
  return used.flatMap(({ path, keys: { uses } }) => {
    if (typeof uses !== "string" || isPinned(uses)) return [];
    const name = uses.replace(/^https?:\/\/[^/]+\//, "").split("@")[0] ?? "";
    if (floating.some((allowed) => name === allowed || name.startsWith(`${allowed}/`))) return [];
    const message = `${uses} is not pinned: who owns it can change what runs here`;
    const hint = "write the commit, 40 hex digits, and the version as a comment: uses: OWNER/NAME@COMMIT # v1.2.3";
    return [{ path: [...path, "uses"], message, hint }];
  });
}

function isPinned(uses: string): boolean {
  return uses.startsWith("./") || (uses.startsWith("docker:") ? /@sha256:[0-9a-f]{64}$/ : /@[0-9a-f]{40}$/).test(uses);
}

/** What isn't said is what the repository's settings say, which may be the right to write everywhere. */
function noDefaultPermissions(workflow: Workflow): Problem[] {
  const { permissions } = workflow.top;
  const isNone = typeof permissions === "object" && permissions !== null && Object.keys(permissions).length === 0;
  if (isNone) return [];
  const message = permissions === undefined ? "permissions are not set" : "every job has these permissions";
  return [{ path: ["permissions"], message, hint: "write permissions: {} at the top, and in each job what it needs" }];
}

/** It runs with the secrets and the rights of this repository, on behalf of anybody who opens a pull request. */
function noPullRequestTarget(workflow: Workflow): Problem[] {
  if (!workflow.events.includes("pull_request_target")) return [];
  const message = "pull_request_target gives a pull request of anybody's this repository's rights and secrets";
  return [
    { path: ["on", "pull_request_target"], message, hint: "use pull_request, and workflow_run for what needs rights" },
  ];
}

/** What nobody but GitHub has a say in, and that a script may so have as text. */
const HARMLESS =
  /^(?:runner\.(?:os|arch|temp)|github\.(?:sha|run_id|run_number|run_attempt|repository|server_url|api_url|workspace|action_path))$/;

/** An expression in a script is pasted into it before the shell reads it: a branch's name is then a program. */
function noExpressionsInScripts(workflow: Workflow): Problem[] {
  return workflow.jobs.flatMap(({ steps }) =>
    steps.flatMap(({ path, keys: { run }, with: { script } }) => {
      const found = (key: Path, text: unknown) => {
        const said =
          typeof text === "string" ? expressions(text).filter((expression) => !HARMLESS.test(expression)) : [];
        return said.map((expression) => ({
          path: [...path, ...key],
          message: `\${{ ${expression} }} is pasted into a script: who has a say in it writes a program`,
          hint: 'give it in env:, and use it there as "$NAME"',
        }));
      };
      return [...found(["run"], run), ...found(["with", "script"], script)];
    }),
  );
}

/** What runs a pull request's code, its author has. */
function noSecretsForPullRequests(workflow: Workflow): Problem[] {
  const hint = "put the job that needs it into a workflow of its own, started by push, schedule or workflow_run";
  const jobs = jobsOfPullRequests(workflow);
  const shared = jobs.length > 0 && usesSecrets(workflow.top);
  return [
    ...(shared ? [{ path: ["env"], message: "every job, also for pull requests, is given secrets", hint }] : []),
    ...jobs.flatMap((job) => {
      const rights = Object.entries(keys(job.keys.permissions)).filter(([, right]) => right === "write");
      const given = [
        ...(usesSecrets(job.keys) ? ["is given secrets"] : []),
        ...(job.keys.environment === undefined ? [] : ["runs in an environment, which has secrets"]),
        ...(job.keys.permissions === "write-all" ? ["may write everywhere"] : []),
        ...rights.map(([name]) => `may write ${name}`),
      ];
      return given.map((what) => ({
        path: job.path,
        message: `the job ${job.id} runs for pull requests, and ${what}`,
        hint,
      }));
    }),
    ...noSecretsForHeads(workflow),
  ];
}

/** `workflow_run` and comments run with this repository's rights: what they check out must not be the pull request's. */
function noSecretsForHeads(workflow: Workflow): Problem[] {
  const heads = /github\.head_ref|github\.event\.(?:workflow_run\.head_|pull_request\.head\b|issue\b)|refs\/pull\//;
  if (!workflow.events.some((event) => ["workflow_run", "issue_comment", "pull_request_target"].includes(event)))
    return [];
  return workflow.jobs.flatMap(({ id, steps }) =>
    steps
      .filter((step) => isCheckout(step) && texts(step.with).some((text) => heads.test(text)))
      .map(({ path }) => ({
        path: [...path, "with"],
        message: `the job ${id} checks out a pull request's code, with this repository's rights`,
        hint: "take what the pull request's own run has left as an artifact, as data",
      })),
  );
}

function usesSecrets(value: unknown): boolean {
  if (keys(value).secrets === "inherit") return true;
  return texts(value).some((text) => expressions(text).some((one) => /\bsecrets\b(?!\.GITHUB_TOKEN\b)/i.test(one)));
}

/** Code that once ran on a machine that stays may still run there when the deploy comes. */
function noOwnRunnersForForks(workflow: Workflow): Problem[] {
  return jobsOfPullRequests(workflow).flatMap((job) => {
    const labels = job.keys["runs-on"];
    if (labels === undefined || isOfThisRepository(job)) return [];
    // One label alone, which a list of one is, too.
    if (/^(?:ubuntu|windows|macos)-[\w.-]+$/.test(String(labels))) return [];
    const message = `the job ${job.id} runs pull requests, of forks too, on ${describe(labels)}, a machine that may stay`;
    const hint =
      "use runs-on: ubuntu-latest, or if: github.event.pull_request.head.repo.full_name == github.repository";
    return [{ path: [...job.path, "runs-on"], message, hint }];
  });
}

function describe(labels: unknown): string {
  return texts(labels).join(", ") || "runners that are not named";
}

/** The token that checkout leaves in .git/config is there for everything that runs after it. */
function noPersistedCredentials(workflow: Workflow): Problem[] {
  return workflow.jobs.flatMap(({ steps }) =>
    steps
      .filter((step) => isCheckout(step) && String(step.with["persist-credentials"]) !== "false")
      .map(({ path }) => ({
        path: [...path, "uses"],
        message: "the checkout leaves the job's token in the repository, for all that runs after it",
        hint: "with: { persist-credentials: false }",
      })),
  );
}

function isCheckout({ keys: { uses } }: Step): boolean {
  return typeof uses === "string" && /(?:^|\/)actions\/checkout@/.test(uses);
}

/** Keys belong to an environment, which says which branches may use them, and who must agree. */
function deploysInEnvironment(workflow: Workflow): Problem[] {
  return deploys(workflow)
    .filter((job) => job.keys.environment === undefined)
    .map((job) => ({
      path: job.path,
      message: `the job ${job.id} deploys without an environment: its keys are every branch's`,
      hint: "environment: fleet, limited to the branch main, with the keys as its secrets",
    }));
}

function deploysOneByOne(workflow: Workflow): Problem[] {
  return deploys(workflow)
    .filter((job) => groupOf(workflow.top.concurrency) === null && groupOf(job.keys.concurrency) === null)
    .map((job) => ({
      path: job.path,
      message: `the job ${job.id} deploys without a concurrency group: an older commit may overtake a newer one`,
      hint: "concurrency: { group: bento-deploy, cancel-in-progress: false }",
    }));
}

/** A host sees a whole release, whatever happens; but a rollout that is cut off leaves a fleet half way. */
function deploysToTheEnd(workflow: Workflow): Problem[] {
  const hint = "cancel-in-progress: false";
  return deploys(workflow).flatMap((job) =>
    [
      { path: ["concurrency"], value: workflow.top.concurrency },
      { path: [...job.path, "concurrency"], value: job.keys.concurrency },
    ]
      .filter(({ value }) => ![undefined, false, "false"].includes(keys(value)["cancel-in-progress"] as undefined))
      .map(({ path }) => ({ path, message: `the deploy of the job ${job.id} may be cut off by the next one`, hint })),
  );
}

function groupOf(concurrency: unknown): string | null {
  const group = typeof concurrency === "string" ? concurrency : keys(concurrency).group;
  return typeof group === "string" && group !== "" ? group : null;
}

function deploys(workflow: Workflow): Job[] {
  return workflow.jobs.filter(({ steps }) =>
    steps.some(({ keys: { run }, with: { command } }) =>
      typeof run === "string" ? /\bbento\b[^\n]*\b(?:deploy|rollback)\b/.test(run) : command === "deploy",
    ),
  );
}

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
