import { setTimeout as pause } from "node:timers/promises";
import { InterruptedError } from "../errors.ts";
import type { SshTarget } from "../fleet/ssh-target.ts";
import { inertLine } from "../inert.ts";
import type { HostFailure, HostTrigger } from "../results.ts";
import { type AgentStatus, parseAgentStatus } from "./agent-status.ts";
import { judge } from "./outcome.ts";
import script from "./session.sh";
import { nonce, runThere, type SshOptions } from "./ssh.ts";

export interface ReachableHost {
  name: string;
  target: SshTarget;
}

export interface UpgradeOptions {
  ssh: SshOptions;
  signal: AbortSignal;
  /** Milliseconds for which a connection that broke is tried to be made again. */
  patience: number;
  /** Told each line of the upgrade's log as it comes, on one inert line; and what happens to the connection. */
  onLine(line: string): void;
}

/** Milliseconds between two tries to connect again. */
const PAUSE = 2000;
/** Connections to a host that answers each time, and never comes to an end. */
const MAX_CONNECTIONS = 100;
/** Lines of one upgrade that are shown, however fast they come, and of those beyond in each second. */
const SHOWN_FREELY = 10_000;
const SHOWN_PER_SECOND = 100;

export interface UpgradeThere {
  result: HostTrigger;
  /** The sequence of the release that it was an attempt of, where there was one. */
  attempted: number | null;
}

/**
 * Has a host's agent make an attempt now, or follows the one that it is making already, to its end. When the connection breaks,
 * as an upgrade of the network makes it, the attempt goes on there, and is followed again as soon as it can be.
 * @throws InterruptedError; anything else that goes wrong is in the result.
 */
export async function upgradeThere(host: ReachableHost, options: UpgradeOptions): Promise<UpgradeThere> {
  const log = new Log(options.onLine);
  const first = await talk(host, "upgrade", options, log);
  const { before } = first;
  const problem = objection(host, first);
  if (before === null || problem !== null) return failed(host, before, problem ?? UNINTELLIGIBLE);

  let { after, exit } = first;
  let deadline = Date.now() + options.patience;
  let { failure } = first;
  if (after === null && !first.overflowed)
    options.onLine(`${failure?.message ?? "the connection broke"}: the upgrade goes on there`);
  let overflowed = first.overflowed;
  let verb: Verb = "follow";
  for (let connections = 1; after === null; connections++) {
    if (overflowed) {
      // To say that much although it was asked for the end alone isn't an agent's way.
      if (verb === "wait") return failed(host, before, failure ?? UNINTELLIGIBLE);
      verb = "wait";
      options.onLine("… it says more than is followed here; it is in the log there, and its end is waited for");
    }
    if (Date.now() > deadline || connections > MAX_CONNECTIONS) {
      return failed(host, before, {
        message: `it can't be reached any more: ${failure?.message ?? "no reason given"}; what became of the upgrade isn't known`,
        hint: "bento status says so as soon as it reports; a system that isn't confirmed is undone by the host itself",
      });
    }
    await pause(PAUSE, undefined, { signal: options.signal }).catch(() => {
      throw new InterruptedError();
    });
    const again = await talk(host, verb, options, log);
    ({ failure, overflowed } = again);
    // Whoever answers by now may be another machine.
    if (again.before?.host !== host.name) continue;
    deadline = Date.now() + options.patience;
    // What it makes now may be begun by the time that the log was over.
    if (again.after !== null && !again.after.upgrading) ({ after } = again);
    exit = null;
  }
  const verdict = judge({ before, after, exit, lastLine: log.last });
  const result: HostTrigger = {
    name: host.name,
    status: verdict.ok ? "ok" : "failed",
    outcome: verdict.outcome,
    reason: verdict.reason,
    sequence: after.sequence,
    running: after.running,
    joined: before.upgrading,
    error: verdict.ok ? null : { message: verdict.reason ?? verdict.outcome ?? "it failed" },
  };
  return { result, attempted: verdict.attempted };
}

/** What keeps a host's agent from making an attempt, or null; and whether it takes sudo there to be root. */
export async function inspectThere(
  host: ReachableHost,
  options: Pick<UpgradeOptions, "ssh" | "signal">,
): Promise<{ problem: HostFailure | null; sudo: boolean }> {
  const silent = { ...options, patience: 0, onLine: () => {} };
  const found = await talk(host, "status", silent, new Log(silent.onLine));
  return { problem: objection(host, found), sudo: found.sudo };
}

function objection(host: ReachableHost, { before, failure }: Talk): HostFailure | null {
  if (before === null) return failure ?? UNINTELLIGIBLE;
  if (before.host !== host.name) {
    return {
      message: `the machine that ssh: leads to is '${before.host}'`,
      hint: `ssh: of ${host.name} in fleet.yaml; nothing was done there`,
    };
  }
  if (before.suspended === null) return null;
  const { until, reason } = before.suspended;
  const message = `upgrades are suspended there${until === null ? "" : ` until ${until}`}${reason === null ? "" : `: ${reason}`}`;
  return { message, hint: "bento-agent resume, there" };
}

