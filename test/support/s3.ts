import { createHash } from "node:crypto";
import { once } from "node:events";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { pipeline } from "node:stream/promises";
import { type Refusal, refusalOf } from "./aws-signature.ts";
import { exec } from "./programs.ts";

export const REGION = "eu-central-1";

/** Why a test is skipped with a Nix that doesn't do it. */
export const NO_S3 = "this Nix was built without S3";
export const NO_LOGIN = "this Nix was built without logins for S3";

/** What this machine's Nix makes of buckets: Debian's has them from 2.34 on, and logs in to none. `dir` is for what it takes to see. */
export async function nixWithS3(dir: string): Promise<{ hasS3: boolean; logsIn: boolean }> {
  await using bucket = await Bucket.start(path.join(dir, "bucket"), "probe", { logins: { AKIAPROBE: "secret" } });
  const env = {
    AWS_ACCESS_KEY_ID: "AKIAPROBE",
    AWS_SECRET_ACCESS_KEY: "secret",
    XDG_CACHE_HOME: path.join(dir, "cache"),
  };
  const args = ["--extra-experimental-features", "nix-command", "store", "ping", "--store", bucket.url];
  const { stderr } = await exec("nix", args, { env });
  return { hasS3: !/don't know how to open/.test(stderr), logsIn: bucket.answered.some(({ by }) => by !== null) };
}

export interface BucketOptions {
  /** Secrets by the ids of their keys: whoever has one may read and write, and nobody else. Without it everybody may. */
  logins?: Readonly<Record<string, string>>;
  /** Whether those who may read are told that something isn't there. Where they may not list the bucket, S3 has a 403 for that, too. */
  isListable?: boolean;
}

export interface Answered {
  method: string;
  /** Below the bucket. */
  key: string;
  /** The id of the key that the request says it is signed with. */
  by: string | null;
  status: number;
  /** S3's word for what is wrong. */
  code: string | null;
}

/** A bucket of an S3 server on loopback, which is a directory. It looks at who asks as Amazon's does: by each request's signature. */
export class Bucket implements AsyncDisposable {
  readonly dir: string;
  /** What it was asked, and said. */
  readonly answered: Answered[] = [];
  /** From now on. */
  logins: Readonly<Record<string, string>> | null;
  isListable: boolean;
  /** Whether it is broken for this key. */
  breaks: (key: string) => boolean = () => false;
  /** Of the logins, those that may only read. */
  readers: readonly string[] = [];
  /** Where it is, also once it is gone. */
  endpoint = "";
  readonly #name: string;
  readonly #server: Server;

  private constructor(dir: string, name: string, options: BucketOptions) {
    this.dir = dir;
    this.#name = name;
    this.logins = options.logins ?? null;
    this.isListable = options.isListable ?? true;
    this.#server = createServer((request, response) => {
      this.#answer(request, response).catch((error) => response.destroy(error));
    });
  }

  /** `dir` is made for it. */
  static async start(dir: string, name: string, options: BucketOptions = {}): Promise<Bucket> {
    await mkdir(dir, { recursive: true });
    const bucket = new Bucket(dir, name, options);
    bucket.#server.listen(0, "127.0.0.1");
    await once(bucket.#server, "listening");
    bucket.endpoint = `127.0.0.1:${(bucket.#server.address() as AddressInfo).port}`;
    return bucket;
  }

  /** As Nix has it. */
  get url(): string {
    return `s3://${this.#name}?endpoint=${this.endpoint}&scheme=http&region=${REGION}`;
  }

  /** What it says of each path of a store. */
  async narinfos(): Promise<string[]> {
    const names = (await readdir(this.dir)).filter((name) => name.endsWith(".narinfo"));
    return Promise.all(names.map((name) => readFile(path.join(this.dir, name), "utf8")));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = "", url = "" } = request;
    const headers = pairs(request.rawHeaders);
    const [, bucket, key = ""] = /^\/([^/?]*)\/?([^?]*)/.exec(url) ?? [];
    const [, by = null] = /Credential=([^/]*)\//.exec(request.headers.authorization ?? "") ?? [];
    const note = (status: number, code: string | null = null) => this.answered.push({ method, key, by, status, code });
    const refuse = async ({ status, code, message }: Refusal) => {
      note(status, code);
      request.resume();
      if (!request.complete) await once(request, "end");
      response.writeHead(status, { "content-type": "application/xml" });
      const text = `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${message}</Message></Error>`;
      response.end(method === "HEAD" ? undefined : text);
    };

    const claimed = request.headers["x-amz-content-sha256"];
    const payload = typeof claimed === "string" ? claimed : "";
    if (this.logins !== null) {
      const scope = { region: REGION, service: "s3" };
      const refusal = refusalOf({ method, url, headers }, this.logins, scope, payload);
      if (refusal !== null) return refuse(refusal);
      if (payload === "") {
        const message = "Missing required header for this request: x-amz-content-sha256";
        return refuse({ status: 400, code: "InvalidRequest", message });
      }
    }
    if (bucket !== this.#name) {
      return refuse({ status: 404, code: "NoSuchBucket", message: "The specified bucket does not exist" });
    }
    if (this.breaks(key)) {
      return refuse({
        status: 500,
        code: "InternalError",
        message: "We encountered an internal error. Please try again.",
      });
    }
    const file = path.join(this.dir, decodeURIComponent(key));
    const denied = { status: 403, code: "AccessDenied", message: "Access Denied" };
    if (method === "PUT") {
      if (by !== null && this.readers.includes(by)) return refuse(denied);
      await mkdir(path.dirname(file), { recursive: true });
      const part = `${file}.${this.answered.length}.part`;
      const hash = createHash("sha256");
      request.on("data", (data) => hash.update(data));
      await pipeline(request, createWriteStream(part));
      if (/^[0-9a-f]{64}$/.test(payload) && hash.digest("hex") !== payload) {
        await rm(part);
        const message = "The provided 'x-amz-content-sha256' header does not match what was computed.";
        return refuse({ status: 400, code: "XAmzContentSHA256Mismatch", message });
      }
      await rename(part, file);
      note(200);
      response.end();
      return;
    }
    const size = await stat(file).then(
      (found) => (found.isFile() ? found.size : null),
      () => null,
    );
    if (size === null && !this.isListable) return refuse(denied);
    if (size === null) return refuse({ status: 404, code: "NoSuchKey", message: "The specified key does not exist." });
    note(200);
    response.writeHead(200, { "content-length": size });
    if (method === "HEAD") response.end();
    else await pipeline(createReadStream(file), response);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#server.listening) return;
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }
}

function pairs(rawHeaders: readonly string[]): [string, string][] {
  return Array.from({ length: rawHeaders.length / 2 }, (_, n) => [
    rawHeaders[2 * n] ?? "",
    rawHeaders[2 * n + 1] ?? "",
  ]);
}
