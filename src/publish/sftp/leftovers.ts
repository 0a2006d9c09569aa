import type { FileEntryWithStats } from "ssh2";
import { ignoreSftpError } from "./error.ts";
import { list } from "./files.ts";
import { isLeftover, isMark, LOCK, LOCK_DIRECTORY } from "./lock.ts";
import { removeAllTemporaries } from "./places.ts";
import type { SftpSession } from "./session.ts";

/** What the holder of the lock finds beside it. */
export class Leftovers {
  readonly #entries: readonly FileEntryWithStats[];

  private constructor(entries: readonly FileEntryWithStats[]) {
    this.#entries = entries;
  }

  static async find(session: SftpSession): Promise<Leftovers> {
    return new Leftovers((await list(session, LOCK_DIRECTORY).catch(ignoreSftpError)) ?? []);
  }

  /**
   * Removes it. Where a lock was taken over, its former owner's temporary files go first, and the mark that says so last. Gives
   * whether that was so: until then, the former owner might still have published.
   */
  async remove(session: SftpSession, timeToLive: number): Promise<boolean> {
    const marks = this.#entries.filter(({ filename }) => isMark(filename));
    if (marks.length > 0) {
      await removeAllTemporaries(session);
      await this.#unlink(session, marks);
    }
    // The lock was written just now: its time is the server's. Others may be waiting for it at this moment.
    const now = this.#entries.find(({ filename }) => `${LOCK_DIRECTORY}/${filename}` === LOCK)?.attrs.mtime ?? 0;
    const old = this.#entries.filter(
      ({ filename, attrs }) => isLeftover(filename) && (now - attrs.mtime) * 1000 >= timeToLive,
    );
    // Nobody has to wait for that.
    this.#unlink(session, old).catch(() => {});
    return marks.length > 0;
  }

  async #unlink(session: SftpSession, entries: readonly FileEntryWithStats[]): Promise<void> {
    await Promise.all(
      entries.map(({ filename }) => session.requests.unlink(`${LOCK_DIRECTORY}/${filename}`).catch(ignoreSftpError)),
    );
  }
}
