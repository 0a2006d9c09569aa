// What GitHub says of the event that started a workflow, in GITHUB_EVENT_PATH: the keys that it has there, some of them cut short.

const OWNER = { login: "example", id: 1, type: "Organization", site_admin: false };
const SENDER = { login: "grace", id: 2, type: "User", site_admin: false };
const REPOSITORY = {
  id: 1296269,
  name: "fleet",
  full_name: "example/fleet",
  private: true,
  owner: OWNER,
  fork: false,
  default_branch: "main",
  clone_url: "https://github.com/example/fleet.git",
  visibility: "private",
};
const FORK = { ...REPOSITORY, id: 1296270, full_name: "grace/fleet", owner: SENDER, fork: true, private: false };

/** A pull request's, of this repository or of a fork; GitHub gives none for a fork that is gone. */
export function pullRequest(base: string, head: string, of: "fork" | "repository" | "gone" = "fork"): object {
  const repo = { fork: FORK, repository: REPOSITORY, gone: null }[of];
  return {
    action: "synchronize",
    number: 7,
    before: "0".repeat(40),
    after: head,
    pull_request: {
      id: 1,
      number: 7,
      state: "open",
      locked: false,
      draft: false,
      // biome-ignore lint/suspicious/noTemplateCurlyInString: somebody might take it for an expression.
      title: "A change `$(touch /tmp/owned)` ${{ github.token }}",
      body: null,
      user: SENDER,
      merged: false,
      mergeable: null,
      merge_commit_sha: null,
      author_association: "CONTRIBUTOR",
      base: { label: "example:main", ref: "main", sha: base, user: OWNER, repo: REPOSITORY },
      head: { label: "grace:change", ref: "change", sha: head, user: SENDER, repo },
      _links: { self: { href: "https://api.github.com/repos/example/fleet/pulls/7" } },
    },
    repository: REPOSITORY,
    organization: OWNER,
    sender: SENDER,
  };
}

export function push(before: string, after: string): object {
  const commit = {
    id: after,
    tree_id: "3".repeat(40),
    distinct: true,
    message: "A change",
    timestamp: "2026-11-26T12:00:00Z",
    author: { name: "Ada", email: "ada@example.org", username: "ada" },
    added: [],
    removed: [],
    modified: ["hosts/nas/configuration.nix"],
  };
  return {
    ref: "refs/heads/main",
    before,
    after,
    base_ref: null,
    created: false,
    deleted: false,
    forced: false,
    compare: `https://github.com/example/fleet/compare/${before.slice(0, 12)}...${after.slice(0, 12)}`,
    commits: [commit],
    head_commit: commit,
    pusher: { name: "ada", email: "ada@example.org" },
    repository: { ...REPOSITORY, owner: { ...OWNER, name: "example", email: null } },
    sender: SENDER,
  };
}

export function workflowDispatch(): object {
  return {
    inputs: null,
    ref: "refs/heads/main",
    workflow: ".github/workflows/bento-deploy.yml",
    repository: REPOSITORY,
    sender: SENDER,
  };
}

/** A clock's has no sender, and hardly anything else. */
export function schedule(): object {
  return { schedule: "17 * * * *", workflow: ".github/workflows/bento-status.yml", repository: REPOSITORY };
}

/** A group of pull requests in the queue; there is no `pull_request`. */
export function mergeGroup(base: string, head: string): object {
  return {
    action: "checks_requested",
    merge_group: {
      head_sha: head,
      head_ref: `refs/heads/gh-readonly-queue/main/pr-7-${base}`,
      base_sha: base,
      base_ref: "refs/heads/main",
      head_commit: {
        id: head,
        tree_id: "3".repeat(40),
        message: "Merge pull request #7",
        timestamp: "2026-11-26T12:00:00Z",
      },
    },
    repository: REPOSITORY,
    organization: OWNER,
    sender: { ...SENDER, login: "github-merge-queue[bot]", type: "Bot" },
  };
}

/** A comment, on an issue or on a pull request. */
export function issueComment(on: "issue" | "pull request"): object {
  const url = "https://api.github.com/repos/example/fleet/pulls/7";
  return {
    action: "created",
    issue: {
      number: 7,
      state: "open",
      title: "A change",
      user: SENDER,
      ...(on === "issue" ? {} : { pull_request: { url, html_url: "https://github.com/example/fleet/pull/7" } }),
    },
    comment: { id: 5, body: "/build", user: SENDER, author_association: "NONE" },
    repository: REPOSITORY,
    organization: OWNER,
    sender: SENDER,
  };
}

/** After a workflow that a fork's pull request has started, unless told otherwise; of a fork's, `pull_requests` is empty. */
export function workflowRun(
  head: string,
  { of = "fork", event = "pull_request" }: { of?: "fork" | "repository" | "gone"; event?: string } = {},
): object {
  return {
    action: "completed",
    workflow: { id: 3, name: "bento check", path: ".github/workflows/bento-check.yml", state: "active" },
    workflow_run: {
      id: 4,
      name: "bento check",
      event,
      status: "completed",
      conclusion: "success",
      head_branch: "change",
      head_sha: head,
      path: ".github/workflows/bento-check.yml",
      run_number: 12,
      run_attempt: 1,
      pull_requests: [],
      actor: SENDER,
      triggering_actor: SENDER,
      repository: REPOSITORY,
      head_repository: { fork: FORK, repository: REPOSITORY, gone: null }[of],
    },
    repository: REPOSITORY,
    organization: OWNER,
    sender: SENDER,
  };
}
