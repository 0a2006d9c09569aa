import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { InterruptedError, UnavailableError } from "../../errors.ts";
import type { LockOptions } from "../publisher.ts";
import { missingIsUndefined, SftpError } from "./error.ts";
import { readFile } from "./files.ts";
import { flight, type SftpRequests } from "./requests.ts";
import type { SftpSession } from "./session.ts";

export const LOCK_DIRECTORY = "/.bento";
export const LOCK = `${LOCK_DIRECTORY}/lock`;
/** Milliseconds after its last renewal that a lock counts as left behind, by the server's clock. */
export const TIME_TO_LIVE = 300_000;
/** Milliseconds between two looks at a lock that somebody else has; half of it, and as much again by chance. */
const POLL = 2_000;
/** Tries without an owner in sight: by then it isn't a lock that is in the way. */
const ATTEMPTS = 10;
const MAX_LOCK = 4096;

/**
 * The fleet's lock: a file that is made whole under a name of its own, and then renamed, which fails while there is another.
 * Its age is read from the server's clock alone, since two runners' clocks need not agree.
 *
 * A deploy may be stopped at any point, for longer than its lock lives, and go on afterwards. So everything it does to the
 * lock's content goes through the open file, which is its own for ever whatever has become of the name; whoever takes a lock
 * over leaves a mark (see `marks`) until the dead deploy's temporary files are gone, without which that can't publish; and
 * before anything is published the name is looked up once more.
 */
export class SftpLock {
  readonly #content: Buffer;
  readonly #timeToLive: number;
  readonly #taking: string;
  #attempt = 0;
  #handle: Buffer | undefined;
  #held = false;
  #lastRenewal = new Stopwatch();

  constructor(owner: string, timeToLive: number) {
    const token = randomUUID();
    this.#timeToLive = timeToLive;
    this.#taking = `${LOCK_DIRECTORY}/taking-${token}`;
    this.#content = Buffer.from(`${JSON.stringify({ owner, host: hostname(), pid: process.pid, token })}\n`);
  }

  /** Whether it was taken; it may be lost since. */
  get isHeld(): boolean {
    return this.#held;
  }

