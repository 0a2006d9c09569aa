import type { FileEntryWithStats, SFTPWrapper, Stats } from "ssh2";
import SftpClient from "ssh2-sftp-client";
import { InterruptedError, UnavailableError } from "../errors.ts";
import type { Server } from "../fleet/fleet.ts";
import {
  blobOf,
  CONNECT_TIMEOUT,
  connectionError,
  connectSocket,
  fingerprint,
  hostKeyAlgorithms,
} from "./sftp-connect.ts";

/** SFTP's error codes, as OpenSSH sends them: anything that is neither missing nor denied is `failure`. */
export type SftpCode = "missing" | "denied" | "failure";

export class SftpError extends Error {
  readonly code: SftpCode;
  constructor(code: SftpCode, message: string) {
    super(message);
    this.code = code;
  }
}

export interface SessionOptions {
  server: Server;
  /** OpenSSH's text of the private key. */
  privateKey: Buffer;
  signal: AbortSignal;
}

/** Milliseconds without an answer to anything, after which the server is taken to hang. */
const SILENCE = 60_000;
/** Bytes on their way at once. */
const IN_FLIGHT = 16 * 1024 * 1024;
/** OpenSSH takes 256 KiB in a packet, of which some is header. */
const CHUNK = 254 * 1024;

/**
 * One SFTP connection with everything in flight at once. ssh2 leaves promises unsettled when a connection is lost, so every
 * operation is raced with its end; and an end is always the same UnavailableError.
 */
export class SftpSession implements AsyncDisposable {
  readonly #sftp: SFTPWrapper;
  readonly #client: SftpClient;
  readonly #ended: Promise<never>;
  #end: (error: Error) => void = () => {};
  #pending = 0;
  #watchdog: NodeJS.Timeout | undefined;
  #bytes = 0;
  readonly #waiting: (() => void)[] = [];
  readonly #signal: AbortSignal;
  readonly #interrupted = Promise.withResolvers<never>();
  #closing = false;
  readonly #interrupt = () => this.#interrupted.reject(new InterruptedError());

  private constructor(client: SftpClient, sftp: SFTPWrapper, signal: AbortSignal, where: string) {
    this.#client = client;
    this.#sftp = sftp;
    this.#signal = signal;
    const { promise, reject } = Promise.withResolvers<never>();
    this.#ended = promise;
    // Nothing may be waiting for it when it comes.
    promise.catch(() => {});
    this.#interrupted.promise.catch(() => {});
    this.#end = reject;
    const lost = () =>
      reject(
        new UnavailableError(`the connection to ${where} was lost`, { hint: "run it again; what was done is kept" }),
      );
    client.on("close", lost);
    client.on("end", lost);
    sftp.on("close", lost);
    signal.addEventListener("abort", this.#interrupt);
  }

  /** @throws UnavailableError that says why there is no connection: unreachable, another host key, login refused. */
  static async connect({ server, privateKey, signal }: SessionOptions): Promise<SftpSession> {
    const where = `${server.address}:${server.port}`;
    if (signal.aborted) throw new InterruptedError();
    const socket = await connectSocket(server, signal);
    let received: string | undefined;
    const client = new SftpClient("bento", {
      // The promises say it already; without listeners ssh2-sftp-client prints to the console.
      error: () => {},
      end: () => {},
      close: () => {},
    });
    const abort = () => socket.destroy();
    signal.addEventListener("abort", abort);
    try {
      const sftp = await client.connect({
        sock: socket,
        username: server.user,
        privateKey,
        authHandler: ["publickey"],
        readyTimeout: CONNECT_TIMEOUT,
        keepaliveInterval: 5_000,
        keepaliveCountMax: 4,
        algorithms: { serverHostKey: hostKeyAlgorithms(server.hostKeys) },
        hostVerifier: (key: Buffer) => {
          received = fingerprint(key);
          return server.hostKeys.some((pinned) => key.equals(blobOf(pinned)));
        },
      });
      return new SftpSession(client, sftp as unknown as SFTPWrapper, signal, where);
    } catch (cause) {
      socket.destroy();
      if (signal.aborted) throw new InterruptedError();
      throw connectionError(server, received, cause);
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  /** From here on an interruption stops nothing more: what is to be put in order before the end can be. */
  beginClosing(): void {
    this.#closing = true;
  }

  /** Files that may be open at the same time. */
  get parallelism(): number {
    return 200;
  }

  async stat(file: string): Promise<Stats> {
    return this.#call((done) => this.#sftp.stat(file, done));
  }

  async lstat(file: string): Promise<Stats> {
    return this.#call((done) => this.#sftp.lstat(file, done));
  }

  async list(dir: string): Promise<FileEntryWithStats[]> {
    return this.#call((done) => this.#sftp.readdir(dir, done));
  }

  /** The file's bytes; SftpError `failure` when there are more than `limit`, or it is no regular file. */
  async read(file: string, limit: number): Promise<{ bytes: Buffer; stats: Stats }> {
    const handle = await this.#call<Buffer>((done) => this.#sftp.open(file, "r", done));
    try {
      const stats = await this.#call<Stats>((done) => this.#sftp.fstat(handle, done));
      if (!stats.isFile()) throw new SftpError("failure", `${file} is not a regular file`);
      if (stats.size > limit) throw new SftpError("failure", `${file} is larger than ${limit} bytes`);
      const bytes = Buffer.alloc(stats.size);
      let offset = 0;
      while (offset < bytes.length) {
        const count = await this.#call<number>((done) =>
          this.#sftp.read(handle, bytes, offset, Math.min(CHUNK, bytes.length - offset), offset, (error, read) =>
            done(error, read),
          ),
        );
        if (count === 0) break;
        offset += count;
      }
      return { bytes: bytes.subarray(0, offset), stats };
    } finally {
      await this.#call<void>((done) => this.#sftp.close(handle, done));
    }
  }

  /** Writes a new file, all of it in one flight, and makes sure that it is on the server's disk. */
  async write(file: string, bytes: Buffer, flags: "wx" | "w" = "wx"): Promise<void> {
    const handle = await this.#call<Buffer>((done) => this.#sftp.open(file, flags, done));
    try {
      const writes: Promise<void>[] = [];
      for (let offset = 0; offset < bytes.length; offset += CHUNK) {
        const size = Math.min(CHUNK, bytes.length - offset);
        await this.#room(size);
        writes.push(
          this.#call<void>((done) => this.#sftp.write(handle, bytes, offset, size, offset, done)).finally(() =>
            this.#roomAgain(size),
          ),
        );
      }
      // All of them must be settled before the handle is closed; the first failure is the one to tell.
      const results = await Promise.allSettled(writes);
      const failed = results.find((result) => result.status === "rejected");
      if (failed) throw failed.reason;
      await this.#sync(handle);
    } finally {
      await this.#call<void>((done) => this.#sftp.close(handle, done));
    }
  }

