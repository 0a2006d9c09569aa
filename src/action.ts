// GitHub has Node 24; another server's runner has what its image has, and Node 22 has no AsyncDisposableStack.
import "core-js/actual/async-disposable-stack/index.js";
import { randomUUID } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { build } from "./commands/build.ts";
import { check } from "./commands/check.ts";
import type { Context } from "./commands/context.ts";
import { deploy } from "./commands/deploy.ts";
import { flakeUpdate } from "./commands/flake-update.ts";
import { comment } from "./commands/github/comment.ts";
import { markCommits, trackTrouble } from "./commands/github/track.ts";
import {
  CACHE_KEY,
  GIT_KEY,
  MEMORY_KEY,
  MissingKeysError,
  optionalKey,
  PUBLISHER_KEY,
  SECRETS,
  SIGNING_KEY,
} from "./commands/keys.ts";
import { plan } from "./commands/plan.ts";
import { report } from "./commands/report.ts";
import { deliverStatus } from "./commands/status/outlets.ts";
import { EACH, parseFailOn, status } from "./commands/status.ts";
import { parseDuration } from "./duration.ts";
import { FleetError, UnavailableError } from "./errors.ts";
import { parseShard, splitPatterns } from "./fleet/select.ts";
import { parseWave } from "./fleet/waves.ts";
import {
  actionsOutput,
  addSummary,
  annotate,
  booleanInput,
  fail,
  input,
  lines,
  printForeign,
  secretInput,
  setOutput,
} from "./platform/actions.ts";
import { readEvent, type WorkflowEvent } from "./platform/event.ts";
import { GitHub, RefusedError } from "./platform/github.ts";
import { onInterrupt } from "./platform/interrupt.ts";
import { annotations } from "./render/annotations.ts";
import { renderCheck } from "./render/check.ts";
import { renderDeploy } from "./render/deploy.ts";
import { describeError } from "./render/failure.ts";
import { flakeUpdateMarkdown, renderFlakeUpdate } from "./render/flake-update.ts";
import { renderPlan } from "./render/lists.ts";
import { renderStatus } from "./render/status.ts";
import { checkComment, summary } from "./render/summary.ts";
import { painter } from "./render/terminal.ts";
import {
  type CheckDocument,
  type DeployDocument,
  type FlakeUpdateDocument,
  failedHosts,
  type StatusDocument,
} from "./results.ts";

type ActionDocument = CheckDocument | DeployDocument | StatusDocument;
const COMMANDS = ["plan", "check", "report", "build", "deploy", "status", "flake-update"] as const;

/** The inputs that private keys come in, by the variables that the command line has them in; secrets of a repository have those names, too. */
const KEY_INPUTS = {
  [PUBLISHER_KEY]: "ssh-key",
  [SIGNING_KEY]: "signing-key",
  [GIT_KEY]: "git-ssh-key",
  [CACHE_KEY]: "cache-key",
} as const;

/** GitHub ends a job of its own runners' after six hours, whatever it waits for. */
const LONGEST_WAIT = 5 * 3_600_000;

