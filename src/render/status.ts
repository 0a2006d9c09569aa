import { duration } from "../duration.ts";
import { inertLine } from "../inert.ts";
import type { FleetState, HostStatus, StatusDocument } from "../results.ts";
import { type Paint, type Style, table, tally } from "./terminal.ts";

/** Worst first: the order of the table, and what each state looks like. */
export const STATES: readonly (readonly [FleetState, string, Style])[] = [
  ["failed", "✗", "red"],
  ["rolled-back", "↩", "red"],
  ["refused", "✗", "red"],
  ["unknown", "?", "red"],
  ["silent", "?", "red"],
  ["inconclusive", "?", "yellow"],
  ["drifted", "≠", "yellow"],
  ["suspended", "-", "yellow"],
  ["reboot-pending", "!", "yellow"],
  ["applying", "…", "cyan"],
  ["pending", "…", "cyan"],
  ["new", "+", "cyan"],
  ["auto-updated", "✓", "green"],
  ["up-to-date", "✓", "green"],
];

export function renderStatus(document: StatusDocument, paint: Paint, now: number): string {
  const rows = worstFirst(document.hosts).map((host) => {
    const [, mark, style] = look(host.state);
    return [
      paint(style, mark),
      host.name,
      paint(style, host.state.replaceAll("-", " ")),
      contactText(host, now),
      releaseText(host),
      host.reason === null ? "" : inertLine(host.reason),
    ];
  });
  const heading = ["", "HOST", "STATE", "LAST CONTACT", "PUBLISHED", "REASON"].map((text) => paint("dim", text));
  const states = document.hosts.map((host) => host.state);
  return [
    ...table([heading, ...rows]),
    "",
    tally(
      states,
      STATES.map(([state]) => state),
    ).replaceAll("-", " "),
  ].join("\n");
}

export function worstFirst(hosts: readonly HostStatus[]): HostStatus[] {
  const rank = (host: HostStatus) => STATES.findIndex(([state]) => state === host.state);
  return [...hosts].sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1));
}

export function look(state: FleetState): readonly [FleetState, string, Style] {
  return STATES.find(([candidate]) => candidate === state) ?? [state, "?", "red"];
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
