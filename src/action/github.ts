import { comment } from "../commands/github/comment.ts";
import { markCommits, trackTrouble } from "../commands/github/track.ts";
import { UnavailableError } from "../errors.ts";
import { annotate } from "../platform/actions.ts";
import { GitHub, RefusedError } from "../platform/github.ts";
import { checkComment } from "../render/summary.ts";
import type { CheckDocument, StatusDocument } from "../results.ts";
import type { Inputs } from "./inputs.ts";

// What is told to GitHub beside the job's own log and summary. A token without the right to it fails no run.

/** Comments on the pull request that a check is of. Without the right to, the summary is all there is. */
export async function commentOn(document: CheckDocument, inputs: Inputs, signal: AbortSignal): Promise<void> {
  const { event, token, place, comment: isWanted } = inputs;
  const { GITHUB_API_URL: apiUrl, GITHUB_REPOSITORY: repository } = process.env;
  if (!isWanted || token === "" || !apiUrl || !repository) return;
  const github = new GitHub({ apiUrl, repository, token, signal });
  try {
    const { owner, branch, commit } = event.head ?? {};
    const found = owner && branch && commit ? await github.pullRequestOf(owner, branch, commit) : undefined;
    const pullRequest = inputs.pullRequest ?? found;
    if (pullRequest !== undefined) await comment(github, pullRequest, place, checkComment(document));
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    const message =
      error instanceof RefusedError
        ? "no comment on the pull request: the token may not write one, as is the rule for forks. The summary has the report"
        : `no comment on the pull request: ${error.message}`;
    annotate({ level: error instanceof RefusedError ? "notice" : "warning", title: "Bento", message });
  }
}

/** Says on commits how far they have got, and keeps an issue while there is trouble. Without the right to, it says so. */
export async function trackStatus(document: StatusDocument, inputs: Inputs, signal: AbortSignal): Promise<void> {
  const { GITHUB_API_URL: apiUrl, GITHUB_REPOSITORY: repository } = process.env;
  const { token } = inputs;
  const { issue, commitStatus } = inputs.tracking;
  if (token === "" || !apiUrl || !repository) return;
  const github = new GitHub({ apiUrl, repository, token, signal });
  const attempt = async (what: string, right: string, work: () => Promise<void>) => {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      const why = error instanceof RefusedError ? `the token may not, it needs '${right}: write'` : error.message;
      annotate({ level: "warning", title: "Bento", message: `${what}: ${why}` });
    }
  };
  if (commitStatus) await attempt("no commit status", "statuses", () => markCommits(github, document, inputs.place));
  if (issue) await attempt("no issue", "issues", () => trackTrouble(github, document, inputs.place));
}