  /**
   * Takes it. `asked` is called as soon as the server has been asked for it: as the server keeps the order of requests, what is
   * read from then on is read with the lock held, provided that the first attempt succeeds, which is the result.
   * @throws UnavailableError that names the owner when somebody else has it.
   */
  async take(session: SftpSession, options: LockOptions, signal: AbortSignal, asked: () => void): Promise<boolean> {
    const waiting = new Stopwatch();
    this.#attempt += 1;
    const temporary = `${this.#taking}.${this.#attempt}`;
    const open = () => session.requests.open(temporary, "wx").catch(explainDirectory);
    // What a connection left that was lost meanwhile.
    if (this.#attempt > 1) session.requests.unlink(`${this.#taking}.${this.#attempt - 1}`).catch(() => {});
    let isFirst = true;
    try {
      let handle = await open();
      for (let misses = 0; misses < ATTEMPTS; misses++) {
        // Written anew before each attempt: the lock's age is that of its last writing.
        const stopwatch = new Stopwatch();
        const answers = Promise.allSettled([
          session.requests.write(handle, this.#content, 0),
          session.requests.rename(temporary, LOCK),
        ]);
        asked();
        const [written, renamed] = await answers;
        if (renamed.status === "fulfilled") {
          this.#held = true;
          this.#handle = handle;
          this.#lastRenewal = stopwatch;
        }
        if (written.status === "rejected") throw written.reason;
        if (renamed.status === "fulfilled") return isFirst;
        isFirst = false;
        if (!(renamed.reason instanceof SftpError)) throw renamed.reason;
        if (renamed.reason.code === "missing") {
          // Somebody took it for a leftover.
          handle = await open();
          continue;
        }
        const holder = await this.#holder(session, handle);
        if (holder === undefined) continue;
        if (holder === "self") {
          await session.requests.unlink(temporary);
          return false;
        }
        if (holder.age * 1000 >= this.#timeToLive) {
          await breakStale(session, holder);
          continue;
        }
        const left = (options.wait ?? 0) - waiting.elapsed;
        if (left <= 0) throw this.#heldBy(holder, options.wait ?? 0);
        options.onWait?.(describe(holder.content));
        await sleep(Math.min(left, POLL * (0.5 + Math.random())), undefined, { signal }).catch(() => {
          throw new InterruptedError();
        });
        misses = -1;
      }
      throw new UnavailableError("the fleet's lock on the server could not be taken", {
        hint: `look at ${LOCK} on the server: can the publisher make files there?`,
      });
    } catch (error) {
      if (!this.#held) await this.#abandon(session, temporary, error).catch(() => {});
      if (error instanceof SftpError) {
        throw new UnavailableError(`the fleet's lock can't be written on the server: ${error.message}`, {
          hint: "is its disk full?",
          cause: error,
        });
      }
      throw error;
    }
  }

  /** Has it on another connection. @throws UnavailableError when somebody else has taken it over in the meantime. */
  async adopt(session: SftpSession): Promise<void> {
    this.#handle = await session.requests.open(LOCK, "r+").catch(missingIsUndefined);
    await this.check(session);
  }

  /** Shows that its owner is alive. It is the open file that is written to, so never somebody else's lock. */
  async renew(session: SftpSession): Promise<void> {
    if (this.#handle === undefined) return;
    const stopwatch = new Stopwatch();
    await session.requests.write(this.#handle, this.#content, 0);
    // If it took that long, the lock may have been taken over before.
    if (this.#lastRenewal.elapsed < this.#timeToLive) this.#lastRenewal = stopwatch;
  }

  /** @throws UnavailableError when somebody else has taken it over in the meantime. */
  async check(session: SftpSession): Promise<void> {
    const stopwatch = new Stopwatch();
    const [found] = await flight(readFile(session, LOCK, MAX_LOCK).catch(missingIsUndefined), this.renew(session));
    if (!found?.bytes.equals(this.#content)) {
      this.#held = false;
      throw new UnavailableError("another deploy has taken the fleet's lock over; nothing more was published");
    }
    this.#lastRenewal = stopwatch;
  }

  /** Gives it back, if it still is this one's; if not, its time to live takes care of it. */
  async release(session: SftpSession): Promise<void> {
    if (!this.#held) return;
    this.#held = false;
    // Nobody may have touched it within its time to live.
    const isMine = this.#lastRenewal.elapsed < this.#timeToLive / 2 || (await this.#isMine(session.lastRequests));
    if (isMine) await session.lastRequests.unlink(LOCK);
  }

  /** Leaves nothing of an attempt to take it; an interruption may come when the server has done it, and not said so. */
  async #abandon({ lastRequests }: SftpSession, temporary: string, error: unknown): Promise<void> {
    await lastRequests.unlink(temporary).catch(() => {});
    if (error instanceof InterruptedError && (await this.#isMine(lastRequests))) await lastRequests.unlink(LOCK);
  }

  async #isMine(requests: SftpRequests): Promise<boolean> {
    const handle = await requests.open(LOCK, "r");
    return (await requests.read(handle, MAX_LOCK, 0)).equals(this.#content);
  }

  /** Who has it, and for how long its owner has not been seen; "self" where an earlier connection took it. */
  async #holder(session: SftpSession, handle: Buffer): Promise<Holder | "self" | undefined> {
    const [found, own] = await flight(
      readFile(session, LOCK, MAX_LOCK).catch(missingIsUndefined),
      session.requests.fstat(handle),
    );
    if (found === undefined) return undefined;
    if (found.bytes.equals(this.#content)) {
      this.#held = true;
      await this.adopt(session);
      return "self";
    }
    return { content: found.bytes, age: own.mtime - found.stats.mtime };
  }

  #heldBy({ content, age }: Holder, waited: number): UnavailableError {
    const since = `last seen ${Math.max(0, age)} s ago`;
    const enough = waited > 0 ? `; waited for ${Math.round(waited / 1000)} s` : "";
    return new UnavailableError(`another deploy holds the fleet's lock: ${describe(content)}, ${since}${enough}`, {
      hint: `wait for it (--wait 10m); if it is dead, its lock ends ${this.#timeToLive / 1000} s after it was last seen`,
    });
  }
}

interface Holder {
  content: Buffer;
  /** Seconds. */
  age: number;
}

const MARK = "stale-";

/** Whether a name in the lock's directory is a mark that a lock was taken over, and what it belonged to is still there. */
export function isMark(name: string): boolean {
  return name.startsWith(MARK);
}

/** What is left of attempts to take the lock, and of looks at the clock. */
export function isLeftover(name: string): boolean {
  return /^(?:taking|now)-/.test(name);
}

/** Moves a lock away whose owner has not renewed it for its time to live. It stays as a mark. */
async function breakStale(session: SftpSession, stale: Holder): Promise<void> {
  const aside = `${LOCK_DIRECTORY}/${MARK}${randomUUID()}`;
  await session.requests.rename(LOCK, aside).catch(missingIsUndefined);
  const moved = await readFile(session, aside, MAX_LOCK).catch(missingIsUndefined);
  // Between reading and moving, another may have done the same and made its own: that one goes back.
  if (moved && !moved.bytes.equals(stale.content)) await session.requests.rename(aside, LOCK).catch(() => {});
}

function explainDirectory(error: unknown): never {
  if (error instanceof SftpError && error.code === "missing") {
    throw new UnavailableError("the server has no /.bento/ for the publisher's lock", {
      hint: "set the server up from fleet.json: utils/fleet.nix or utils/server/provision",
      cause: error,
    });
  }
  if (error instanceof SftpError && error.code === "denied") {
    throw new UnavailableError("the publisher may not write to /.bento/ on the server", { cause: error });
  }
  throw error;
}

function describe(content: Buffer): string {
  try {
    const { owner, host, pid } = JSON.parse(content.toString("utf8"));
    return `${owner} (process ${pid} on ${host})`;
  } catch {
    return "an owner that can't be read";
  }
}

/** Milliseconds since it was made. One clock stands still while a machine sleeps, the other may be set: the later one counts. */
class Stopwatch {
  readonly #monotonic = performance.now();
  readonly #wall = Date.now();

  get elapsed(): number {
    return Math.max(performance.now() - this.#monotonic, Date.now() - this.#wall);
  }
}