/** All inputs, validated before anything happens. action.yml describes them. */
function readInputs() {
  const command = COMMANDS.find((name) => name === input("command"));
  if (command === undefined) {
    throw new FleetError(`the input 'command' must be one of ${COMMANDS.join(", ")}, not '${input("command")}'`);
  }
  const event = readEvent(process.env.GITHUB_EVENT_PATH);
  if (event.isFork && process.env.RUNNER_ENVIRONMENT === "self-hosted") {
    throw new FleetError("a pull request of a fork is not run on a self-hosted runner, where its code would stay", {
      hint: "run checks of pull requests on runs-on: ubuntu-latest",
    });
  }
  const [cacheKey, push] = [secretInput(KEY_INPUTS[CACHE_KEY]), pushOf(input("push"))];
  // A step may have the key in its environment as well, as at the command line.
  const isHandedOn = cacheKey !== "" || optionalKey(process.env, CACHE_KEY) !== undefined || push !== null;
  const isSigning = command === "deploy" || (command === "build" && isHandedOn);
  if (event.isUnmerged && isHandedOn) {
    throw new FleetError("what a pull request builds is neither signed nor pushed: nobody has agreed to it yet", {
      hint: `give cache-key (${CACHE_KEY}) and push to the job that runs after the merge, on: push`,
    });
  }
  const wait = parseDuration(input("wait") || "0");
  if (wait > LONGEST_WAIT && process.env.RUNNER_ENVIRONMENT === "github-hosted") {
    throw new FleetError(
      `the input 'wait' is ${input("wait")}, and GitHub ends a job after 6 hours, in the middle of it`,
      {
        hint: "wait 5h at most; a wave whose hosts need longer is published when its job is run again",
      },
    );
  }
  const timeout = input("timeout");
  if (!/^[1-9]\d{0,8}$/.test(timeout)) throw new FleetError(`the input 'timeout' must be seconds, not '${timeout}'`);
  const place = path.normalize(input("fleet") || ".").replace(/(?<=.)\/$/, "");
  // Reading it takes it out of the environment.
  const token = secretInput("token");
  const secrets = {
    [PUBLISHER_KEY]: secretInput(KEY_INPUTS[PUBLISHER_KEY]),
    [SIGNING_KEY]: secretInput(KEY_INPUTS[SIGNING_KEY]),
    [GIT_KEY]: secretInput(KEY_INPUTS[GIT_KEY]),
    [CACHE_KEY]: cacheKey,
    [MEMORY_KEY]: secretInput("memory-key") || process.env[MEMORY_KEY] || (isSigning ? keyOfJob() : ""),
  };
  const env = { ...process.env, ...Object.fromEntries(Object.entries(secrets).filter(([, value]) => value !== "")) };
  // Programs that are started, and with them the fleet's own code, inherit this process's environment: no key stays in it.
  for (const name of SECRETS) delete process.env[name];
  return {
    command,
    place,
    fleet: path.resolve(process.env.GITHUB_WORKSPACE ?? ".", place),
    hosts: splitPatterns(input("hosts")),
    shard: input("shard") === "" ? null : parseShard(input("shard")),
    shards: count("shards"),
    dirty: false,
    documents: lines("documents"),
    ...baseOf(input("base"), event),
    event,
    pullRequest: count("pull-request") ?? event.pullRequest,
    token,
    comment: flag("comment"),
    html: input("html"),
    failOn: input("fail-on") === "" ? null : parseFailOn(input("fail-on")),
    tracking: { issue: flag("issue"), commitStatus: flag("commit-status") },
    dryRun: flag("dry-run"),
    force: flag("force"),
    prune: flag("prune"),
    push,
    evaluate: flag("evaluate"),
    wave: input("wave") === "" ? null : parseWave(input("wave")),
    wait,
    nix: { overrideInputs: pairs("override-input"), options: pairs("option"), searchPath: lines("include") },
    timeout: Number(timeout) * 1000,
    env,
  };
}

/**
 * What signs or publishes believes no evaluation that anybody else has left on the machine or in a cache of the CI's: unless told
 * which ones to, those of this very job, whose steps alone know the runtime's token.
 */
function keyOfJob(): string {
  return `job ${process.env.ACTIONS_RUNTIME_TOKEN || randomUUID()}`;
}

/** Where to: an address, or what fleet.yaml says. */
function pushOf(text: string): string | true | null {
  if (text === "" || text === "false") return null;
  return text === "true" ? true : text;
}

/** A whole number from 1, or null where there is none. */
function count(name: string): number | null {
  const text = input(name);
  if (text === "") return null;
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new FleetError(`the input '${name}' must be a whole number, not '${text}'`);
  return Number(text);
}

function flag(name: string): boolean {
  try {
    return booleanInput(name);
  } catch (cause) {
    throw new FleetError(`the input '${name}' must be true or false, not '${input(name)}'`, { cause });
  }
}

