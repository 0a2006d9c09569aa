import path from "node:path";
import { duration } from "../duration.ts";
import { inertLine } from "../inert.ts";
import { FLEET_STATES, type FleetState, type HostAttempt, type HostStatus, type StatusDocument } from "../results.ts";
import { count, cutTo, type Paint, type Style, table, tally } from "./terminal.ts";

/** What each state looks like, with and without colours. */
const LOOKS: Readonly<Record<FleetState, readonly [string, Style]>> = {
  failed: ["✗", "red"],
  "rolled-back": ["↩", "red"],
  refused: ["⊘", "red"],
  unknown: ["?", "red"],
  silent: ["○", "red"],
  inconclusive: ["~", "yellow"],
  drifted: ["≠", "yellow"],
  suspended: ["-", "yellow"],
  "reboot-pending": ["!", "yellow"],
  applying: ["▸", "cyan"],
  pending: ["…", "cyan"],
  new: ["+", "cyan"],
  unreported: ["·", "cyan"],
  "auto-updated": ["↑", "green"],
  "up-to-date": ["✓", "green"],
};

/** The fleet as a table, worst first. `now` in milliseconds since 1970. */
export function renderStatus({ hosts }: Pick<StatusDocument, "hosts">, paint: Paint, now: number): string {
  const states = hosts.map((host) => host.state);
  return [...statusTable(hosts, paint, now), "", tally(states, FLEET_STATES).replaceAll("-", " ")].join("\n");
}

/** The lines of the table, the heading first. */
export function statusTable(hosts: readonly HostStatus[], paint: Paint, now: number): string[] {
  const rows = worstFirst(hosts).map((host) => {
    const [mark, style] = look(host.state);
    return [
      paint(style, mark),
      host.name,
      paint(style, words(host.state)),
      contactText(host, now),
      releaseText(host),
      host.reason === null ? "" : inertLine(host.reason),
    ];
  });
  const heading = ["", "HOST", "STATE", "LAST CONTACT", "PUBLISHED", "REASON"].map((text) => paint("dim", text));
  return table([heading, ...rows]);
}

/** One host, and what became of its last attempts, newest first. */
export function renderHostStatus(host: HostStatus, paint: Paint, now: number): string {
  const [mark, style] = look(host.state);
  const facts: [string, string | null][] = [
    [
      "published",
      host.published && `${releaseText(host)}, release ${host.published.sequence} of ${host.published.issued}`,
    ],
    ["runs", host.running && `${inertLine(host.running.toplevel)}${releaseOf(host.running.sequence)}`],
    ["last contact", contactText(host, now)],
    ["agent", host.agent && inertLine(host.agent)],
    ["wave", host.wave === null ? null : String(host.wave)],
    ["groups", host.groups.join(", ") || null],
  ];
  const reason = host.reason === null ? "" : `: ${inertLine(host.reason)}`;
  const lines = table(facts.flatMap(([name, value]) => (value === null ? [] : [[`  ${paint("dim", name)}`, value]])));
  return [
    `${paint(style, mark)} ${paint("bold", host.name)} ${paint(style, words(host.state))}${reason}`,
    ...lines,
    "",
    ...historyLines(host, paint),
  ].join("\n");
}

function historyLines({ history }: HostStatus, paint: Paint): string[] {
  if (history === null || history.length === 0) return ["No attempt is known."];
  const rows = history.map((attempt) => [
    attempt.received.replace(/T(\d\d:\d\d):.*$/, " $1"),
    paint(
      attempt.outcome === "success" || attempt.outcome === "unchanged" ? "green" : "yellow",
      words(attempt.outcome),
    ),
    attempt.duration === null ? "" : took(attempt.duration),
    `${attempt.commit?.slice(0, 12) ?? ""} ${inertLine(attempt.subject ?? "", 40)}`.trim(),
    systemsText(attempt),
    inertLine(attempt.reason ?? ""),
  ]);
  const heading = ["TIME (UTC)", "OUTCOME", "TOOK", "COMMIT", "SYSTEM", "REASON"].map((text) => paint("dim", text));
  return table([heading, ...rows]);
}

/** "a1b2c3d4 → e5f6a7b8 nixos-system-router-26.05": the beginning of each hash, and the name of the newer one. */
export function systemsText({ from, to }: Pick<HostAttempt, "from" | "to">): string {
  const [before, after] = [from, to].map((system) => (system === null ? null : inertLine(path.posix.basename(system))));
  const short = (name: string) => name.slice(0, 8);
  const name = (after ?? before ?? "").slice(33, 33 + 40);
  if (!before || !after || before === after) return `${short(after ?? before ?? "")} ${name}`.trim();
  return `${short(before)} → ${short(after)} ${name}`.trim();
}

/** Seconds as "45 s", "12 min", "1 h 5 min". */
export function took(seconds: number): string {
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function releaseOf(sequence: number | null): string {
  return sequence === null ? "" : `, of release ${sequence}`;
}

/** A state or an outcome for people: "rolled back". */
export function words(state: string): string {
  return state.replaceAll("-", " ");
}

export function worstFirst(hosts: readonly HostStatus[]): HostStatus[] {
  const rank = (host: HostStatus) => FLEET_STATES.indexOf(host.state);
  return [...hosts].sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1));
}

export function look(state: FleetState): readonly [string, Style] {
  return LOOKS[state];
}

/** `now` in milliseconds since 1970. */
export function contactText({ lastContact }: HostStatus, now: number): string {
  if (lastContact === null) return "never";
  const age = now - Date.parse(lastContact);
  return age < 1000 ? "just now" : `${duration(age)} ago`;
}

export function releaseText({ published }: HostStatus): string {
  return published === null ? "nothing" : `${published.commit.slice(0, 12)} ${inertLine(published.subject, 40)}`;
}

export interface WatchView {
  columns: number;
  rows: number;
  /** What went wrong with the last look; empty when nothing did. */
  trouble: string;
  /** Milliseconds since 1970. */
  now: number;
}

/** What a terminal of this size shows of the fleet: the worst, as much as there is room for. */
export function watchLines(
  document: StatusDocument,
  paint: Paint,
  { columns, rows, trouble, now }: WatchView,
): string[] {
  const [heading = "", ...lines] = statusTable(document.hosts, paint, now);
  const states = document.hosts.map((host) => host.state);
  const last = [
    tally(states, FLEET_STATES).replaceAll("-", " "),
    paint("dim", `as of ${document.time.slice(11, 19)} UTC`),
  ];
  if (trouble !== "") last.push(paint("yellow", `! ${trouble}`));
  const room = Math.max(0, rows - 2 - last.length);
  const shown = lines.length <= room ? lines : lines.slice(0, Math.max(0, room - 1));
  const left = lines.length - shown.length;
  const more = left > 0 ? [paint("dim", `… and ${count(left, "host")} more`)] : [];
  return [heading, ...shown, ...more, "", ...last].slice(0, rows).map((line) => cutTo(line, columns));
}

/** "2026-11-23 12:00:00 router: up to date → failed: why" */
export function changeLine(time: string, before: HostStatus | undefined, host: HostStatus): string {
  const states = before === undefined || before.state === host.state ? [host.state] : [before.state, host.state];
  const reason = host.reason === null ? "" : `: ${inertLine(host.reason)}`;
  const at = `${time.slice(0, 10)} ${time.slice(11, 19)}`;
  return `${at} ${host.name}: ${states.map(words).join(" → ")}, ${releaseText(host)}${reason}`;
}
