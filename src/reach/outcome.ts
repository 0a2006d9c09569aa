import type { Outcome } from "../results.ts";
import type { AgentStatus } from "./agent-status.ts";

export interface Verdict {
  ok: boolean;
  /** Null where there was no attempt that came to anything. */
  outcome: Outcome | null;
  /** One line for people. */
  reason: string | null;
  /** Of the release that was attempted, where that is known. */
  attempted: number | null;
}

/** What is known of an upgrade that is over. */
export interface Upgrade {
  before: AgentStatus;
  after: AgentStatus;
  /** What the agent ended with; null where the connection broke before it said so. */
  exit: number | null;
  /** What it said last, on one inert line; empty for nothing. */
  lastLine: string;
}

/** An attempt that the agent didn't make, since the release failed before, or somebody has chosen another system there. */
const NOT_TRIED = / failed before, and is tried again in | is not (tried|activated) again$/;

/** What became of an upgrade: of an attempt that came to something there is a report, of all others only what was said. */
export function judge({ before, after, exit, lastLine }: Upgrade): Verdict {
  const { last } = after;
  if (last !== null && last.started !== before.last?.started) {
    const ok = ["success", "unchanged", "auto-updated"].includes(last.outcome);
    return { ok, outcome: last.outcome, reason: last.reason, attempted: last.sequence };
  }
  const attempted = null;
  const said = lastLine === "" ? null : lastLine;
  if (exit === null)
    return { ok: false, outcome: null, reason: "it doesn't say what became of the upgrade", attempted };
  if (exit !== 0) return { ok: false, outcome: null, reason: said ?? `the agent ended with status ${exit}`, attempted };
  if (said !== null && NOT_TRIED.test(said)) return { ok: false, outcome: null, reason: said, attempted };
  return { ok: true, outcome: "unchanged", reason: said, attempted };
}
