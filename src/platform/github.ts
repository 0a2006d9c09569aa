import { setTimeout } from "node:timers/promises";
import { InterruptedError, UnavailableError } from "../errors.ts";

/** A comment of an issue or a pull request, as far as it matters here. */
export interface Comment {
  id: number;
  body: string;
  author: string;
}

export interface Issue {
  number: number;
  title: string;
  body: string;
  author: string;
}

export interface CommitStatus {
  state: "pending" | "success" | "failure";
  /** At most 140 characters. */
  description: string;
}

export interface GitHubOptions {
  /** Such as https://api.github.com; GITHUB_API_URL. */
  apiUrl: string;
  /** `owner/name`. */
  repository: string;
  token: string;
  signal: AbortSignal;
}

/** The API answered that it won't. */
export class ApiError extends UnavailableError {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** The token may not do it. */
export class RefusedError extends ApiError {}

/** Whether what was to be made is there. */
type IsThere = () => Promise<boolean>;

/** Whom comments are by that a workflow makes with its own token. */
const ACTIONS_BOTS = { github: ["github-actions[bot]"], forgejo: ["forgejo-actions", "gitea-actions"] };
const TIMEOUT = 30_000;
const ATTEMPTS = 4;
/** Milliseconds; longer than this nobody waits for a comment. */
const MAX_WAIT = 60_000;

/** GitHub's REST API, and that of others that have the same (Forgejo's, as far as comments go). */
export class GitHub {
  readonly #options: GitHubOptions;

  constructor(options: GitHubOptions) {
    this.#options = options;
  }

  /** Whom the token's comments may be by. A workflow's own token may not ask. */
  async logins(): Promise<readonly string[]> {
    try {
      const user = (await this.#request("GET", "/user")).body as { login?: unknown };
      if (typeof user.login === "string") return [user.login];
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error;
    }
    return this.#options.apiUrl.endsWith("/api/v1") ? ACTIONS_BOTS.forgejo : ACTIONS_BOTS.github;
  }

  /** All comments of a pull request, page by page. */
  async *comments(pullRequest: number): AsyncGenerator<Comment> {
    type Told = { id: number; body?: string; user?: { login?: string } };
    for await (const page of this.#pages(`${this.#repository}/issues/${pullRequest}/comments?per_page=100`)) {
      for (const { id, body, user } of list<Told>(page)) yield { id, body: body ?? "", author: user?.login ?? "" };
    }
  }

  /** `isThere` is asked before it is tried again: what was answered by an error, or by nothing, may have been done. */
  async createComment(pullRequest: number, body: string, isThere: IsThere): Promise<void> {
    await this.#request("POST", `${this.#repository}/issues/${pullRequest}/comments`, { body }, isThere);
  }

  async updateComment(id: number, body: string): Promise<void> {
    await this.#request("PATCH", `${this.#repository}/issues/comments/${id}`, { body });
  }

  /** The open pull request whose newest commit is `commit`, of `owner`'s branch; undefined when there is none (any more). */
  async pullRequestOf(owner: string, branch: string, commit: string): Promise<number | undefined> {
    const head = encodeURIComponent(`${owner}:${branch}`);
    const { body } = await this.#request("GET", `${this.#repository}/pulls?state=open&head=${head}&per_page=100`);
    return list<{ number: number; head: { sha: string } }>(body).find((one) => one.head.sha === commit)?.number;
  }

  /** Open issues, page by page; pull requests, which GitHub counts as issues, are left out. */
  async *openIssues(): AsyncGenerator<Issue> {
    type Told = { number: number; title: string; body?: string; user?: { login?: string }; pull_request?: unknown };
    for await (const page of this.#pages(`${this.#repository}/issues?state=open&per_page=100`)) {
      for (const { number, title, body, user, pull_request: isPull } of list<Told>(page)) {
        if (!isPull) yield { number, title, body: body ?? "", author: user?.login ?? "" };
      }
    }
  }

  /** `isThere` is asked as for a comment. */
  async createIssue(title: string, body: string, isThere: IsThere): Promise<void> {
    await this.#request("POST", `${this.#repository}/issues`, { title, body }, isThere);
  }

  async updateIssue(
    number: number,
    changes: Partial<Pick<Issue, "title" | "body">> & { state?: "closed" },
  ): Promise<void> {
    await this.#request("PATCH", `${this.#repository}/issues/${number}`, changes);
  }

  /** The newest status of a commit with this context; undefined when it has none. */
  async commitStatus(commit: string, context: string): Promise<CommitStatus | undefined> {
    // Of each context GitHub gives the newest only; a repository with many checks has more than a page of them.
    for await (const page of this.#pages(`${this.#repository}/commits/${commit}/status?per_page=100`)) {
      const { statuses } = page as { statuses?: (CommitStatus & { context: string })[] };
      const found = statuses?.find((status) => status.context === context);
      if (found) return { state: found.state, description: found.description };
    }
    return undefined;
  }

  async setCommitStatus(commit: string, context: string, status: CommitStatus): Promise<void> {
    await this.#request("POST", `${this.#repository}/statuses/${commit}`, { ...status, context });
  }

  /** A list's pages, as far as they are asked for. */
  async *#pages(first: string): AsyncGenerator<unknown> {
    let next: string | undefined = first;
    while (next !== undefined) {
      const { body, link } = await this.#request("GET", next);
      yield body;
      next = nextPage(link);
    }
  }

