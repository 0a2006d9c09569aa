import { formatLocation } from "../errors.ts";
import type { CheckDocument, DeployDocument, HostCheck, HostFailure, HostStatus, StatusDocument } from "../results.ts";
import { baseText, changeText, costText, grouped, pushText } from "./check.ts";
import { deployDetail, deployWord } from "./deploy.ts";
import { locationOf } from "./failure.ts";
import { code, folded, markdownTable, plain } from "./markdown.ts";
import { contactText, look, releaseText, worstFirst } from "./status.ts";
import { count, tally } from "./terminal.ts";

/** Bytes that there is room for; `trace` is for each host. */
interface Room {
  total: number;
  table: number;
  warnings: number;
  trace: number;
  /** Where the rest is. */
  elsewhere: string;
}

/** GitHub drops a step's whole summary when it is over 1 MiB. */
const SUMMARY_ROOM: Room = {
  total: 900_000,
  table: 600_000,
  warnings: 100_000,
  trace: 10_000,
  elsewhere: "see the log, or the file of the output `document`",
};
/** A comment has at most 65,536 characters. */
const COMMENT_ROOM: Room = {
  total: 60_000,
  table: 40_000,
  warnings: 10_000,
  trace: 4_000,
  elsewhere: "see the job's summary",
};

/** The result of a command as markdown for a job's summary: hosts that failed first, and why; then those that change. */
export function summary(document: CheckDocument | DeployDocument | StatusDocument, now: number): string {
  switch (document.command) {
    case "check":
    case "build":
      return checkSummary(document, SUMMARY_ROOM);
    case "deploy":
    case "rollback":
      return deploySummary(document);
    case "status":
      return statusSummary(document, now);
  }
}

/** The same of a check for a comment on a pull request. */
export function checkComment(document: CheckDocument): string {
  return checkSummary(document, COMMENT_ROOM);
}

function checkSummary(document: CheckDocument, room: Room): string {
  const hosts = worthFirst(document.hosts);
  const rows = grouped(hosts).flatMap((group) => {
    const [host] = group;
    if (host === undefined) return [];
    return [
      [
        mark(host.status),
        group.map((one) => code(one.name)).join(" "),
        host.status,
        host.error === null ? changeCell(host) : failureCell(host.error),
        plain(costText(host, document)),
      ],
    ];
  });
  const compared = document.base === null ? "" : `, compared with ${code(baseText(document.base))}`;
  const statuses = hosts.map((host) => host.status);
  return compose(
    `## Bento ${document.command}: ${tally(statuses, ["failed", "changed", "ok", "unchanged", "skipped"])}${compared}`,
    markdownTable(["", "Host", "Status", "What", "Cost"], rows),
    [
      ...document.warnings,
      ...(document.push?.error ? [`${pushText(document.push)}: ${document.push.error.message}`] : []),
      ...hosts.flatMap((host) => host.warnings.map((text) => `${host.name}: ${text}`)),
    ],
    hosts,
    room,
    document.push && !document.push.error ? [`${plain(pushText(document.push))}.`] : [],
  );
}

function changeCell(host: HostCheck): string {
  const parts = [host.status === "changed" ? plain(changeText(host)) : ""];
  if (host.reboot) parts.push("**needs a reboot**");
  if (!host.reproducible) parts.push("not reproducible");
  return parts.filter((text) => text !== "").join("; ");
}

function deploySummary(document: DeployDocument): string {
  const hosts = worthFirst(document.hosts);
  const rows = hosts.map((host) => [
    mark(host.status),
    code(host.name),
    deployWord(host, document),
    host.error === null ? plain(deployDetail(host)) : failureCell(host.error),
  ]);
  const heading = `## Bento deploy: ${count(hosts.length, "host")}${document.dryRun ? ", dry run" : ""}`;
  return compose(
    heading,
    markdownTable(["", "Host", "Status", "Release"], rows),
    document.warnings,
    hosts,
    SUMMARY_ROOM,
  );
}

function statusSummary(document: StatusDocument, now: number): string {
  return statusText(document.hosts, `## Bento status: ${count(document.hosts.length, "host")}`, now, SUMMARY_ROOM);
}

/** The hosts that somebody has to look at, for an issue. */
export function troubleText(hosts: readonly HostStatus[], now: number): string {
  return statusText(hosts, `${count(hosts.length, "host")} to look at.`, now, COMMENT_ROOM);
}

function statusText(hosts: readonly HostStatus[], heading: string, now: number, room: Room): string {
  const rows = worstFirst(hosts).map((host) => [
    look(host.state)[0],
    code(host.name),
    host.state.replaceAll("-", " "),
    contactText(host, now),
    plain(releaseText(host)),
    plain(host.reason ?? ""),
  ]);
  const table = markdownTable(["", "Host", "State", "Last contact", "Published", "Reason"], rows);
  return compose(heading, table, [], [], room);
}

function compose(
  heading: string,
  table: string,
  warnings: readonly string[],
  hosts: readonly { name: string; error: HostFailure | null }[],
  { total, elsewhere, ...room }: Room,
  /** Markdown. */
  facts: readonly string[] = [],
): string {
  const rows = withRoom(table.split("\n"), room.table);
  const notes = withRoom(
    warnings.map((text) => `- ⚠️ ${plain(text)}`),
    room.warnings,
  );
  const parts = [
    heading,
    rows.lines.join("\n"),
    ...(rows.left > 0 ? [`And ${count(rows.left, "more host")}: ${elsewhere}.`] : []),
    ...facts,
    ...(notes.lines.length > 0 ? [notes.lines.join("\n")] : []),
    ...(notes.left > 0 ? [`And ${count(notes.left, "more warning")}: ${elsewhere}.`] : []),
  ];
  let length = parts.reduce((sum, part) => sum + Buffer.byteLength(part) + 2, 0);
  for (const { name, error } of hosts) {
    if (error?.trace === undefined) continue;
    const details = folded(`${plain(name)}: all that was said`, error.trace, room.trace);
    length += Buffer.byteLength(details) + 2;
    if (length > total) break;
    parts.push(details);
  }
  return `${parts.join("\n\n")}\n`;
}

/** As many lines as there is room for, in bytes, and how many there is none for. */
function withRoom(lines: readonly string[], room: number): { lines: readonly string[]; left: number } {
  let size = 0;
  const end = lines.findIndex((line) => {
    size += Buffer.byteLength(line) + 1;
    return size > room;
  });
  return end < 0 ? { lines, left: 0 } : { lines: lines.slice(0, end), left: lines.length - end };
}

function failureCell(failure: HostFailure): string {
  const at = locationOf(failure);
  const place = at === undefined ? "" : `${code(formatLocation(at))} `;
  const hint = failure.hint === undefined ? "" : `<br>→ ${plain(failure.hint)}`;
  return `${place}${plain(failure.message)}${hint}`;
}

/** What somebody has to look at comes first, and then what changes. */
const ORDER: readonly string[] = ["failed", "changed", "published"];

function worthFirst<T extends { status: string }>(hosts: readonly T[]): T[] {
  const rank = ({ status }: T) => (ORDER.includes(status) ? ORDER.indexOf(status) : ORDER.length);
  return [...hosts].sort((a, b) => rank(a) - rank(b));
}

function mark(status: string): string {
  const marks: Readonly<Record<string, string>> = { failed: "❌", changed: "🔶", skipped: "➖", unchanged: "⚪" };
  return marks[status] ?? "✅";
}
