/** What can become of one attempt on a host. */
export const OUTCOMES = [
  "success",
  "unchanged",
  "failed",
  "rolled-back",
  "inconclusive",
  "refused",
  "auto-updated",
] as const;

export type Outcome = (typeof OUTCOMES)[number];

/** Every state there is, the worst first. */
export const FLEET_STATES = [
  "failed",
  "rolled-back",
  "refused",
  "unknown",
  "silent",
  "inconclusive",
  "drifted",
  "suspended",
  "reboot-pending",
  "applying",
  "pending",
  "new",
  "unreported",
  "auto-updated",
  "up-to-date",
] as const;

export type FleetState = (typeof FLEET_STATES)[number];

/** How far what is published has got: put there, seen, attempted, applied. */
export type Sync =
  /** Nothing is published. */
  | "none"
  | "pending"
  | "applying"
  | "failed"
  | "rolled-back"
  | "inconclusive"
  | "refused"
  | "auto-updated"
  | "applied"
  | "unknown";

/** How a host is, whatever is published for it. `unheard`: it never said anything. */
export type Health = "ok" | "reboot-pending" | "drifted" | "suspended" | "silent" | "unheard" | "unknown";

/** One attempt of a host's, as it told it. Texts are one inert line each. */
export interface HostAttempt {
  sequence: number | null;
  /** 40 hex digits. */
  commit: string | null;
  /** The commit's, by what is published or the fleet's repository: hosts don't say it. */
  subject: string | null;
  outcome: Outcome;
  reason: string | null;
  /** The systems that ran before and after. */
  from: string | null;
  to: string | null;
  /** By the host's clock, as it wrote it. */
  started: string | null;
  finished: string | null;
  /** Seconds between the two; null when they make no sense. */
  duration: number | null;
  /** ISO 8601, the server's clock: when the report came. */
  received: string;
}

export interface HostStatus {
  name: string;
  state: FleetState;
  /** What `state` is made of. */
  sync: Sync;
  health: Health;
  /** One line for people: why it is in this state. */
  reason: string | null;
  published: { sequence: number; commit: string; subject: string; toplevel: string | null; issued: string } | null;
  running: { toplevel: string; sequence: number | null } | null;
  /** ISO 8601, the server's clock, of the newest heartbeat or report. */
  lastContact: string | null;
  lastOutcome: string | null;
  /** The newest attempt; null when none is known. */
  attempted: HostAttempt | null;
  /** Its agent's version. */
  agent: string | null;
  /** Which wave of the rollout it is in, from 1; null in a fleet without one. */
  wave: number | null;
  groups: string[];
  /** Its attempts, newest first, with --host and --html; null where that wasn't asked for or isn't known. */
  history: HostAttempt[] | null;
  /** The end of the newest log, with --log and --html; null where that wasn't asked for or there is none. */
  log: string | null;
}

export interface StatusDocument {
  version: 1;
  command: "status";
  /** ISO 8601: when this was so. */
  time: string;
  /** The states of which one makes the exit status 1. */
  failOn: FleetState[];
  hosts: HostStatus[];
}

/** The states in which somebody has to look at a host. */
export function needsAttention(state: FleetState): boolean {
  switch (state) {
    case "failed":
    case "rolled-back":
    case "inconclusive":
    case "refused":
    case "drifted":
    case "silent":
    case "unknown":
      return true;
    case "up-to-date":
    case "pending":
    case "applying":
    case "auto-updated":
    case "reboot-pending":
    case "suspended":
    case "new":
    case "unreported":
      return false;
  }
}
