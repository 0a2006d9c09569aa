import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface Call {
  method: string;
  path: string;
  token: string | undefined;
  // biome-ignore lint/suspicious/noExplicitAny: whatever was sent, which the tests look at.
  body: any;
}

/** What GitHub would say to a request that isn't as its API wants it; none to one that is. */
function mistakeIn({ method, path, body }: Call, headers: IncomingMessage["headers"]): string | null {
  if (!headers["user-agent"]) return "no user agent";
  if (headers.accept !== "application/vnd.github+json") return `accepts ${headers.accept}`;
  if (!/^Bearer \S+$/.test(headers.authorization ?? "")) return "no token";
  const known = {
    GET: /^\/user$|^\/repos\/[\w-]+\/[\w.-]+\/(?:pulls\?state=open&head=[^&]+&per_page=100|issues\/\d+\/comments\?per_page=100(?:&page=\d+)?|issues\?state=open&per_page=100(?:&page=\d+)?|commits\/[0-9a-f]{40}\/status\?per_page=100(?:&page=\d+)?)$/,
    POST: /^\/repos\/[\w-]+\/[\w.-]+\/(?:issues(?:\/\d+\/comments)?|statuses\/[0-9a-f]{40})$/,
    PATCH: /^\/repos\/[\w-]+\/[\w.-]+\/issues\/(?:comments\/)?\d+$/,
  }[method];
  if (!known?.test(path)) return `there is no ${method} ${path}`;
  if (method === "GET") return body === null ? null : "a body";
  if (headers["content-type"] !== "application/json") return `content of ${headers["content-type"]}`;
  if (path.includes("/statuses/")) {
    const isStatus = Object.keys(body).sort().join() === "context,description,state" && body.description.length <= 140;
    return isStatus ? null : "a status is { state, context, description }, of which 140 characters";
  }
  if (/\/issues(?:\/\d+)?$/.test(path)) {
    const isChange = method === "PATCH" && body.state === "closed";
    if (isChange || (typeof body.title === "string" && body.body.length <= 65_536)) return null;
    return "an issue is { title, body }, of which 65,536 characters";
  }
  if (typeof body?.body !== "string" || Object.keys(body).join() !== "body") return "a comment is { body }";
  // Characters, as GitHub counts them.
  return body.body.length > 65_536 ? "the comment is too long" : null;
}

export interface StoredComment {
  id: number;
  body: string;
  user: { login: string };
}

/** Whose a workflow's token is. */
const BOT = "github-actions[bot]";

export interface StoredIssue {
  number: number;
  title: string;
  body: string;
  state: "open" | "closed";
  user: { login: string };
  pull_request?: object;
}

export interface Trouble {
  /** 0: none, the connection ends. */
  status: number;
  headers?: Record<string, string>;
  body?: string;
  /** What it answers; anything, without. */
  to?: "POST";
  /** All the same, what was asked for is done. */
  isDone?: boolean;
}

/** GitHub's API, as far as comments, pull requests, issues and statuses of commits go, over HTTP on loopback. It keeps what it was sent. */
export class TestGitHub implements AsyncDisposable {
  readonly calls: Call[] = [];
  readonly comments: StoredComment[] = [];
  readonly issues: StoredIssue[] = [];
  /** By commit, newest first. */
  readonly statuses = new Map<string, { context: string; state: string; description: string }[]>();
  /** By `owner:branch`. */
  readonly pulls = new Map<string, { number: number; head: { sha: string } }[]>();
  /** Answers to give before any other. */
  readonly trouble: Trouble[] = [];
  /** What was wrong with requests. */
  readonly mistakes: string[] = [];
  /** Where the next page is said to be, instead of here. */
  elsewhere: string | undefined;
  /** Whom the token's comments are by; GitHub doesn't say that to a workflow's. */
  login: string | null = null;
  /** Comments, issues and statuses on a page, however many were asked for. */
  pageSize = 100;
  readonly #server = createServer((request, response) => void this.#answer(request, response));

