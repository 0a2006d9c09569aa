import { inertLine } from "../inert.ts";
import type { DiffDocument, HostDiff } from "../results.ts";
import { baseText } from "./check.ts";
import { failureLines } from "./failure.ts";
import { type Paint, type Style, size, table, tally, warnings } from "./terminal.ts";

const MARKS: Readonly<Record<HostDiff["status"], readonly [string, Style]>> = {
  changed: ["~", "cyan"],
  unchanged: ["·", "dim"],
  skipped: ["-", "dim"],
  failed: ["✗", "red"],
};

export function renderDiff(document: DiffDocument, paint: Paint, verbose: boolean): string {
  const heads = table(
    document.hosts.map((host) => {
      const [mark, style] = MARKS[host.status];
      return [paint(style, mark), host.name, paint(style, host.status), detail(host)];
    }),
  );
  const lines = heads.flatMap((line, index) => {
    const host = document.hosts[index];
    if (host === undefined) return [line];
    const error = host.error === null ? [] : failureLines(host.error, paint, verbose);
    return [line, ...[...table(packageRows(host, paint)), ...error].map((text) => `    ${text}`)];
  });
  const base = document.base === null ? "what runs" : baseText(document.base);
  const statuses = document.hosts.map(({ status }) => status);
  return [
    ...lines,
    ...warnings(document.warnings, paint),
    "",
    `${tally(statuses, ["failed", "changed", "unchanged", "skipped"])} (compared with ${base})`,
  ].join("\n");
}

function packageRows({ packages }: HostDiff, paint: Paint): string[][] {
  return (packages ?? []).map(({ name, from, to }) => [
    inertLine(name),
    from === null ? paint("green", "new") : inertLine(from),
    "→",
    to === null ? paint("red", "gone") : inertLine(to),
  ]);
}

function detail({ status, packages, size: sizes, reason }: HostDiff): string {
  const parts = [reason === null ? "" : inertLine(reason)];
  if (status === "changed" && packages?.length === 0) parts.push("no package changes its version");
  if (sizes !== null) {
    const change = sizes.to - sizes.from;
    parts.push(`${size(sizes.from)} → ${size(sizes.to)} (${change < 0 ? "-" : "+"}${size(Math.abs(change))})`);
  }
  return parts.filter((text) => text !== "").join("; ");
}
