import { inertLine } from "../inert.ts";
import type { ServerCheckDocument } from "../results.ts";
import { count, type Paint } from "./terminal.ts";

/** A line for each finding: where, what, and what to do about it. */
export function renderServerCheck({ findings, hosts }: ServerCheckDocument, paint: Paint): string {
  if (findings.length === 0) {
    return `${paint("green", "✓")} the server is as it should be, for ${count(hosts.length, "host")}`;
  }
  const lines = findings.map(({ host, path, message, hint }) => {
    const where = path ?? host ?? "server";
    return `${paint("red", "✗")} ${paint("bold", inertLine(where))}: ${inertLine(message)} ${paint("dim", `(${hint})`)}`;
  });
  return [...lines, "", count(findings.length, "finding")].join("\n");
}
