import type { CommitStatus, GitHub } from "../../platform/github.ts";
import { troubleText } from "../../render/summary.ts";
import { count } from "../../render/terminal.ts";
import { gateOf } from "../../reports/gate.ts";
import type { HostStatus, StatusDocument } from "../../results.ts";

/** Commits that are looked at: hosts of older ones were not changed since, and their statuses said so long ago. */
const MAX_COMMITS = 10;

/**
 * Puts a status on each of the newest commits that hosts are given: pending until all of its hosts have reported that they run it,
 * and failure when one has reported that it doesn't. One that says so already is left alone: a commit has room for a thousand.
 */
export async function markCommits(github: GitHub, { hosts }: StatusDocument, fleet: string): Promise<void> {
  const context = fleet === "." ? "bento/deploy" : `bento/deploy (${fleet})`;
  for (const [commit, members] of byCommit(hosts).slice(0, MAX_COMMITS)) {
    const status = progressOf(members);
    const before = await github.commitStatus(commit, context);
    if (before?.state === status.state && before.description === status.description) continue;
    await github.setCommitStatus(commit, context, status);
  }
}

/** How far a commit has got at the hosts that are given it. */
export function progressOf(hosts: readonly HostStatus[]): CommitStatus {
  const at = (gate: string) => hosts.filter(({ state }) => gateOf(state) === gate);
  const done = at("open").length;
  const [bad, ...others] = at("closed");
  if (bad !== undefined) {
    const more = others.length > 0 ? ` and ${others.length} more` : "";
    const description = `${bad.name}: ${bad.state.replaceAll("-", " ")}${more}; ${done} of ${hosts.length} run it`;
    return { state: "failure", description: description.slice(0, 140) };
  }
  const all = count(hosts.length, "host");
  if (done === hosts.length) return { state: "success", description: `${all} ${done === 1 ? "runs" : "run"} it` };
  return { state: "pending", description: `${done} of ${all} ${done === 1 ? "runs" : "run"} it` };
}

/** Newest first. Hosts that have nowhere to report to say nothing of a commit, not even that it waits for them. */
function byCommit(hosts: readonly HostStatus[]): [string, HostStatus[]][] {
  const newestFirst = hosts
    .filter(({ state }) => state !== "unreported")
    .flatMap((host) => (host.published === null ? [] : [{ host, published: host.published }]))
    .sort((a, b) => b.published.sequence - a.published.sequence);
  const groups = Map.groupBy(newestFirst, ({ published }) => published.commit);
  return [...groups].map(([commit, members]) => [commit, members.map(({ host }) => host)]);
}

/**
 * Keeps one issue while hosts are in trouble: opened with the first, up to date as long as there are some, closed when it is over. It is told
 * by its mark and its author, since anybody can write a mark.
 */
export async function trackTrouble(github: GitHub, document: StatusDocument, fleet: string): Promise<void> {
  const mark = `<!-- bento status ${encodeURIComponent(fleet)} -->`;
  const troubled = document.hosts.filter(({ state }) => document.failOn.includes(state));
  const names = troubled.slice(0, 3).map(({ name }) => name);
  const more = troubled.length > 3 ? ` and ${troubled.length - 3} more` : "";
  const title = `Bento: ${names.join(", ")}${more} to look at`;
  const body = `${mark}\n${troubleText(troubled, Date.parse(document.time))}`;
  const authors = await github.logins();
  for await (const issue of github.openIssues()) {
    if (!authors.includes(issue.author) || !issue.body.startsWith(mark)) continue;
    if (troubled.length === 0) await github.updateIssue(issue.number, { state: "closed" });
    else if (issue.title !== title || issue.body !== body) await github.updateIssue(issue.number, { title, body });
    return;
  }
  if (troubled.length > 0) await github.createIssue(title, body);
}
