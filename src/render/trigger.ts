import { inertLine } from "../inert.ts";
import type { HostTrigger, TriggerDocument } from "../results.ts";
import { failureLines } from "./failure.ts";
import { type Paint, table, tally } from "./terminal.ts";

export function renderTrigger(document: TriggerDocument, paint: Paint): string {
  const lines = table(document.hosts.map((host) => triggerRow(host, paint))).flatMap((line, index) => {
    const host = document.hosts[index];
    return host === undefined ? [line] : [line, ...triggerError(host, paint)];
  });
  const statuses = document.hosts.map(({ status }) => status);
  return [...lines, "", tally(statuses, ["failed", "ok"])].join("\n");
}

export function triggerRow(host: HostTrigger, paint: Paint): string[] {
  const { name, status, outcome, reason, joined } = host;
  const style = status === "ok" ? "green" : "red";
  const word = (outcome ?? status).replaceAll("-", " ");
  const detail = [joined ? "of an upgrade that was running already" : "", reason ?? ""].filter((text) => text !== "");
  return [paint(style, status === "ok" ? "✓" : "✗"), name, paint(style, word), inertLine(detail.join("; "))];
}

/** What the row doesn't say yet. */
export function triggerError({ error, reason, outcome }: HostTrigger, paint: Paint): string[] {
  if (error === null || error.message === reason || error.message === outcome) return [];
  return failureLines(error, paint, false).map((text) => `    ${text}`);
}
