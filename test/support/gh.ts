import { mkdir, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import path from "node:path";

export interface GhCall {
  method: string;
  url: URL;
  // biome-ignore lint/suspicious/noExplicitAny: whatever was sent, which the tests look at.
  body: any;
}

export interface GhAnswer {
  status: number;
  body: unknown;
}

/** What GitHub's own program, gh, talks to instead of GitHub: it can be told to send all that it has to say to a socket. */
export class GhApi implements AsyncDisposable {
  readonly calls: GhCall[] = [];
  /** For gh: whose home its and git's settings are in is `dir`. */
  readonly env: Readonly<Record<string, string>>;
  readonly #answer: (call: GhCall) => GhAnswer;
  readonly #server = createServer((request, response) => void this.#serve(request, response));

  private constructor(dir: string, answer: (call: GhCall) => GhAnswer) {
    this.#answer = answer;
    this.env = { HOME: dir, GH_CONFIG_DIR: path.join(dir, "gh"), GH_TOKEN: "ghs_aToken", GH_PROMPT_DISABLED: "1" };
  }

  /** `dir` is made for it. */
  static async start(dir: string, answer: (call: GhCall) => GhAnswer): Promise<GhApi> {
    const api = new GhApi(dir, answer);
    const socket = path.join(dir, "api");
    await mkdir(path.join(dir, "gh"), { recursive: true });
    await writeFile(path.join(dir, "gh/config.yml"), `http_unix_socket: ${JSON.stringify(socket)}\n`);
    await new Promise<void>((resolve) => api.#server.listen(socket, resolve));
    return api;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = "";
    for await (const chunk of request) text += chunk;
    const call = {
      method: request.method ?? "",
      url: new URL(request.url ?? "/", `http://${request.headers.host}`),
      body: text === "" ? null : JSON.parse(text),
    };
    this.calls.push(call);
    const { status, body } = this.#answer(call);
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(body));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
