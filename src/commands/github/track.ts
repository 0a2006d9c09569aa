import { UnavailableError } from "../../errors.ts";
import { ApiError, type CommitStatus, type GitHub } from "../../platform/github.ts";
import { troubleText } from "../../render/summary.ts";
import { count } from "../../render/terminal.ts";
import { gateOf } from "../../reports/gate.ts";
import type { HostStatus, StatusDocument } from "../../results.ts";

/** Commits that are looked at: hosts of older ones were not changed since, and their statuses said so long ago. */
const MAX_COMMITS = 10;

/**
 * Puts a status on each of the newest commits that hosts are given: pending until all of its hosts have reported that they run it,
 * and failure when one has reported that it doesn't. One that says so already is left alone: a commit has room for a thousand.
 * A commit that GitHub won't have a status on, such as one that is gone from the repository, keeps none of the others from theirs.
 * @throws UnavailableError when there was such a commit, after the others.
 */
export async function markCommits(github: GitHub, { hosts }: StatusDocument, fleet: string): Promise<void> {
  const context = fleet === "." ? "bento/deploy" : `bento/deploy (${fleet})`;
  const commits = byCommit(hosts).slice(0, MAX_COMMITS);
  const failed: { commit: string; error: ApiError }[] = [];
  for (const [commit, members] of commits) {
    const status = progressOf(members);
    try {
      const before = await github.commitStatus(commit, context);
      if (before?.state === status.state && before.description === status.description) continue;
      await github.setCommitStatus(commit, context, status);
    } catch (error) {
      if (!(error instanceof ApiError) || !OF_ONE_COMMIT.includes(error.status)) throw error;
      failed.push({ commit, error });
    }
  }
  const [first] = failed;
  if (first === undefined) return;
  // It isn't the commits, then.
  if (failed.length === commits.length) throw first.error;
  const names = failed.map(({ commit }) => commit.slice(0, 12)).join(", ");
  throw new UnavailableError(`${names}: ${first.error.message}`, { cause: first.error });
}

/** What is answered of a commit that isn't there, or that has no room for another status. */
const OF_ONE_COMMIT = [404, 409, 410, 422];

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
  const find = async () => {
    for await (const issue of github.openIssues()) {
      if (authors.includes(issue.author) && issue.body.startsWith(mark)) return issue;
    }
    return undefined;
  };
  const issue = await find();
  if (issue === undefined) {
    if (troubled.length > 0) await github.createIssue(title, body, async () => (await find()) !== undefined);
  } else if (troubled.length === 0) await github.updateIssue(issue.number, { state: "closed" });
  else if (issue.title !== title || issue.body !== body) await github.updateIssue(issue.number, { title, body });
}
