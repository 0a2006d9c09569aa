import type { Socket } from "node:net";
import type { Client, SFTPWrapper } from "ssh2";
import SftpClient from "ssh2-sftp-client";
import { InterruptedError } from "../../errors.ts";
import type { Server } from "../../fleet/fleet.ts";
import { Budget } from "./budget.ts";
import { blobOf, CONNECT_TIMEOUT, connectionError, connectSocket, fingerprint, hostKeyAlgorithms } from "./connect.ts";
import { ConnectionLostError, SftpError } from "./error.ts";
import { gatherRequests } from "./gather.ts";
import { hurryLogin } from "./login.ts";
import { forwards, runsCommands } from "./probe.ts";
import { SftpRequests } from "./requests.ts";

export interface SessionOptions {
  server: Server;
  /** OpenSSH's text of the private key. */
  privateKey: Buffer;
  signal: AbortSignal;
  /** Milliseconds without an answer to anything, after which the server is taken to hang. */
  silence: number;
}

export const SILENCE = 60_000;
/** Milliseconds for what is put in order after an interruption: somebody is waiting for the end. */
const CLOSING_TIME = 10_000;
/** Bytes on their way at once; OpenSSH takes 2 MiB before it has to say that it wants more. */
const IN_FLIGHT = 4 * 1024 * 1024;
/** Files open at once, on the server's side. */
const MAX_HANDLES = 800;
/** Where a server doesn't say how many there may be. */
const UNTOLD_HANDLES = 200;

/** Somebody who waits for something of the server's. `isLast`: an interruption is nothing to them. */
interface Wait {
  isLast: boolean;
  end(error: Error): void;
}

/**
 * One SFTP connection with everything in flight at once. ssh2 leaves promises unsettled when a connection is lost, so every
 * request ends with it; and an end is always the same ConnectionLostError.
 */
export class SftpSession implements AsyncDisposable {
  /** After an interruption they are refused. */
  readonly requests: SftpRequests;
  /** For putting in order what is left, after an interruption too; not for long. */
  readonly lastRequests: SftpRequests;
  readonly #client: SftpClient;
  readonly #socket: Socket;
  readonly #where: string;
  readonly #silence: number;
  readonly #signal: AbortSignal;
  readonly #handles: Budget;
  readonly #bytes = new Budget(IN_FLIGHT);
  readonly #sendWaiting: () => void;
  /** All who wait. A promise of the end that each of thousands of requests is raced with would keep all of them in memory. */
  readonly #waits = new Set<Wait>();
  #end: Error | undefined;
  #isLost = false;
  #pending = 0;
  #answers = 0;
  #watchdog: NodeJS.Timeout | undefined;
  readonly #onInterrupt = () => this.#endWaits(new InterruptedError(), ({ isLast }) => !isLast);

