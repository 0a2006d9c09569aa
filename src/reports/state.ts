import { duration } from "../duration.ts";
import type { Manifest } from "../release/manifest.ts";
import type { FleetState, Health, Outcome, Sync } from "../results.ts";
import type { Heartbeat, Report } from "./schema.ts";

/** What is known of one host. Times are in milliseconds since 1970, by the server's clock. */
export interface Known {
  /** What is published for it; null when nothing is. `since`: when it was put there, as far as that is known. */
  published: (Pick<Manifest, "sequence" | "toplevel"> & { since?: number | null }) | null;
  heartbeat: { content: Heartbeat; received: number } | null;
  /** Of its newest attempt. */
  report: { content: Report; received: number } | null;
  now: number;
}

export interface State {
  /** One word for both. */
  state: FleetState;
  /** How far what is published has got. */
  sync: Sync;
  /** How the host is, whatever is published. */
  health: Health;
  /** One line for people; null where the state says it all. */
  reason: string | null;
}

/** Milliseconds between a host's polls, as services.bento has it by default. */
const INTERVAL = 15 * 60 * 1000;
/** A host that has missed so many polls is silent. */
const POLLS = 3;
/** A host sets its files' times as it likes. So much later than now may be a clock that was put right; more is no contact. */
const SLACK = 5 * 60 * 1000;

type Part<T> = { is: T; reason: string | null };

/**
 * When a host was last heard of. A time a little in the future is now; one far in the future is null, as if it had never been
 * heard of: it would look alive for years.
 */
export function lastContact({ heartbeat, report, now }: Omit<Known, "published">): number | null {
  const times = [heartbeat?.received, report?.received]
    .filter((time) => time !== undefined)
    .filter((time) => time <= now + SLACK);
  return times.length === 0 ? null : Math.min(now, Math.max(...times));
}

/** How many milliseconds it may say nothing before it is silent. */
export function patience({ heartbeat }: Pick<Known, "heartbeat">): number {
  const { interval } = heartbeat?.content ?? {};
  return POLLS * (interval == null ? INTERVAL : interval * 1000);
}

/**
 * The state of a host. What of it is old, or isn't known, comes first; then what became of the release that is published; and
 * only what is left can be up to date.
 */
export function stateOf(known: Known): State {
  const sync = syncOf(known);
  const health = healthOf(known, sync.is);
  const state = combine(sync.is, health.is);
  return { state, sync: sync.is, health: health.is, reason: reasonOf(state, sync, health) };
}

/** What is published, against what was attempted and applied. */
function syncOf(known: Known): Part<Sync> {
  const { published, heartbeat, report } = known;
  if (published === null) return { is: "none", reason: "nothing has been published for it yet" };
  const attempt = attemptAt(known);
  switch (attempt?.outcome) {
    case "failed":
    case "rolled-back":
    case "inconclusive":
    case "refused":
      return { is: attempt.outcome, reason: attempt.reason };
    case "auto-updated":
      return { is: "auto-updated", reason: null };
    case "success":
    case "unchanged":
    case undefined:
      break;
  }
  if (isStaged(known)) return { is: "pending", reason: "it takes effect at the next restart" };
  if (attempt !== null || heartbeat?.content.sequence === published.sequence) return { is: "applied", reason: null };
  const newest = Math.max(heartbeat?.content.sequence ?? 0, report?.content.sequence ?? 0);
  if (newest > published.sequence) {
    return { is: "pending", reason: `it has had release ${newest}, which is newer than what is published` };
  }
  if (heartbeat !== null && published.since != null && heartbeat.received > published.since) {
    return { is: "applying", reason: "it has asked since this was published, and has not said what became of it" };
  }
  return { is: "pending", reason: null };
}

/** The host's newest attempt, if it was one at what is published. */
function attemptAt({ published, report }: Known): Report | null {
  if (published === null || report === null) return null;
  const { content, received } = report;
  if (content.sequence === published.sequence) return content;
  // What it couldn't even read has no number. It may have been what was there before.
  const isOfThis = published.since == null || received >= published.since;
  return content.outcome === "refused" && content.sequence === null && isOfThis ? content : null;
}

/** Whether what is published waits in the boot loader. */
function isStaged({ published, heartbeat }: Known): boolean {
  const expected = published?.toplevel ?? null;
  if (expected === null || !heartbeat?.content.reboot) return false;
  return heartbeat.content.profile === expected && heartbeat.content.running !== expected;
}

