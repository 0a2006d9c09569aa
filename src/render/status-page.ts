import { createHash } from "node:crypto";
import { clip } from "../inert.ts";
import { gateOf } from "../reports/gate.ts";
import { FLEET_STATES, type HostStatus, type StatusDocument } from "../results.ts";
import { look, worstFirst } from "./status.ts";
import template from "./status-page.html";
import type { Style } from "./terminal.ts";

/** Characters of one log, and of all of them together: the page is for phones, too. */
const LOG = 20_000;
const ALL_LOGS = 4_000_000;

/**
 * The fleet as one HTML page that needs nothing else, neither a server nor the network. All that hosts say is in it as data, and
 * becomes text in the browser; no script runs but the page's own.
 */
export function statusPage(document: StatusDocument, title: string): string {
  const states = FLEET_STATES.map((name) => {
    const [mark, style] = look(name);
    return { name, mark, tone: TONES[style] ?? "warn", open: gateOf(name) === "open" };
  });
  const data = { title, time: document.time, states, hosts: withRoom(document.hosts) };
  const [, style = ""] = /<style>(.*?)<\/style>/s.exec(template) ?? [];
  const [, script = ""] = /<script>(.*?)<\/script>/s.exec(template) ?? [];
  const policy = [
    "default-src 'none'",
    `style-src ${hashOf(style)}`,
    `script-src ${hashOf(script)}`,
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
  return template.replace("POLICY", policy).replace("DATA", () => embed(data));
}

const TONES: Partial<Record<Style, string>> = { red: "bad", yellow: "warn", cyan: "go", green: "good" };

/** Logs as far as there is room, of the worst hosts first. */
function withRoom(hosts: readonly HostStatus[]): HostStatus[] {
  let left = ALL_LOGS;
  return worstFirst(hosts).map((host) => {
    if (host.log === null) return host;
    const log = clip(host.log, LOG);
    left -= log.length;
    return { ...host, log: left < 0 ? null : log };
  });
}

/** JSON that no HTML parser takes for anything else: neither a comment nor the end of a script has a way to begin. */
export function embed(data: unknown): string {
  return JSON.stringify(data).replace(/[<>&\u2028\u2029]/g, (letter) => {
    return `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

function hashOf(text: string): string {
  return `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
}
