import type { Host } from "../fleet/fleet.ts";
import { inert } from "../inert.ts";
import type { AttemptFile, Current, HostAttempts, HostReports } from "../publish/publisher.ts";
import { open as openEnvelope } from "../release/envelope.ts";
import type { HostAttempt, HostStatus } from "../results.ts";
import { statusOfLogs } from "./logs.ts";
import { parseHeartbeat, parseReport, type Report } from "./schema.ts";
import { lastContact, stateOf } from "./state.ts";

/** What was read of a host; undefined where it has no key yet, and so no place. */
export interface Readings {
  current: Current | undefined;
  reports: HostReports | undefined;
  /** Null where they weren't asked for. */
  attempts: HostAttempts | null;
}

/** How one host is. What can't be read of it makes its state `unknown`, and what nobody could say `unreported`. */
export async function hostStatus(
  host: Pick<Host, "name" | "groups">,
  wave: number | null,
  { current, reports, attempts }: Readings,
  signers: readonly string[],
): Promise<HostStatus> {
  const past = attempts?.state === "read" ? attempts : null;
  const nothing: HostStatus = {
    name: host.name,
    state: "unknown",
    sync: "unknown",
    health: "unknown",
    reason: null,
    published: null,
    running: null,
    lastContact: null,
    lastOutcome: null,
    attempted: null,
    agent: null,
    wave,
    groups: host.groups,
    history: past?.attempts.flatMap((file) => attemptOf(file, host.name) ?? []) ?? null,
    log: past?.log == null ? null : inert(past.log.replaceAll("\r\n", "\n")),
  };
  if (current === undefined || reports === undefined) {
    return { ...nothing, state: "new", sync: "none", health: "unheard", reason: "it has no key in fleet.yaml yet" };
  }
  if (current.state === "failed") return { ...nothing, reason: current.error.message };
  const opened = current.state === "missing" ? null : await openEnvelope(current.envelope, host.name, signers);
  if (opened?.ok === false) return { ...nothing, reason: `what is published can't be trusted: ${opened.problem}` };
  const manifest = opened?.manifest ?? null;
  const published = manifest && {
    sequence: manifest.sequence,
    commit: manifest.commit,
    subject: manifest.subject,
    toplevel: manifest.toplevel,
    issued: manifest.issued,
  };
  if (reports.state === "nowhere") {
    if (published !== null) return { ...nothing, published, state: "unreported", reason: reports.reason };
    return {
      ...nothing,
      state: "new",
      sync: "none",
      health: "unheard",
      reason: "nothing has been published for it yet",
    };
  }
  if (reports.state === "failed") return { ...nothing, published, reason: reports.error.message };
  if (reports.state === "logs") {
    const { logs, changed, serverTime: now } = reports;
    return { ...nothing, published, ...statusOfLogs({ published: manifest, logs, changed, now }) };
  }

  const said = reports.state === "read" ? reports : null;
  const heartbeat = said?.heartbeat && parseHeartbeat(said.heartbeat.text, host.name);
  const report = said?.report && parseReport(said.report.text, host.name);
  if ((said?.heartbeat && !heartbeat) || (said?.report && !report)) {
    return { ...nothing, published, reason: "what it reported can't be understood" };
  }
  const since = current.state === "present" ? (current.modified ?? null) : null;
  const known = {
    published: manifest && { sequence: manifest.sequence, toplevel: manifest.toplevel, since },
    heartbeat: said?.heartbeat && heartbeat ? { content: heartbeat, received: said.heartbeat.modified } : null,
    report: said?.report && report ? { content: report, received: said.report.modified } : null,
    now: said?.serverTime ?? Date.now(),
  };
  const contact = lastContact(known);
  return {
    ...nothing,
    ...stateOf(known),
    published,
    running: heartbeat?.running ? { toplevel: heartbeat.running, sequence: heartbeat.sequence } : null,
    lastContact: contact === null ? null : new Date(contact).toISOString(),
    lastOutcome: report?.outcome ?? null,
    attempted: said?.report && report ? toAttempt(report, said.report.modified) : null,
    agent: heartbeat?.agent ?? null,
  };
}

function attemptOf({ text, modified }: AttemptFile, host: string): HostAttempt | undefined {
  const report = parseReport(text, host);
  return report && toAttempt(report, modified);
}

function toAttempt(report: Report, received: number): HostAttempt {
  const { sequence, commit, outcome, reason, from, to, started, finished } = report;
  const seconds = (Date.parse(finished ?? "") - Date.parse(started ?? "")) / 1000;
  return {
    sequence,
    commit,
    subject: null,
    outcome,
    reason,
    from,
    to,
    started,
    finished,
    duration: seconds >= 0 && seconds < 30 * 86_400 ? Math.round(seconds) : null,
    received: new Date(received).toISOString(),
  };
}