function healthOf(known: Known, sync: Sync): Part<Health> {
  const { heartbeat, report, now } = known;
  const contact = lastContact(known);
  if (contact === null) {
    const isUnheard = heartbeat === null && report === null;
    if (isUnheard) return { is: "unheard", reason: "it has not been heard of yet" };
    return { is: "unknown", reason: "its files are dated in the future, so nobody knows when it was heard of" };
  }
  const age = now - contact;
  // While it builds it doesn't poll.
  const longest = sync === "applying" ? Math.max(patience(known), POLLS * INTERVAL) : patience(known);
  if (age > longest) return { is: "silent", reason: `not heard of for ${duration(age)}` };
  if (heartbeat?.content.suspended) return { is: "suspended", reason: suspension(heartbeat.content) };
  const other = otherThanConfirmed(known);
  if (other !== null) return { is: "drifted", reason: driftOf(other) };
  if (heartbeat?.content.reboot && !isOutdated(known)) {
    return { is: "reboot-pending", reason: "its new kernel, initrd or modules wait for a restart" };
  }
  return { is: "ok", reason: null };
}

/** A system that runs in the place of the one that was confirmed, which is one of `confirmed`. */
interface Other {
  running: string;
  heartbeat: Heartbeat;
  confirmed: readonly string[];
}

/** What a host runs, when that is something else than it confirmed last; null when it isn't, or isn't known. */
function otherThanConfirmed(known: Known): Other | null {
  const { published, heartbeat, report } = known;
  const running = heartbeat?.content.running ?? null;
  if (heartbeat === null || running === null || isStaged(known) || isOutdated(known)) return null;
  const confirmed = report !== null && CONFIRMED.includes(report.content.outcome) ? report.content : null;
  const applied = heartbeat?.content.sequence ?? null;
  const isApplied =
    published !== null && (applied === published.sequence || confirmed?.sequence === published.sequence);
  const expected = [
    isApplied ? published.toplevel : null,
    confirmed !== null && (isApplied || confirmed.sequence === applied) ? confirmed.to : null,
  ].filter((system) => system !== null);
  if (expected.length === 0 || expected.includes(running)) return null;
  return { running, heartbeat: heartbeat.content, confirmed: expected };
}

/** Why it runs another system, as far as its heartbeat tells. */
function driftOf({ running, heartbeat, confirmed }: Other): string {
  const { booted, profile } = heartbeat;
  if (booted === running && profile !== null && confirmed.includes(profile)) {
    return (
      `it was started with ${running}, and not with its release, which boots by default: on it, ` +
      "'bento-agent upgrade --again' goes back to the release, 'bento-agent rollback' stays with what runs for good"
    );
  }
  return `it runs ${running}, and not what it confirmed`;
}

const CONFIRMED: readonly Outcome[] = ["success", "unchanged", "auto-updated"];

/** A heartbeat from before the newest attempt says what ran before it. */
function isOutdated({ published, heartbeat, report }: Known): boolean {
  return (
    published !== null &&
    report?.content.sequence === published.sequence &&
    heartbeat?.content.sequence !== published.sequence
  );
}

function combine(sync: Sync, health: Health): FleetState {
  if (sync === "unknown" || health === "unknown") return "unknown";
  if (sync === "none" || health === "unheard") return "new";
  if (health === "silent" || health === "suspended") return health;
  switch (sync) {
    case "failed":
    case "rolled-back":
    case "inconclusive":
    case "refused":
    case "pending":
    case "applying":
      return sync;
    case "applied":
    case "auto-updated":
      if (health !== "ok") return health;
      return sync === "applied" ? "up-to-date" : sync;
  }
}

/** The reason of the part that the state is of; what else is wrong with a host that waits comes behind. */
function reasonOf(state: FleetState, sync: Part<Sync>, health: Part<Health>): string | null {
  if (state === "new") return sync.is === "none" ? sync.reason : health.reason;
  if (state === health.is) return health.reason;
  if (health.is !== "drifted") return sync.reason;
  return sync.reason === null ? health.reason : `${sync.reason}; ${health.reason}`;
}

function suspension({ suspendedUntil: until, suspendedReason: reason }: Heartbeat): string {
  const time = until === null ? "" : ` until ${until}`;
  return `its upgrades are suspended${time}${reason === null ? "" : `: ${reason}`}`;
}
