import { formatLocation } from "../errors.ts";
import type { CheckDocument, DeployDocument, HostFailure, StatusDocument } from "../results.ts";
import { changeText, planText } from "./check.ts";
import { deployDetail, deployWord } from "./deploy.ts";
import { locationOf } from "./failure.ts";
import { code, folded, markdownTable, plain } from "./markdown.ts";
import { contactText, look, releaseText, worstFirst } from "./status.ts";
import { count } from "./terminal.ts";

/** GitHub drops a step's whole summary when it is over 1 MiB. */
const MAX_SUMMARY = 900_000;
const MAX_TABLE = 600_000;
const MAX_WARNINGS = 100_000;
const MAX_TRACE = 10_000;

/** The result of a command as markdown for a job's summary: hosts that failed first, and why. */
export function summary(document: CheckDocument | DeployDocument | StatusDocument, now: number): string {
  switch (document.command) {
    case "check":
    case "build":
      return checkSummary(document);
    case "deploy":
      return deploySummary(document);
    case "status":
      return statusSummary(document, now);
  }
}

function checkSummary(document: CheckDocument): string {
  const hosts = failuresFirst(document.hosts);
  const rows = hosts.map((host) => [
    mark(host.status),
    code(host.name),
    host.status,
    host.error === null ? plain(planText(host)) : failureCell(host.error),
    host.status === "changed" ? plain(changeText(host)) : "",
  ]);
  const compared = document.base === null ? "" : `, compared with ${code(document.base)}`;
  return compose(
    `## Bento ${document.command}: ${count(hosts.length, "host")}${compared}`,
    markdownTable(["", "Host", "Status", "To do", "Changes"], rows),
    [...document.warnings, ...hosts.flatMap((host) => host.warnings.map((text) => `${host.name}: ${text}`))],
    hosts,
  );
}

function deploySummary(document: DeployDocument): string {
  const hosts = failuresFirst(document.hosts);
  const rows = hosts.map((host) => [
    mark(host.status),
    code(host.name),
    deployWord(host, document),
    host.error === null ? plain(deployDetail(host)) : failureCell(host.error),
  ]);
  const heading = `## Bento deploy: ${count(hosts.length, "host")}${document.dryRun ? ", dry run" : ""}`;
  return compose(heading, markdownTable(["", "Host", "Status", "Release"], rows), document.warnings, hosts);
}

function statusSummary(document: StatusDocument, now: number): string {
  const rows = worstFirst(document.hosts).map((host) => [
    look(host.state)[1],
    code(host.name),
    host.state.replaceAll("-", " "),
    contactText(host, now),
    plain(releaseText(host)),
    plain(host.reason ?? ""),
  ]);
  const table = markdownTable(["", "Host", "State", "Last contact", "Published", "Reason"], rows);
  return compose(`## Bento status: ${count(document.hosts.length, "host")}`, table, [], []);
}

function compose(
  heading: string,
  table: string,
  warnings: readonly string[],
  hosts: readonly { name: string; error: HostFailure | null }[],
): string {
  const elsewhere = "see the log, or the file of the output `document`";
  const rows = withRoom(table.split("\n"), MAX_TABLE);
  const notes = withRoom(
    warnings.map((text) => `- ⚠️ ${plain(text)}`),
    MAX_WARNINGS,
  );
  const parts = [
    heading,
    rows.lines.join("\n"),
    ...(rows.left > 0 ? [`And ${count(rows.left, "more host")}: ${elsewhere}.`] : []),
    ...(notes.lines.length > 0 ? [notes.lines.join("\n")] : []),
    ...(notes.left > 0 ? [`And ${count(notes.left, "more warning")}: ${elsewhere}.`] : []),
  ];
  let length = parts.reduce((sum, part) => sum + Buffer.byteLength(part) + 2, 0);
  for (const { name, error } of hosts) {
    if (error?.trace === undefined) continue;
    const details = folded(`${plain(name)}: all that was said`, error.trace, MAX_TRACE);
    length += Buffer.byteLength(details) + 2;
    if (length > MAX_SUMMARY) break;
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

function failuresFirst<T extends { status: string }>(hosts: readonly T[]): T[] {
  return [...hosts].sort((a, b) => Number(b.status === "failed") - Number(a.status === "failed"));
}

function mark(status: string): string {
  const marks: Readonly<Record<string, string>> = { failed: "❌", changed: "🔶", skipped: "➖", unchanged: "⚪" };
  return marks[status] ?? "✅";
}
