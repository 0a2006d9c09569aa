import { duration } from "../duration.ts";
import type { Manifest } from "../release/manifest.ts";
import type { FleetState } from "../results.ts";
import type { Heartbeat, Report } from "./schema.ts";

/** What is known of one host. Times are in milliseconds since 1970, by the server's clock. */
export interface Known {
  /** What is published for it; null when nothing is. */
  published: Pick<Manifest, "sequence" | "toplevel"> | null;
  heartbeat: { content: Heartbeat; received: number } | null;
  /** Of its newest attempt. */
  report: { content: Report; received: number } | null;
  now: number;
}

export interface State {
  state: FleetState;
  /** One line for people; null where the state says it all. */
  reason: string | null;
}

/** Milliseconds between a host's polls, as services.bento has it by default. */
const INTERVAL = 15 * 60 * 1000;
/** A host that has missed three polls is silent. */
const SILENCE = 3 * INTERVAL;

/** When a host was last heard of. A time in the future is no later than now: hosts set their files' times. */
export function lastContact({ heartbeat, report, now }: Omit<Known, "published">): number | null {
  const times = [heartbeat?.received, report?.received].filter((time) => time !== undefined);
  return times.length === 0 ? null : Math.min(now, Math.max(...times));
}

/**
 * The state of a host. Silence comes first, since whatever else is known is then old; then what became of the release that is
 * published; and only what is left can be up to date.
 */
export function stateOf(known: Known): State {
  const { published, heartbeat, report, now } = known;
  const contact = lastContact(known);
  if (published === null) return { state: "new", reason: "nothing has been published for it yet" };
  if (contact === null) return { state: "new", reason: "it has not been heard of yet" };
  if (now - contact > SILENCE) return { state: "silent", reason: `not heard of for ${duration(now - contact)}` };
  if (heartbeat?.content.suspended) return { state: "suspended", reason: suspension(heartbeat.content) };

  const attempt = report?.content.sequence === published.sequence ? report.content : null;
  const refused = report?.content.outcome === "refused" && report.content.sequence === null ? report.content : null;
  const failure = attempt ?? refused;
  switch (failure?.outcome) {
    case "failed":
    case "rolled-back":
    case "inconclusive":
    case "refused":
      return { state: failure.outcome, reason: failure.reason };
    case "auto-updated":
      return { state: "auto-updated", reason: null };
    case "success":
    case "unchanged":
    case undefined:
      break;
  }
  const expecting = published.toplevel;
  if (
    heartbeat?.content.reboot &&
    expecting !== null &&
    heartbeat.content.profile === expecting &&
    heartbeat.content.running !== expecting
  ) {
    return { state: "pending", reason: "it takes effect at the next restart" };
  }
  const applied = attempt !== null || heartbeat?.content.sequence === published.sequence;
  if (!applied) return { state: "pending", reason: null };
  const expected = published.toplevel ?? attempt?.to ?? null;
  const running = heartbeat?.content.running ?? null;
  // A heartbeat that is older than the attempt's report says what ran before it.
  const outdated = attempt !== null && heartbeat?.content.sequence !== published.sequence;
  if (!outdated && expected !== null && running !== null && running !== expected && running !== attempt?.to) {
    return { state: "drifted", reason: `it runs ${running}, and not what it confirmed` };
  }
  if (heartbeat?.content.reboot && !outdated) {
    return { state: "reboot-pending", reason: "its new kernel, initrd or modules wait for a restart" };
  }
  return { state: "up-to-date", reason: null };
}

function suspension({ suspendedUntil: until, suspendedReason: reason }: Heartbeat): string {
  const time = until === null ? "" : ` until ${until}`;
  return `its upgrades are suspended${time}${reason === null ? "" : `: ${reason}`}`;
}