  private constructor(client: SftpClient, sftp: SFTPWrapper, socket: Socket, options: SessionOptions) {
    const { server, signal, silence } = options;
    this.#client = client;
    this.#socket = socket;
    this.#where = `${server.address}:${server.port}`;
    this.#signal = signal;
    this.#silence = silence;
    const { maxOpenHandles } = sftp as SFTPWrapper & { maxOpenHandles?: number };
    this.#handles = new Budget(Math.min(MAX_HANDLES, Math.floor(0.8 * (maxOpenHandles ?? UNTOLD_HANDLES / 0.8))));
    this.#sendWaiting = gatherRequests(sftp, socket);
    client.on("close", () => this.#lose());
    client.on("end", () => this.#lose());
    // The server's sftp process alone may have ended.
    sftp.on("close", () => this.#lose());
    signal.addEventListener("abort", this.#onInterrupt);
    this.requests = new SftpRequests(sftp, (start) => this.#call(start, false));
    this.lastRequests = new SftpRequests(sftp, (start) => this.#call(start, true));
  }

  /** @throws UnavailableError that says why there is no connection: unreachable, another host key, login refused. */
  static async connect(options: SessionOptions): Promise<SftpSession> {
    const { server, privateKey, signal, silence } = options;
    if (signal.aborted) throw new InterruptedError();
    const socket = await connectSocket(server, signal);
    let received: string | undefined;
    const stopped = Promise.withResolvers<never>();
    stopped.promise.catch(() => {});
    const client = new SftpClient("bento", {
      // The promises say it already; without listeners ssh2-sftp-client prints to the console.
      error: () => {},
      end: () => {},
      close: () => stopped.reject(new Error("the server closed the connection")),
    });
    const abort = () => stopped.reject(new InterruptedError());
    signal.addEventListener("abort", abort);
    // ssh2 has a limit for the login, and none for what comes after it.
    const limit = setTimeout(
      () => stopped.reject(new Error(`no answer within ${CONNECT_TIMEOUT / 1000} s`)),
      CONNECT_TIMEOUT,
    );
    try {
      const connecting = client.connect({
        sock: socket,
        username: server.user,
        privateKey,
        authHandler: ["publickey"],
        readyTimeout: CONNECT_TIMEOUT,
        // Six without an answer, and the connection is lost.
        keepaliveInterval: Math.ceil(silence / 6),
        keepaliveCountMax: 5,
        algorithms: { serverHostKey: hostKeyAlgorithms(server.hostKeys) },
        hostVerifier: (key: Buffer) => {
          received = fingerprint(key);
          return server.hostKeys.some((pinned) => key.equals(blobOf(pinned)));
        },
      });
      hurryLogin(sshOf(client));
      const sftp = await Promise.race([connecting, stopped.promise]);
      return new SftpSession(client, sftp as unknown as SFTPWrapper, socket, options);
    } catch (cause) {
      socket.destroy();
      if (signal.aborted) throw new InterruptedError();
      throw connectionError(server, received, cause);
    } finally {
      clearTimeout(limit);
      signal.removeEventListener("abort", abort);
    }
  }

  get isLost(): boolean {
    return this.#isLost;
  }

  /**
   * Opens something and uses it; `use` has to close it. Waits while too much else is open. `use` may call `closing` once the request
   * to close is sent: whatever is opened from then on, the server opens after that.
   */
  async withHandle<T>(
    open: () => Promise<Buffer>,
    use: (handle: Buffer, closing: () => void) => Promise<T>,
  ): Promise<T> {
    const slot = await this.#whileConnected(this.#handles.take(1));
    let isOpen = true;
    const closing = () => {
      if (isOpen) this.#handles.give(slot);
      isOpen = false;
    };
    try {
      return await use(await open(), closing);
    } finally {
      closing();
    }
  }

  /** Waits until so many bytes more may be on their way, and gives what says that they have arrived. */
  async room(bytes: number): Promise<() => void> {
    const granted = await this.#whileConnected(this.#bytes.take(bytes));
    return () => this.#bytes.give(granted);
  }

  /** What a fleet's server must refuse to its logins. */
  async mustRefuse(): Promise<{ runsCommands: boolean; forwards: boolean }> {
    const client = sshOf(this.#client);
    const asked = Promise.all([runsCommands(client), forwards(client)]);
    const [first, second] = await this.#whileConnected(asked);
    return { runsCommands: first, forwards: second };
  }

  /** Does not wait for the other side's goodbye: what was asked has been answered, or is of no use to anybody. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#watchdog);
    this.#signal.removeEventListener("abort", this.#onInterrupt);
    this.#sendWaiting();
    this.#finish(new ConnectionLostError("the session was closed"));
    void this.#client.end().catch(() => {});
    if (this.#isLost) this.#socket.resetAndDestroy();
    else this.#socket.destroySoon();
  }

  /** One request. It ends with the connection, and is watched: while anything is pending, something must come back. */
  async #call<T>(
    start: (done: (error: Error | null | undefined, value?: T) => void) => void,
    isLast: boolean,
  ): Promise<T> {
    this.#pending += 1;
    if (this.#pending === 1) this.#watch();
    try {
      return await this.#wait<T>(isLast, (resolve, reject) => {
        start((error, value) => {
          this.#answers += 1;
          // Without a number from the server it is ssh2 that gives up what was asked, since the other end is gone.
          if (error && !(error instanceof SftpError)) this.#lose();
          else if (error) reject(error);
          else resolve(value as T);
        });
      });
    } finally {
      this.#pending -= 1;
      if (this.#pending === 0) clearTimeout(this.#watchdog);
    }
  }

  async #whileConnected<T>(promise: Promise<T>): Promise<T> {
    return this.#wait<T>(false, (resolve, reject) => promise.then(resolve, reject));
  }

  /** A promise that is settled in any case. After the end nothing is begun. */
  #wait<T>(isLast: boolean, start: (resolve: (value: T) => void, reject: (error: Error) => void) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      const end = this.#end ?? (!isLast && this.#signal.aborted ? new InterruptedError() : undefined);
      if (end !== undefined) return reject(end);
      const wait: Wait = { isLast, end: reject };
      this.#waits.add(wait);
      start(
        (value) => {
          this.#waits.delete(wait);
          resolve(value);
        },
        (error) => {
          this.#waits.delete(wait);
          reject(error);
        },
      );
    });
  }

  /** Nothing is answered from here on. */
  #finish(error: Error): void {
    this.#end ??= error;
    this.#endWaits(this.#end);
  }

  #endWaits(error: Error, which: (wait: Wait) => boolean = () => true): void {
    for (const wait of this.#waits) {
      if (!which(wait)) continue;
      this.#waits.delete(wait);
      wait.end(error);
    }
  }

  /** Only answers are signs of life; asking again and again is none. */
  #watch(): void {
    clearTimeout(this.#watchdog);
    const answers = this.#answers;
    const time = this.#signal.aborted ? Math.min(CLOSING_TIME, this.#silence) : this.#silence;
    this.#watchdog = setTimeout(() => {
      if (this.#answers !== answers) this.#watch();
      else this.#lose(`the server ${this.#where} has not answered for ${time / 1000} s`);
    }, time);
  }

  #lose(why = `the connection to ${this.#where} was lost`): void {
    if (this.#isLost) return;
    this.#isLost = true;
    this.#finish(new ConnectionLostError(why, { hint: "run it again; what was done is kept" }));
    // What is still on its way to the server must not arrive later on.
    this.#socket.resetAndDestroy();
  }
}

/** The connection below. */
function sshOf(client: SftpClient): Client {
  return (client as unknown as { client: Client }).client;
}