  get #repository(): string {
    return `/repos/${this.#options.repository}`;
  }

  /**
   * One request, tried again when the server is busy or broken, as long as it asks for, within reason; but not what is there already,
   * though it didn't say so.
   */
  async #request(method: string, place: string, content?: unknown, isThere?: IsThere): Promise<Answer> {
    const { apiUrl, signal } = this.#options;
    const url = new URL(place.startsWith("/") ? apiUrl + place : place);
    // The token goes to nobody but the API, wherever a page says that the next one is.
    if (url.origin !== new URL(apiUrl).origin)
      throw new UnavailableError(`${apiUrl} pointed to another host, ${url.origin}`);
    for (let attempt = 1; ; attempt++) {
      const response = await this.#send(method, url, content);
      if (response instanceof UnavailableError) {
        if (attempt === ATTEMPTS) throw response;
        await pause(attempt * 1000, signal);
      } else if (response.ok) {
        const body = response.status === 204 ? null : await json(response, method, url);
        return { body, link: response.headers.get("link") };
      } else {
        const wait = retryAfter(response, attempt);
        if (wait === undefined || attempt === ATTEMPTS || wait > MAX_WAIT) throw await refusal(response, method, url);
        await pause(wait, signal);
      }
      const mayBeDone = response instanceof UnavailableError || response.status >= 500;
      if (mayBeDone && (await isThere?.())) return { body: null, link: null };
    }
  }

  /** An error instead of an answer when none came. */
  async #send(method: string, url: URL, content: unknown): Promise<Response | UnavailableError> {
    const { apiUrl, token, signal } = this.#options;
    try {
      return await fetch(url, {
        method,
        redirect: "manual",
        headers: {
          accept: "application/vnd.github+json",
          authorization: `Bearer ${token}`,
          "content-type": "application/json",
          "user-agent": "bento",
        },
        ...(content === undefined ? {} : { body: JSON.stringify(content) }),
        signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT)]),
      });
    } catch (cause) {
      if (signal.aborted) throw new InterruptedError();
      return new UnavailableError(`${apiUrl} can't be reached`, { cause });
    }
  }
}

interface Answer {
  body: unknown;
  /** Where the next page is. */
  link: string | null;
}

/** Milliseconds to wait before another try; undefined when there is no use in one. */
function retryAfter({ status, headers }: Response, attempt: number): number | undefined {
  const asked = Number(headers.get("retry-after") ?? Number.NaN) * 1000;
  const limited =
    status === 429 || (status === 403 && (headers.has("retry-after") || headers.get("x-ratelimit-remaining") === "0"));
  if (!limited && status < 500) return undefined;
  return Number.isFinite(asked) ? asked : attempt * 1000;
}

async function json(response: Response, method: string, url: URL): Promise<unknown> {
  try {
    return await response.json();
  } catch (cause) {
    throw new UnavailableError(`${method} ${url.pathname}: the API answered something else than JSON`, { cause });
  }
}

async function refusal(response: Response, method: string, url: URL): Promise<ApiError> {
  const text = (await response.text().catch(() => "")).slice(0, 500);
  const message = `${method} ${url.pathname}: the API answered ${response.status}: ${text}`;
  const { status } = response;
  return [401, 403, 404].includes(status) ? new RefusedError(status, message) : new ApiError(status, message);
}

function list<T>(body: unknown): T[] {
  if (!Array.isArray(body)) throw new UnavailableError("the API answered something else than a list");
  return body;
}

function nextPage(link: string | null): string | undefined {
  return /<([^>]+)>;\s*rel="next"/.exec(link ?? "")?.[1];
}

async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await setTimeout(milliseconds, undefined, { signal }).catch(() => {
    throw new InterruptedError();
  });
}