function pairs(name: string): [string, string][] {
  return lines(name).map((line) => {
    const [, first, second] = /^(\S+)\s+(.+)$/.exec(line) ?? [];
    if (first === undefined || second === undefined)
      throw new FleetError(`the input '${name}' needs a name and a value on each line, and has '${line}'`);
    return [first, second];
  });
}

/** The commit to compare with: the one asked for, or what a pull request would be merged into. */
function baseOf(given: string, event: WorkflowEvent): { base: string | null; baseOptional: boolean } {
  return given === "" ? { base: event.base, baseOptional: true } : { base: given, baseOptional: false };
}

type Inputs = ReturnType<typeof readInputs>;

function runCommand(
  context: Context,
  inputs: Inputs & { command: Exclude<Inputs["command"], "plan" | "flake-update"> },
): Promise<ActionDocument> {
  switch (inputs.command) {
    case "check":
      return check(context, inputs);
    case "report":
      return report(context, { files: inputs.documents });
    case "build":
      return build(context, {
        ...inputs,
        roots: null,
        logs: null,
        signKey: null,
        isUnmerged: inputs.event.isUnmerged,
      });
    case "deploy":
      return deploy(context, inputs);
    case "status":
      return status(context, { ...inputs, attempts: inputs.html === "" ? null : EACH });
  }
}

function text(document: ActionDocument): string {
  const paint = painter(false);
  switch (document.command) {
    case "check":
    case "build":
      return renderCheck(document, paint, false);
    case "deploy":
    case "rollback":
      return renderDeploy(document, paint, false);
    case "status":
      return renderStatus(document, paint, Date.now());
  }
}

function changedHosts(document: ActionDocument): string[] {
  if (document.command === "status") return [];
  return document.hosts.filter(({ status }) => status === "changed" || status === "published").map((host) => host.name);
}

/** Comments on the pull request that a check is of. Without the right to, the summary is all there is. */
async function commentOn(document: CheckDocument, inputs: Inputs, signal: AbortSignal): Promise<void> {
  const { event, token, place, comment: isWanted } = inputs;
  const { GITHUB_API_URL: apiUrl, GITHUB_REPOSITORY: repository } = process.env;
  if (!isWanted || token === "" || !apiUrl || !repository) return;
  const github = new GitHub({ apiUrl, repository, token, signal });
  try {
    const { owner, branch, commit } = event.head ?? {};
    const found = owner && branch && commit ? await github.pullRequestOf(owner, branch, commit) : undefined;
    const pullRequest = inputs.pullRequest ?? found;
    if (pullRequest !== undefined) await comment(github, pullRequest, place, checkComment(document));
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    const message =
      error instanceof RefusedError
        ? "no comment on the pull request: the token may not write one, as is the rule for forks. The summary has the report"
        : `no comment on the pull request: ${error.message}`;
    annotate({ level: error instanceof RefusedError ? "notice" : "warning", title: "Bento", message });
  }
}

/** Says on commits how far they have got, and keeps an issue while there is trouble. Without the right to, it says so. */
async function trackStatus(document: StatusDocument, inputs: Inputs, signal: AbortSignal): Promise<void> {
  const { GITHUB_API_URL: apiUrl, GITHUB_REPOSITORY: repository } = process.env;
  const { token } = inputs;
  const { issue, commitStatus } = inputs.tracking;
  if (token === "" || !apiUrl || !repository) return;
  const github = new GitHub({ apiUrl, repository, token, signal });
  const attempt = async (what: string, right: string, work: () => Promise<void>) => {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      const why = error instanceof RefusedError ? `the token may not, it needs '${right}: write'` : error.message;
      annotate({ level: "warning", title: "Bento", message: `${what}: ${why}` });
    }
  };
  if (commitStatus) await attempt("no commit status", "statuses", () => markCommits(github, document, inputs.place));
  if (issue) await attempt("no issue", "issues", () => trackTrouble(github, document, inputs.place));
}

