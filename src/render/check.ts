import { inertLine } from "../inert.ts";
import type { CheckDocument, CheckStatus, HostCheck, PushResult } from "../results.ts";
import { failureLines } from "./failure.ts";
import { count, type Paint, type Style, size, table, tally, warnings } from "./terminal.ts";

const MARKS: Readonly<Record<CheckStatus, readonly [string, Style]>> = {
  ok: ["✓", "green"],
  unchanged: ["·", "dim"],
  changed: ["~", "cyan"],
  failed: ["✗", "red"],
  skipped: ["-", "dim"],
};

/** Packages that are named; the others are counted. */
const MAX_PACKAGES = 8;

/** Hosts of which the same is to be said, in the order in which the first of each stands. */
export function grouped(hosts: readonly HostCheck[]): HostCheck[][] {
  const groups = new Map<string, HostCheck[]>();
  for (const host of hosts) {
    // Failures stay apart, each with its own place; and so do hosts of which there is a plan or a warning of their own.
    const { status, packages, reboot, warnings, error } = host;
    const alone = status !== "changed" || packages === null || error !== null;
    const key = alone ? `host ${host.name}` : JSON.stringify([status, packages, reboot, warnings, host.base === null]);
    groups.set(key, [...(groups.get(key) ?? []), host]);
  }
  return [...groups.values()];
}

/** The names of a group: all of few, and the number of many. */
export function groupName(group: readonly HostCheck[]): string {
  const names = group.map((host) => host.name);
  return names.length <= 4 ? names.join(", ") : `${names.slice(0, 3).join(", ")} and ${names.length - 3} more`;
}

/** The table of a check or a build for a terminal. With `verbose`, failures carry the whole of what Nix said. */
export function renderCheck(document: CheckDocument, paint: Paint, verbose: boolean): string {
  const groups = grouped(document.hosts);
  const rows = groups.flatMap((group) => {
    const [host] = group;
    if (host === undefined) return [];
    const [mark, style] = MARKS[host.status];
    return [[paint(style, mark), groupName(group), paint(style, host.status), detail(host, document)]];
  });
  const lines = table(rows).flatMap((line, index) => {
    const host = groups[index]?.[0];
    return host === undefined ? [line] : [line, ...below(host, paint, verbose).map((text) => `    ${text}`)];
  });
  const statuses = document.hosts.map((host) => host.status);
  const compared = document.base === null ? "" : ` (compared with ${baseText(document.base)})`;
  return [
    ...lines,
    ...warnings(document.warnings, paint),
    ...(document.signedBy === undefined ? [] : [`signed with ${inertLine(document.signedBy.replace(/:.*/, ""))}`]),
    ...(document.push === undefined ? [] : pushLines(document.push, paint)),
    ...(document.pruned ?? []).map(
      ({ host, toplevel, hasLeft }) =>
        `no longer kept: ${inertLine(toplevel)} (${inertLine(host)}${hasLeft ? ", which the fleet has no more" : ""})`,
    ),
    ...(document.prunedCache?.paths
      ? [`removed from the cache: ${count(document.prunedCache.paths, "path")}, ${size(document.prunedCache.bytes)}`]
      : []),
    "",
    `${tally(statuses, ["failed", "changed", "ok", "unchanged", "skipped"])}${compared}`,
  ].join("\n");
}

/** "pushed to file:///srv/cache: 12 paths, 3.4 MiB; signed there: 3 paths" */
export function pushText({ url, paths, bytes, signed, error }: PushResult): string {
  if (error !== null) return `not pushed to ${inertLine(url)}`;
  const what = paths === 0 ? "nothing new" : `${count(paths, "path")}, ${size(bytes)}`;
  const more = signed === 0 ? "" : `; signed there: ${count(signed, "path")}`;
  return `pushed to ${inertLine(url)}: ${what}${more}`;
}

/** The same, and why it went no further. */
function pushLines(push: PushResult, paint: Paint): string[] {
  if (push.error === null) return [pushText(push)];
  return [paint("red", pushText(push)), ...failureLines(push.error, paint, true).map((text) => `    ${text}`)];
}

/** A commit's name as short as git prints it; any other ref as it is. */
export function baseText(base: string): string {
  return /^[0-9a-f]{40}$/.test(base) ? base.slice(0, 12) : inertLine(base);
}

function detail(host: HostCheck, document: CheckDocument): string {
  const isAsBefore = document.command === "check" && host.status === "ok" && host.remembered;
  const parts = [isAsBefore ? "as remembered" : costText(host, document)];
  if (host.status === "changed") parts.push(changeText(host));
  if (host.reboot) parts.push("needs a reboot");
  // The host's own channel decides what it will build.
  if (!host.reproducible && host.status !== "failed" && host.status !== "skipped") parts.push("not reproducible");
  return parts.filter((text) => text !== "").join("; ");
}

/** "12 to build, 3 to fetch (1.2 MiB)", or nothing when all of it is there. */
export function planText({ plan }: Pick<HostCheck, "plan">): string {
  if (plan === null) return "";
  const download = plan.download === null || plan.download === 0 ? "" : ` (${size(plan.download)})`;
  const parts = [
    plan.build > 0 ? `${plan.build} to build` : "",
    plan.fetch > 0 ? `${plan.fetch} to fetch${download}` : "",
  ].filter((text) => text !== "");
  return parts.length === 0 ? "nothing to build" : parts.join(", ");
}

/** What a host would cost, and of a build, what it has cost. */
export function costText(host: HostCheck, { command }: Pick<CheckDocument, "command">): string {
  if (command === "check") return planText(host);
  if (host.status === "failed" || host.status === "skipped") return "";
  return planText(host)
    .replace(/(\d) to build/, "$1 built")
    .replace(/(\d) to fetch/, "$1 fetched");
}

/** "+curl 8.17.0, nginx 1.28 → 1.29", of a host that changes. */
export function changeText({ base, packages }: Pick<HostCheck, "base" | "packages">): string {
  if (base === null) return "a new host";
  if (packages === null) return "";
  if (packages.length === 0) return "no package changes its version";
  const named = packages.slice(0, MAX_PACKAGES).map(({ name, from, to }) => {
    if (from === null) return `+${name} ${to}`;
    if (to === null) return `-${name} ${from}`;
    return `${name} ${from} → ${to}`;
  });
  const rest = packages.length - named.length;
  return inertLine([...named, ...(rest > 0 ? [`and ${count(rest, "more package")}`] : [])].join(", "));
}

function below(host: HostCheck, paint: Paint, verbose: boolean): string[] {
  return [
    ...(host.error === null ? [] : failureLines(host.error, paint, verbose)),
    ...host.warnings.map((text) => `${paint("yellow", "warning:")} ${inertLine(text)}`),
  ];
}