  /** Renames, replacing what is there in one step. */
  async replace(from: string, to: string): Promise<void> {
    await this.#call<void>((done) => this.#sftp.ext_openssh_rename(from, to, done));
  }

  /** Renames, and fails when there is something already. */
  async rename(from: string, to: string): Promise<void> {
    await this.#call<void>((done) => this.#sftp.rename(from, to, done));
  }

  async unlink(file: string): Promise<void> {
    await this.#call<void>((done) => this.#sftp.unlink(file, done));
  }

  /** Whether the file system that `dir` is on has no room left; undefined where the server doesn't say. */
  async isFull(dir: string): Promise<boolean | undefined> {
    try {
      const info = await this.#call<{ f_bavail: number; f_favail: number }>((done) =>
        this.#sftp.ext_openssh_statvfs(dir, (error: Error | undefined, stats: unknown) =>
          done(error, stats as { f_bavail: number; f_favail: number }),
        ),
      );
      return Number(info.f_bavail) < 64 || Number(info.f_favail) === 0;
    } catch (error) {
      if (error instanceof SftpError) return undefined;
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#watchdog);
    this.#signal.removeEventListener("abort", this.#interrupt);
    this.#end(new Error("the session was closed"));
    await this.#client.end().catch(() => {});
  }

  async #sync(handle: Buffer): Promise<void> {
    try {
      await this.#call<void>((done) => this.#sftp.ext_openssh_fsync(handle, done));
    } catch (error) {
      // A server other than OpenSSH may not have it; ssh2 then throws before it sends anything.
      if (!(error instanceof Error && /does not support/.test(error.message))) throw error;
    }
  }

  /** One request. Raced with the end of the connection, and watched: while anything is pending, something must come back. */
  async #call<T>(start: (done: (error: Error | null | undefined, value?: T) => void) => void): Promise<T> {
    this.#pending += 1;
    this.#watch();
    const answer = new Promise<T>((resolve, reject) => {
      start((error, value) => (error ? reject(toSftpError(error)) : resolve(value as T)));
    });
    try {
      return await Promise.race([answer, this.#ended, ...(this.#closing ? [] : [this.#interrupted.promise])]);
    } finally {
      this.#pending -= 1;
      this.#watch();
    }
  }

  #watch(): void {
    clearTimeout(this.#watchdog);
    if (this.#pending === 0) return;
    this.#watchdog = setTimeout(() => {
      this.#end(new UnavailableError(`the server has not answered for ${SILENCE / 1000} s`));
      void this.#client.end().catch(() => {});
    }, SILENCE);
  }

  async #room(size: number): Promise<void> {
    while (this.#bytes > 0 && this.#bytes + size > IN_FLIGHT) {
      await Promise.race([new Promise<void>((resolve) => this.#waiting.push(resolve)), this.#ended]);
    }
    this.#bytes += size;
  }

  #roomAgain(size: number): void {
    this.#bytes -= size;
    for (const wake of this.#waiting.splice(0)) wake();
  }
}

function toSftpError(error: Error): Error {
  const code = (error as Error & { code?: number | string }).code;
  if (code === 2) return new SftpError("missing", error.message);
  if (code === 3) return new SftpError("denied", error.message);
  if (code === 4) return new SftpError("failure", error.message);
  return error;
}
