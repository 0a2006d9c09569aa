import { once } from "node:events";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { succeed } from "./programs.ts";

/**
 * What becomes of a request: the file; its first half; a byte now and then; 40 kB a second; no answer at all; the end of the
 * connection; or this status.
 */
export type Answer = "file" | "half" | "trickle" | "slow" | "silence" | "hangup" | number;

/** Bytes, and milliseconds between them. */
const PACES = { trickle: [1, 200], slow: [4_000, 100] } as const;

const NIX = ["--extra-experimental-features", "nix-command"];

/** A binary cache on loopback: a directory that `nix copy` fills, and an HTTP server that gives it out and counts. */
export class BinaryCache implements AsyncDisposable {
  readonly dir: string;
  /** As in nix.conf. */
  readonly publicKey: string;
  readonly #keyFile: string;
  readonly #server: Server;
  /** The paths that were asked for. */
  readonly requests: string[] = [];
  /** What it was called by who asked: `127.0.0.1:5000`. */
  readonly names = new Set<string | undefined>();
  /** Decides about a request by its path. */
  answer: (path: string) => Answer = () => "file";

  private constructor(dir: string, keyFile: string, publicKey: string) {
    this.dir = dir;
    this.#keyFile = keyFile;
    this.publicKey = publicKey;
    this.#server = createServer(async (request, response) => {
      const { pathname } = new URL(request.url ?? "/", "http://localhost");
      this.requests.push(pathname);
      this.names.add(request.headers.host);
      const answer = this.answer(pathname);
      if (answer === "silence") return;
      if (answer === "hangup") return request.socket.destroy();
      if (typeof answer === "number") return response.writeHead(answer).end();
      const content = await readFile(path.join(dir, path.normalize(pathname))).catch(() => null);
      if (content === null) return response.writeHead(404).end();
      if (answer === "trickle" || answer === "slow") {
        // What it is, so that nothing is wrong with it but the time that it takes.
        response.writeHead(200, { "content-length": content.length });
        const [bytes, wait] = PACES[answer];
        let at = 0;
        const pace = setInterval(() => {
          response.write(content.subarray(at, at + bytes));
          at += bytes;
          if (at >= content.length) response.end();
        }, wait);
        return response.on("close", () => clearInterval(pace));
      }
      return response.end(answer === "half" ? content.subarray(0, content.length / 2) : content);
    });
  }

  /** `name` is that of its key, too. */
  static async start(dir: string, name: string): Promise<BinaryCache> {
    const keyFile = path.join(dir, `${name}.key`);
    await mkdir(path.join(dir, name), { recursive: true });
    await succeed("nix-store", ["--generate-binary-cache-key", name, keyFile, `${keyFile}.pub`]);
    const cache = new BinaryCache(path.join(dir, name), keyFile, (await readFile(`${keyFile}.pub`, "utf8")).trim());
    cache.#server.listen(0, "127.0.0.1");
    await once(cache.#server, "listening");
    return cache;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** As fleet.yaml has it. */
  get substituter(): { url: string; key: string } {
    return { url: this.url, key: this.publicKey };
  }

  /** Copies closures there at once, signed. */
  async push(...systems: string[]): Promise<void> {
    await this.pushUnsigned(...systems);
    const store = ["--store", `file://${this.dir}`];
    await succeed("nix", [...NIX, "store", "sign", "-r", "-k", this.#keyFile, ...store, ...systems]);
  }

  async pushUnsigned(...systems: string[]): Promise<void> {
    await succeed("nix", [...NIX, "copy", "--to", `file://${this.dir}`, ...systems]);
    await writeFile(
      path.join(this.dir, "nix-cache-info"),
      `StoreDir: ${path.dirname(systems[0] ?? "")}\nWantMassQuery: 1\nPriority: 30\n`,
    );
  }

  /** Of the paths that it has, those whose names match, each with its narinfo's file. */
  async narinfosOf(name: RegExp): Promise<{ stored: string; file: string }[]> {
    const found: { stored: string; file: string }[] = [];
    for (const entry of await readdir(this.dir)) {
      if (!entry.endsWith(".narinfo")) continue;
      const file = path.join(this.dir, entry);
      const stored = /^StorePath: (.*)$/m.exec(await readFile(file, "utf8"))?.[1] ?? "";
      if (name.test(stored)) found.push({ stored, file });
    }
    return found;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#server.listening) return;
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }
}