  static async start(): Promise<TestGitHub> {
    const github = new TestGitHub();
    await new Promise<void>((resolve) => github.#server.listen(0, "127.0.0.1", resolve));
    return github;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = "";
    for await (const chunk of request) text += chunk;
    const url = new URL(request.url ?? "/", this.url);
    const body = text === "" ? null : JSON.parse(text);
    const method = request.method ?? "";
    const call = { method, path: url.pathname + url.search, token: request.headers.authorization, body };
    this.calls.push(call);
    const trouble = url.pathname === "/user" ? undefined : this.#troubleFor(method);
    const fail = ({ status, headers, body }: Trouble) => {
      if (status === 0) return void request.socket.destroy();
      response.writeHead(status, { "content-type": "application/json", ...headers });
      response.end(body ?? JSON.stringify({ message: "trouble" }));
    };
    const send = (status: number, content: unknown, headers: Record<string, string> = {}) => {
      if (trouble) return fail(trouble);
      response.writeHead(status, { "content-type": "application/json", ...headers });
      response.end(JSON.stringify(content));
    };
    const sendPage = <T>(all: readonly T[], wrap: (page: readonly T[]) => unknown = (page) => page) => {
      const page = Number(url.searchParams.get("page") ?? 1);
      const from = (page - 1) * this.pageSize;
      const more = from + this.pageSize < all.length;
      url.searchParams.set("page", String(page + 1));
      const next = `${this.elsewhere ?? this.url}${url.pathname}${url.search}`;
      return send(200, wrap(all.slice(from, from + this.pageSize)), more ? { link: `<${next}>; rel="next"` } : {});
    };
    if (trouble && !trouble.isDone) return fail(trouble);
    const mistake = mistakeIn(call, request.headers);
    if (mistake !== null) {
      this.mistakes.push(mistake);
      return send(422, { message: mistake });
    }
    if (url.pathname === "/user" && this.login !== null) return send(200, { login: this.login });
    if (url.pathname === "/user") return send(403, { message: "Resource not accessible by integration" });
    if (url.pathname.endsWith("/pulls")) return send(200, this.pulls.get(url.searchParams.get("head") ?? "") ?? []);
    const [, commit = ""] = /\/(?:statuses|commits)\/([0-9a-f]{40})(?:\/status)?$/.exec(url.pathname) ?? [];
    if (commit !== "" && method === "GET") {
      return sendPage(this.statuses.get(commit) ?? [], (statuses) => ({ statuses }));
    }
    if (commit !== "") {
      this.statuses.set(commit, [body, ...(this.statuses.get(commit) ?? [])]);
      return send(201, {});
    }
    if (method === "GET" && url.pathname.endsWith("/issues")) {
      return sendPage(this.issues.filter(({ state }) => state === "open"));
    }
    if (method === "POST" && url.pathname.endsWith("/issues")) {
      const number = this.issues.length + 1;
      this.issues.push({ number, title: body.title, body: body.body, state: "open", user: { login: BOT } });
      return send(201, {});
    }
    const [, number] = /\/issues\/(\d+)$/.exec(url.pathname) ?? [];
    if (method === "PATCH" && number !== undefined) {
      const issue = this.issues.find((one) => one.number === Number(number));
      if (issue) Object.assign(issue, body);
      return send(issue ? 200 : 404, {});
    }
    if (method === "GET") {
      return sendPage(this.comments);
    }
    if (method === "POST") {
      this.comments.push({
        id: this.comments.length + 1,
        body: body.body,
        user: { login: this.login ?? BOT },
      });
      return send(201, {});
    }
    const found = this.comments.find(({ id }) => String(id) === url.pathname.split("/").at(-1));
    if (found) found.body = body.body;
    return send(found ? 200 : 404, {});
  }

  #troubleFor(method: string): Trouble | undefined {
    const index = this.trouble.findIndex(({ to = method }) => to === method);
    return index < 0 ? undefined : this.trouble.splice(index, 1)[0];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
