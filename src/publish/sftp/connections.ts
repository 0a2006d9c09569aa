import { setTimeout as sleep } from "node:timers/promises";
import { InterruptedError, UnreachableError } from "../../errors.ts";
import { ConnectionLostError } from "./error.ts";
import { type SessionOptions, SftpSession } from "./session.ts";

export interface ConnectionsOptions extends SessionOptions {
  /** Milliseconds before the first new attempt; each further one waits twice as long, more or less by chance. */
  backoff: number;
  /** New connections in a row without anything done in between. */
  attempts: number;
  /** Told, in a line, about a connection that was lost and what is done about it. */
  say: (line: string) => void;
}

export const BACKOFF = 1_000;
export const ATTEMPTS = 6;

/** A session, and another one when it is lost, and so on, within bounds. */
export class SftpConnections implements AsyncDisposable {
  readonly #options: ConnectionsOptions;
  /** Puts a new session in order before anything else is done with it. */
  readonly #prepare: (session: SftpSession) => Promise<void>;
  #session: SftpSession;
  #attempts = 0;
  #reconnecting: Promise<void> | undefined;

  private constructor(
    options: ConnectionsOptions,
    session: SftpSession,
    prepare: (session: SftpSession) => Promise<void>,
  ) {
    this.#options = options;
    this.#session = session;
    this.#prepare = prepare;
  }

  /** @throws UnavailableError when the server can't be reached, or isn't the pinned one, or refuses the key. */
  static async open(
    options: ConnectionsOptions,
    prepare: (session: SftpSession) => Promise<void>,
  ): Promise<SftpConnections> {
    for (let attempt = 1; ; attempt++) {
      try {
        return new SftpConnections(options, await SftpSession.connect(options), prepare);
      } catch (error) {
        // A busy sshd drops those who are logging in, at random.
        if (!(error instanceof ConnectionLostError) || attempt > options.attempts) throw error;
        await backOff(options, attempt, error);
      }
    }
  }

  /** The newest one, which may be lost. */
  get session(): SftpSession {
    return this.#session;
  }

  /** Does the work over the session there is, and again from the start over a new one if that is lost. */
  async use<T>(work: (session: SftpSession) => Promise<T>): Promise<T> {
    for (;;) {
      const session = this.#session;
      try {
        const result = await work(session);
        this.#attempts = 0;
        return result;
      } catch (error) {
        if (!(error instanceof ConnectionLostError)) throw error;
        await this.#replace(session, error);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session[Symbol.asyncDispose]();
  }

  async #replace(lost: SftpSession, error: ConnectionLostError): Promise<void> {
    // Several may find out at the same time.
    if (this.#session !== lost) return;
    this.#reconnecting ??= this.#reconnect(error).finally(() => {
      this.#reconnecting = undefined;
    });
    await this.#reconnecting;
  }

  async #reconnect(first: ConnectionLostError): Promise<void> {
    let error: UnreachableError = first;
    await this.#session[Symbol.asyncDispose]();
    for (;;) {
      this.#attempts += 1;
      if (this.#attempts > this.#options.attempts) throw error === first ? first : gaveUp(first, error);
      await backOff(this.#options, this.#attempts, error);
      let session: SftpSession | undefined;
      try {
        session = await SftpSession.connect(this.#options);
        await this.#prepare(session);
        this.#session = session;
        return;
      } catch (cause) {
        await session?.[Symbol.asyncDispose]();
        // While the server starts again there may be nobody who listens.
        if (!(cause instanceof UnreachableError)) throw cause;
        error = cause;
      }
    }
  }
}

function gaveUp(first: UnreachableError, last: UnreachableError): UnreachableError {
  return new UnreachableError(`${first.message}, and then: ${last.message}`, {
    hint: "run it again; what was done is kept",
    cause: last,
  });
}

async function backOff(
  { backoff, attempts, signal, say }: ConnectionsOptions,
  attempt: number,
  error: UnreachableError,
): Promise<void> {
  const delay = backoff * 2 ** (attempt - 1) * (0.5 + Math.random());
  say(`${error.message}; trying again in ${(delay / 1000).toFixed(1)} s (${attempt} of ${attempts})`);
  await sleep(delay, undefined, { signal }).catch(() => {
    throw new InterruptedError();
  });
}
