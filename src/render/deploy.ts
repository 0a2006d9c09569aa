import { inertLine } from "../inert.ts";
import type { DeployDocument, DeployStatus, HostDeploy } from "../results.ts";
import { failureLines } from "./failure.ts";
import { type Paint, type Style, table, tally, warnings } from "./terminal.ts";

const MARKS: Readonly<Record<DeployStatus, readonly [string, Style]>> = {
  published: ["✓", "green"],
  unchanged: ["·", "dim"],
  skipped: ["-", "yellow"],
  failed: ["✗", "red"],
};

export function renderDeploy(document: DeployDocument, paint: Paint, verbose: boolean): string {
  const rows = document.hosts.map((host) => {
    const [mark, style] = MARKS[host.status];
    return [paint(style, mark), host.name, paint(style, deployWord(host, document)), deployDetail(host)];
  });
  const lines = table(rows).flatMap((line, index) => {
    const error = document.hosts[index]?.error;
    return error ? [line, ...failureLines(error, paint, verbose).map((text) => `    ${text}`)] : [line];
  });
  const statuses = document.hosts.map((host) => host.status);
  return [
    ...lines,
    ...warnings(document.warnings, paint),
    "",
    tally(statuses, ["failed", "published", "unchanged", "skipped"]) +
      (document.dryRun ? " (dry run: nothing was done)" : ""),
  ].join("\n");
}

/** A dry run has published nothing. */
export function deployWord({ status }: HostDeploy, { dryRun }: DeployDocument): string {
  return dryRun && status === "published" ? "would be published" : status;
}

export function deployDetail({ reason, sequence, commit }: HostDeploy): string {
  if (reason !== null) return inertLine(reason);
  return sequence === null ? "" : `release ${sequence} of ${(commit ?? "").slice(0, 12)}`;
}