/** What the matrices of later jobs are made of. */
async function makePlan(context: Context, inputs: Inputs): Promise<void> {
  const document = await plan(context, inputs);
  printForeign(renderPlan(document, painter(false)));
  setOutput("shards", JSON.stringify(document.shards.map(({ shard }) => shard)));
  setOutput("waves", JSON.stringify(document.waves.map(({ wave }) => wave)));
}

/** Brings the locks up to date; what is to become of the changed files is for the steps after it. */
async function updateFlakes(context: Context, inputs: Inputs): Promise<void> {
  // A clock starts it, also in a fleet that has no flake (yet).
  const document = await flakeUpdate(context, { ...inputs, inputs: [], mayHaveNone: inputs.hosts.length === 0 });
  printForeign(renderFlakeUpdate(document, painter(false), false));
  await addSummary(flakeUpdateMarkdown(document));
  const failed = document.flakes.filter(({ status }) => status === "failed").map(({ file }) => file);
  await leaveDocument(document);
  setOutput("result", failed.length === 0 ? "success" : "failure");
  if (failed.length > 0) fail(`bento flake-update: ${failed.length} failed: ${failed.join(", ")}`);
}

/** For later steps. */
async function leaveDocument(document: ActionDocument | FlakeUpdateDocument, command: string = document.command) {
  const file = path.join(process.env.RUNNER_TEMP ?? tmpdir(), `bento-${command}.json`);
  await writeFile(file, JSON.stringify(document, null, 2));
  setOutput("document", file);
}

/** A key that isn't there, in the words of whoever reads a workflow. */
function missingInputs({ message, names }: MissingKeysError): FleetError {
  const inputs = Object.entries(KEY_INPUTS).filter(([name]) => names.includes(name));
  const given = inputs.map(([name, key]) => `${key}: \${{ secrets.${name} }}`).join(" and ");
  return new FleetError(message, {
    hint: `give the step ${given}, and the job the environment that has it as a secret and lets this branch use it; bento keygen makes the keys`,
  });
}

async function main(): Promise<void> {
  const inputs = readInputs();
  const context = { output: actionsOutput(), signal: onInterrupt(), env: inputs.env, cwd: process.cwd() };
  const { command } = inputs;
  if (command === "plan") return makePlan(context, inputs);
  if (command === "flake-update") return updateFlakes(context, inputs);
  const document = await runCommand(context, { ...inputs, command });
  const failed = failedHosts(document);

  printForeign(text(document));
  for (const annotation of annotations(document, inputs.place)) annotate(annotation);
  await addSummary(summary(document, Date.now()));
  if (document.command === "check") await commentOn(document, inputs, context.signal);
  if (document.command === "status") {
    const cwd = process.env.GITHUB_WORKSPACE ?? context.cwd;
    const outlets = inputs.html === "" ? {} : { html: inputs.html };
    await deliverStatus({ ...context, cwd }, document, inputs.fleet, outlets);
    await trackStatus(document, inputs, context.signal);
  }
  await leaveDocument(document, inputs.command);
  const pushError = (document.command === "build" && document.push?.error) || null;
  setOutput("result", failed.length === 0 && pushError === null ? "success" : "failure");
  setOutput("failed-hosts", JSON.stringify(failed));
  setOutput("changed-hosts", JSON.stringify(changedHosts(document)));
  if (pushError !== null) fail(`bento build: ${pushError.message}`);
  if (failed.length > 0) {
    const what = inputs.command === "status" ? "to look at" : "failed";
    fail(`bento ${inputs.command}: ${failed.length} ${what}: ${failed.join(", ")}`);
  }
}

try {
  await main();
} catch (thrown) {
  const error = thrown instanceof MissingKeysError ? missingInputs(thrown) : thrown;
  // Whatever was thrown, the run is red.
  fail(describeError(error, painter(false)).replace(/^error: /, ""));
}
