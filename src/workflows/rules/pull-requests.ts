import { commandsOf } from "../deploys.ts";
import { isAfterPush, isOfThisRepository, jobsOfPullRequests } from "../pull-requests.ts";
import type { Problem } from "../rule.ts";
import {
  contexts,
  expressions,
  isCheckout,
  type Job,
  keys,
  type Step,
  stringOf,
  texts,
  type Workflow,
} from "../workflow.ts";

// What a pull request's author wrote runs in some job: what that job must not have.

/** What runs a pull request's code, its author has. */
export function noSecretsForPullRequests(workflow: Workflow): Problem[] {
  const hint = "put the job that needs it into a workflow of its own, started by push, schedule or workflow_run";
  const jobs = jobsOfPullRequests(workflow);
  const shared = jobs.length > 0 && usesSecrets(workflow.top);
  return [
    ...(shared ? [{ path: ["env"], message: "every job, also for pull requests, is given secrets", hint }] : []),
    ...jobs.flatMap((job) => {
      const rights = Object.entries(keys(job.keys.permissions)).filter(([, right]) => right === "write");
      const given = [
        ...(usesSecrets(job.keys) ? ["is given secrets"] : []),
        ...(namesEnvironment(job) ? ["runs in an environment, which has secrets"] : []),
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

/** Also one that only may be. */
function namesEnvironment({ keys: { environment } }: Job): boolean {
  return stringOf(typeof environment === "string" ? environment : keys(environment).name) !== "";
}

/** What strangers can start, though it runs with this repository's rights. */
const OF_STRANGERS =
  /^(?:workflow_run|issue_comment|issues|discussion|discussion_comment|check_run|check_suite|status|watch|fork|pull_request_target)$/;

/** They run with this repository's rights: what they check out must not be the pull request's. */
function noSecretsForHeads(workflow: Workflow): Problem[] {
  if (!workflow.events.some((event) => OF_STRANGERS.test(event))) return [];
  return workflow.jobs.flatMap((job) => {
    if (isAfterPush(job)) return [];
    return job.steps
      .filter((step) => (isCheckout(step) ? texts(step.with).some(isHead) : fetchesHead(step, job, workflow)))
      .map(({ path, keys: { uses } }) => ({
        path: [...path, uses === undefined ? "run" : "with"],
        message: `the job ${job.id} checks out a pull request's code, with this repository's rights`,
        hint: "take what the pull request's own run has left as an artifact, as data",
      }));
  });
}

/** What is this repository's own, or its maintainers', whoever has started the workflow. */
const OURS =
  /^(?:github\.(?:sha|ref|ref_name|repository|repository_owner|server_url|workspace|token|workflow_sha|workflow_ref|event\.repository\.[\w.]+)|job\.workflow_(?:sha|ref|repository)|runner\.\w+|(?:vars|inputs|secrets)\.[\w-]+)$/i;

/** Whether a checkout that is given this may be of a pull request: what isn't known to be ours may. */
function isHead(text: string): boolean {
  return (
    /\brefs\/pull\//.test(text) ||
    expressions(text)
      .flatMap(contexts)
      .some((context) => !OURS.test(context))
  );
}

/** Whether a script gets what a pull request's author wrote, with git or GitHub's program. */
function fetchesHead({ keys: { run, env } }: Step, job: Job, workflow: Workflow): boolean {
  const given = Object.entries({ ...keys(workflow.top.env), ...keys(job.keys.env), ...keys(env) });
  const heads = given.filter(([, value]) => isHead(stringOf(value))).map(([name]) => name);
  return commandsOf(stringOf(run)).some((words) => {
    const line = words.join(" ");
    if (/\bgh pr checkout\b/.test(line)) return true;
    if (!/\bgit\b.* (?:fetch|pull|checkout|switch|reset|merge|worktree|clone)\b/.test(line)) return false;
    const used = [...line.matchAll(/\$\{?(\w+)/g)].map((match) => match[1] ?? "");
    return /\bpull\/\S+\/(?:head|merge)\b/.test(line) || used.some((name) => heads.includes(name));
  });
}

function usesSecrets(value: unknown): boolean {
  if (keys(value).secrets === "inherit") return true;
  return texts(value).some((text) => expressions(text).some((one) => /\bsecrets\b(?!\.GITHUB_TOKEN\b)/i.test(one)));
}

/** Code that once ran on a machine that stays may still run there when the deploy comes. */
export function noOwnRunnersForForks(workflow: Workflow): Problem[] {
  return jobsOfPullRequests(workflow).flatMap((job) => {
    const labels = job.keys["runs-on"];
    if (labels === undefined || isOfThisRepository(job) || isGitHubs(labels, job)) return [];
    const message = `the job ${job.id} runs pull requests, of forks too, on ${describe(labels)}, a machine that may stay`;
    const hint =
      "use runs-on: ubuntu-latest, or if: github.event.pull_request.head.repo.full_name == github.repository";
    return [{ path: [...job.path, "runs-on"], message, hint }];
  });
}

/** The labels that GitHub's own runners have; ubuntu-ours may be anybody's. */
const HOSTED =
  /^(?:ubuntu-(?:latest|slim|\d\d\.\d\d)(?:-arm)?|windows-(?:latest|\d{2,4})(?:-arm|-vs\d+)?|macos-(?:latest|\d\d)(?:-large|-xlarge|-intel)?)$/;

/** Whether every machine that the labels may mean is GitHub's. */
function isGitHubs(labels: unknown, job: Job): boolean {
  const all = Array.isArray(labels) ? labels : [labels];
  if (all.length !== 1) return false;
  const label = stringOf(all[0]);
  const [, key] = /^\$\{\{ *matrix\.([\w-]+) *\}\}$/.exec(label) ?? [];
  if (key === undefined) return HOSTED.test(label);
  const { [key]: values, include } = keys(keys(job.keys.strategy).matrix);
  const added = Array.isArray(include) ? include.map((one) => keys(one)[key]).filter((one) => one !== undefined) : [];
  if (include !== undefined && !Array.isArray(include)) return false;
  const possible = [...(Array.isArray(values) ? values : values === undefined ? [] : [null]), ...added];
  return possible.length > 0 && possible.every((one) => HOSTED.test(stringOf(one)));
}

function describe(labels: unknown): string {
  return texts(labels).join(", ") || "runners that are not named";
}