const UNINTELLIGIBLE: HostFailure = {
  message: "what its agent says of itself can't be understood",
  hint: "bento-agent status --json, there",
};

interface Talk {
  before: AgentStatus | null;
  after: AgentStatus | null;
  /** What the agent ended with, where it said so. */
  exit: number | null;
  /** Why it came to no end. */
  failure: HostFailure | null;
  /** It said more than anybody will read. */
  overflowed: boolean;
  sudo: boolean;
}

/** What a connection is for; see session.sh. */
type Verb = "upgrade" | "follow" | "wait" | "status";

/** One connection, from its beginning to its end. */
async function talk({ name, target }: ReachableHost, verb: Verb, options: UpgradeOptions, log: Log): Promise<Talk> {
  const word = nonce();
  const found: Talk = { before: null, after: null, exit: null, failure: null, overflowed: false, sudo: false };
  let part: string[] = [];
  let isLog = false;
  const session = await runThere(
    target,
    `nonce=${word} host=${name} verb=${verb} skip=${log.heard}\n${script}`,
    options.ssh,
    options.signal,
    (line) => {
      const mark = line.startsWith(`${word} `) ? line.slice(word.length + 1) : null;
      switch (mark) {
        case "missing":
          found.failure = {
            message: "there is no bento-agent",
            hint: `services.bento.enable = true in its configuration, or: bento bootstrap ${name}`,
          };
          break;
        case "sudo":
          found.sudo = true;
          break;
        case "forbidden":
          found.failure = FORBIDDEN;
          break;
        case "before":
          found.before = parseAgentStatus(part.join("\n"));
          isLog = true;
          break;
        case "log":
          isLog = false;
          part = [];
          break;
        case "after":
          found.after = parseAgentStatus(part.join("\n"));
          break;
        case null: {
          if (!isLog) {
            // A status has twenty lines.
            if (part.length < 200) part.push(line);
            break;
          }
          const exit = verb === "upgrade" ? /^exit (\d{1,3})$/.exec(line)?.[1] : undefined;
          if (exit === undefined) log.add(line);
          else found.exit = Number(exit);
        }
      }
    },
  );
  if (found.failure === FORBIDDEN && session.problem !== "") {
    found.failure = { ...FORBIDDEN, message: `${FORBIDDEN.message}: ${inertLine(session.problem, 300)}` };
  }
  found.overflowed = session.overflowed;
  if (found.failure === null && found.after === null) found.failure = broken(session);
  return found;
}

const FORBIDDEN: HostFailure = {
  message: "its agent doesn't answer",
  hint: "ssh: must lead to root, to somebody who may sudo without a password, or to a member of services.bento.local.group",
};

function broken({ status, problem, overflowed }: Awaited<ReturnType<typeof runThere>>): HostFailure {
  if (overflowed) return { message: "it said more than anybody would read, and was cut off" };
  const said = inertLine(problem, 300);
  if (/Host key verification failed/.test(said)) {
    return {
      message: "ssh doesn't know its host key, or knows another one",
      hint: "log in with ssh once and compare it; or bento ssh-config --known-hosts",
    };
  }
  if (status === 255) return { message: `ssh: ${said === "" ? "the connection broke" : said.replace(/^ssh: /, "")}` };
  return { message: said === "" ? `ssh ended with status ${status}` : said };
}

function failed({ name }: ReachableHost, before: AgentStatus | null, error: HostFailure): UpgradeThere {
  const { sequence = null, running = null, upgrading: joined = false } = before ?? {};
  const result = { name, status: "failed", outcome: null, reason: null, sequence, running, joined, error } as const;
  return { result, attempted: null };
}

/** The log of an attempt, of whichever connection it comes over. What comes faster than anybody reads is left out. */
class Log {
  /** The last line with anything in it, without its time of day. */
  last = "";
  /** How many lines have come. */
  heard = 0;
  readonly #onLine: (line: string) => void;
  #room = SHOWN_FREELY;
  #second = 0;

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  add(text: string): void {
    this.heard += 1;
    const line = inertLine(text, 2000);
    if (line === "") return;
    this.last = line.replace(/^\d\d:\d\d:\d\d /, "");
    const second = Math.floor(Date.now() / 1000);
    if (second !== this.#second) this.#room = Math.max(this.#room, SHOWN_PER_SECOND);
    this.#second = second;
    if (this.#room === 0) return;
    this.#room -= 1;
    this.#onLine(this.#room === 0 ? "… it says more than can be shown, which is in the log there" : line);
  }
}
