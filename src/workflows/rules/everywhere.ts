import type { Problem, RuleOptions } from "../rule.ts";
import { expressions, isCheckout, type Job, keys, type Path, type Step, stringOf, type Workflow } from "../workflow.ts";

// What no workflow that runs Bento should have, whatever it is for.

/** An action by a tag or branch, and an image by a tag, is whatever its owner, or who took over the owner, makes of it tomorrow. */
export function pinned(workflow: Workflow, { floating }: RuleOptions): Problem[] {
  return [...pinnedActions(workflow, floating), ...workflow.jobs.flatMap(pinnedImages)];
}

function pinnedActions(workflow: Workflow, floating: readonly string[]): Problem[] {
  const used = workflow.jobs.flatMap((job) => [job, ...job.steps]);
  return used.flatMap(({ path, keys: { uses } }) => {
    if (typeof uses !== "string" || isPinned(uses)) return [];
    const name = nameOnGitHub(uses, workflow.file);
    if (floating.some((allowed) => name === allowed || name.startsWith(`${allowed}/`))) return [];
    const message = `${uses} is not pinned: who owns it can change what runs here`;
    const hint = "write the commit, 40 hex digits, and the version as a comment: uses: OWNER/NAME@COMMIT # v1.2.3";
    return [{ path: [...path, "uses"], message, hint }];
  });
}

/** Those that a job runs in, and beside. What an expression chooses isn't known. */
function pinnedImages({ path, keys: { container, services } }: Job): Problem[] {
  const imageOf = (value: unknown) => stringOf(typeof value === "string" ? value : keys(value).image);
  const used = [
    { at: [...path, "container"], image: imageOf(container) },
    ...Object.entries(keys(services)).map(([name, one]) => ({ at: [...path, "services", name], image: imageOf(one) })),
  ];
  return used
    .filter(({ image }) => image !== "" && expressions(image).length === 0 && !/@sha256:[0-9a-f]{64}$/.test(image))
    .map(({ at, image }) => ({
      path: at,
      message: `the image ${image} is not pinned: who owns it can change what runs here`,
      hint: "write its digest behind the name: NAME@sha256:…, 64 hex digits",
    }));
}

/** `owner/name` of an action on github.com; empty for another server's, which may have anything by that name. */
function nameOnGitHub(uses: string, file: string): string {
  const [, url, name = ""] = /^(https:\/\/github\.com\/)?([^@]*)/.exec(uses) ?? [];
  // Forgejo and Gitea take what has no server from where their administrator says.
  const isHere = url !== undefined || !/^\.(?:forgejo|gitea)\//.test(file);
  return isHere ? name : "";
}

function isPinned(uses: string): boolean {
  return uses.startsWith("./") || (uses.startsWith("docker:") ? /@sha256:[0-9a-f]{64}$/ : /@[0-9a-f]{40}$/).test(uses);
}

/** What isn't said is what the repository's settings say, which may be the right to write everywhere. */
export function noDefaultPermissions(workflow: Workflow): Problem[] {
  const { permissions } = workflow.top;
  const isNone = typeof permissions === "object" && permissions !== null && Object.keys(permissions).length === 0;
  if (isNone) return [];
  const message = permissions === undefined ? "permissions are not set" : "every job has these permissions";
  return [{ path: ["permissions"], message, hint: "write permissions: {} at the top, and in each job what it needs" }];
}

/** It runs with the secrets and the rights of this repository, on behalf of anybody who opens a pull request. */
export function noPullRequestTarget(workflow: Workflow): Problem[] {
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
export function noExpressionsInScripts(workflow: Workflow): Problem[] {
  const found = (path: Path, text: unknown) =>
    expressions(stringOf(text))
      .filter((expression) => !HARMLESS.test(expression))
      .map((expression) => ({
        path,
        message: `\${{ ${expression} }} is pasted into a script: who has a say in it writes a program`,
        hint: 'give it in env:, and use it there as "$NAME"',
      }));
  const shell = ["defaults", "run", "shell"];
  return [
    ...found(shell, keys(keys(workflow.top.defaults).run).shell),
    ...workflow.jobs.flatMap((job) => [
      ...found([...job.path, ...shell], keys(keys(job.keys.defaults).run).shell),
      ...job.steps.flatMap((step) => [
        ...["run", "shell"].flatMap((key) => found([...step.path, key], step.keys[key])),
        ...SCRIPTS.flatMap((key) => (isVerb(key, step) ? [] : found([...step.path, "with", key], step.with[key]))),
      ]),
    ]),
  ];
}

/** What actions are given that run programs for others: github-script, retries, ssh. */
const SCRIPTS = ["script", "run", "cmd", "command"];

/** Bento's own `command` is one of a few words, and no script. */
function isVerb(key: string, { keys: { uses } }: Step): boolean {
  return key === "command" && /^\.\/|(?:^|\/)bento-nix\/bento@/.test(stringOf(uses));
}

/** The token that checkout leaves in .git/config is there for everything that runs after it. */
export function noPersistedCredentials(workflow: Workflow): Problem[] {
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
