import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { UnavailableError } from "../errors.ts";
import { SftpError, type SftpSession } from "./sftp-session.ts";

const LOCK = "/.bento/lock";
/** Seconds after its last renewal that a lock counts as left behind, by the server's clock. */
const TIME_TO_LIVE = 300;
const RENEWAL = 60_000;

/**
 * The fleet's lock: a file that can only be created while it isn't there. Its age is read from the server's clock alone, since
 * two runners' clocks need not agree.
 */
export class SftpLock implements AsyncDisposable {
  readonly #session: SftpSession;
  readonly #content: Buffer;
  readonly #renewal: NodeJS.Timeout;
  #lost = false;

  private constructor(session: SftpSession, content: Buffer) {
    this.#session = session;
    this.#content = content;
    // Written over in place: its time changes, its content doesn't.
    this.#renewal = setInterval(() => {
      session.write(LOCK, content, "w").catch(() => {
        this.#lost = true;
      });
    }, RENEWAL);
    this.#renewal.unref();
  }

  /**
   * Takes the lock.
   * @throws UnavailableError that names the owner when somebody else has it.
   */
  static async take(session: SftpSession, owner: string): Promise<SftpLock> {
    const token = randomUUID();
    const content = Buffer.from(`${JSON.stringify({ owner, host: hostname(), pid: process.pid, token })}\n`);
    for (let attempt = 0; attempt < 3; attempt++) {
      try {
        await session.write(LOCK, content);
        return new SftpLock(session, content);
      } catch (error) {
        if (!(error instanceof SftpError)) throw error;
        if (error.code === "missing") {
          throw new UnavailableError("the server has no /.bento/ for the publisher's lock", {
            hint: "set the server up from fleet.json: utils/fleet.nix or utils/server/provision",
            cause: error,
          });
        }
        if (error.code === "denied")
          throw new UnavailableError("the publisher may not write to /.bento/ on the server", { cause: error });
      }
      await breakStale(session, token);
    }
    throw new UnavailableError("the fleet's lock on the server could not be taken", {
      hint: "somebody else is deploying; or the server's disk is full",
    });
  }

  /** @throws UnavailableError when somebody else has taken it over in the meantime. */
  async check(): Promise<void> {
    const held = this.#lost ? undefined : await this.#session.read(LOCK, 4096).catch(onlyMissing);
    if (!held?.bytes.equals(this.#content)) {
      throw new UnavailableError("another deploy has taken the fleet's lock over; nothing more was published");
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#renewal);
    this.#session.beginClosing();
    try {
      await this.check();
      await this.#session.unlink(LOCK);
    } catch {
      // The connection is gone, or the lock is somebody else's: then its time to live takes care of it.
    }
  }
}

/** Moves a lock away whose owner has not renewed it for its time to live; throws while it is alive. */
async function breakStale(session: SftpSession, token: string): Promise<void> {
  const held = await session.read(LOCK, 4096).catch(onlyMissing);
  if (held === undefined) return;
  const now = await serverTime(session, token);
  const age = now - held.stats.mtime;
  if (age < TIME_TO_LIVE) {
    throw new UnavailableError(
      `another deploy holds the fleet's lock: ${describe(held.bytes)}, last seen ${Math.max(0, age)} s ago`,
      {
        hint: `wait for it; if it is dead, its lock ends ${TIME_TO_LIVE} s after it was last seen`,
      },
    );
  }
  const aside = `/.bento/stale-${token}`;
  await session.rename(LOCK, aside).catch(onlyMissing);
  const moved = await session.read(aside, 4096).catch(onlyMissing);
  // Between reading and moving, another may have done the same and made its own: that one goes back.
  if (moved && !moved.bytes.equals(held.bytes)) await session.rename(aside, LOCK).catch(() => {});
  else await session.unlink(aside).catch(onlyMissing);
}

/** The server's clock, in seconds: what a file has that was written just now. */
export async function serverTime(session: SftpSession, token: string): Promise<number> {
  const probe = `/.bento/now-${token}`;
  await session.write(probe, Buffer.from("\n"), "w");
  try {
    return (await session.stat(probe)).mtime;
  } finally {
    await session.unlink(probe).catch(() => {});
  }
}

function onlyMissing(error: unknown): undefined {
  if (error instanceof SftpError && error.code === "missing") return undefined;
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
