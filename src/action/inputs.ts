import { randomUUID } from "node:crypto";
import path from "node:path";
import {
  CACHE_KEY,
  GIT_KEY,
  MEMORY_KEY,
  type MissingKeysError,
  optionalKey,
  PUBLISHER_KEY,
  SECRETS,
  SIGNING_KEY,
} from "../commands/keys.ts";
import { parseFailOn } from "../commands/status/arguments.ts";
import { parseDuration } from "../duration.ts";
import { FleetError } from "../errors.ts";
import { parseShard, splitPatterns } from "../fleet/select.ts";
import { parseWave } from "../fleet/waves.ts";
import { booleanInput, input, lines, secretInput } from "../platform/actions.ts";
import { readEvent, type WorkflowEvent } from "../platform/event.ts";

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
export function readInputs() {
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
  const wait = readWait();
  const timeout = readTimeout();
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
    timeout,
    env,
  };
}

/** Milliseconds to wait. @throws FleetError for more than a job of GitHub's own runners has. */
function readWait(): number {
  const wait = parseDuration(input("wait") || "0");
  if (wait <= LONGEST_WAIT || process.env.RUNNER_ENVIRONMENT !== "github-hosted") return wait;
  throw new FleetError(
    `the input 'wait' is ${input("wait")}, and GitHub ends a job after 6 hours, in the middle of it`,
    {
      hint: "wait 5h at most; a wave whose hosts need longer is published when its job is run again",
    },
  );
}

/** Milliseconds for one host's evaluation. */
function readTimeout(): number {
  const timeout = input("timeout");
  if (!/^[1-9]\d{0,8}$/.test(timeout)) throw new FleetError(`the input 'timeout' must be seconds, not '${timeout}'`);
  return Number(timeout) * 1000;
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

export type Inputs = ReturnType<typeof readInputs>;

/** A key that isn't there, in the words of whoever reads a workflow. */
export function missingInputs({ message, names }: MissingKeysError): FleetError {
  const inputs = Object.entries(KEY_INPUTS).filter(([name]) => names.includes(name));
  const given = inputs.map(([name, key]) => `${key}: \${{ secrets.${name} }}`).join(" and ");
  return new FleetError(message, {
    hint: `give the step ${given}, and the job the environment that has it as a secret and lets this branch use it; bento keygen makes the keys`,
  });
}
