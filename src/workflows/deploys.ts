import { expressions, type Job, keys, stringOf, texts, type Workflow } from "./workflow.ts";

// Which jobs of a workflow change what machines run, with a fleet's keys.

/** The verbs of the command line that publish to hosts, or that reach them as root. */
const VERBS = ["deploy", "rollback", "push", "trigger", "bootstrap"];

/** The workflow of a repository's own that `uses: ./…` means, where that is known. */
export type Called = (uses: string) => Workflow | null;

/** The jobs that deploy by themselves: what GitHub lets nobody else say for them (environment, concurrency) is theirs. */
export function deployingJobs(workflow: Workflow): Job[] {
  return workflow.jobs.filter((job) =>
    job.steps.some(({ keys: { run }, with: { command } }) =>
      typeof run === "string" ? runsDeploy(run) : isDeploy(command, job),
    ),
  );
}

/** The jobs that call a workflow which deploys. */
export function deployingCalls(workflow: Workflow, called: Called): Job[] {
  return workflow.jobs.filter(({ keys: { uses } }) => {
    if (typeof uses !== "string") return false;
    if (/\/(?:bento-)?deploy\.ya?ml@/.test(uses)) return true;
    const own = called(uses);
    return own !== null && deployingJobs(own).length > 0;
  });
}

/** What the Action is told to do; it may be chosen by an expression, also from the job's matrix. */
function isDeploy(command: unknown, job: Job): boolean {
  const text = stringOf(command);
  if (expressions(text).length === 0) return text === "deploy";
  const chosen = /\bmatrix\b/.test(text) ? texts(job.keys.strategy) : [];
  return [text, ...chosen].some((one) => /\bdeploy\b/.test(one));
}

/** Whether a script has `bento`, by whatever path and with whatever options, do one of those. */
function runsDeploy(script: string): boolean {
  return commandsOf(script).some((words) => {
    const bento = words.findIndex((word) =>
      /(?:^|[/:])bento(?:@[\w.]+)?$|bento-nix\/bento\b|\bbento\/dist\/cli\.js$/.test(word),
    );
    // The user's name, not the program.
    if (bento < 0 || /^-\w*u$|^--user$/.test(words[bento - 1] ?? "")) return false;
    return words.slice(bento + 1).some((word) => VERBS.includes(word));
  });
}

/** A script's commands, each as its words; a rough reading, since only a shell knows. */
export function commandsOf(script: string): string[][] {
  return script
    .replaceAll(/\\\r?\n/g, " ")
    .replaceAll(/(^|\s)#.*$/gm, "$1")
    .split(/[\n;&|()`]/)
    .map((command) => command.replaceAll(/["']/g, "").split(/\s+/).filter(Boolean));
}

/** The name of the environment that a job runs in; null where there is none, or may be none. */
export function environmentOf(job: Job): string | null {
  const { environment } = job.keys;
  const name = stringOf(typeof environment === "string" ? environment : keys(environment).name);
  return name === "" || expressions(name).some((one) => /''/.test(one)) ? null : name;
}
