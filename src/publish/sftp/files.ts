import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { open } from "node:fs/promises";
import type { FileEntryWithStats, Stats } from "ssh2";
import { ignoreSftpError, SftpError } from "./error.ts";
import { flight } from "./requests.ts";
import type { SftpSession } from "./session.ts";

/** OpenSSH takes 256 KiB in a packet, of which some is header. */
export const CHUNK = 254 * 1024;
/** Pieces of a file that are asked for at a time. */
const READS = 32;

/**
 * A file's bytes, in two flights; SftpError `failure` when there are more than `limit`, or it is no regular file. Whoever knows
 * its size saves memory by saying it; it is read once more when it has become another one.
 */
export async function readFile(
  session: SftpSession,
  file: string,
  limit: number,
  size = limit,
): Promise<{ bytes: Buffer; stats: Stats }> {
  const { requests } = session;
  const length = Math.min(size, limit) + 1;
  const read = await session.withHandle(
    () => requests.open(file, "r"),
    async (handle, closing) => {
      const starts = Array.from({ length: Math.ceil(length / CHUNK) }, (_, n) => n * CHUNK);
      const reading = flight(...starts.map((start) => requests.read(handle, Math.min(CHUNK, length - start), start)));
      const answers = flight(reading, requests.fstat(handle), requests.close(handle));
      closing();
      const [pieces, stats] = await answers;
      const [first = Buffer.alloc(0)] = pieces;
      const bytes = pieces.length === 1 ? first : Buffer.concat(pieces);
      if (!stats.isFile()) throw new SftpError("failure", `${file} is not a regular file`);
      if (bytes.length > limit) throw new SftpError("failure", `${file} is larger than ${limit} bytes`);
      return { bytes, stats };
    },
  );
  return read.bytes.length < length || size >= limit ? read : readFile(session, file, limit);
}

/** Brings a file of `size` bytes into the local file `into`; false when it can't be read, or has another size. */
export async function fetchFile(session: SftpSession, file: string, size: number, into: string): Promise<boolean> {
  const { requests } = session;
  const fetch = session.withHandle(
    () => requests.open(file, "r"),
    async (handle) => {
      await using copy = await open(into, "w", 0o600);
      try {
        const stats = await requests.fstat(handle);
        if (!stats.isFile() || stats.size !== size) return false;
        for (let position = 0; position < size; ) {
          // A server may give less than it was asked for.
          const wanted = Array.from({ length: READS }, (_, n) => position + n * CHUNK).filter((at) => at < size);
          const pieces = await flight(
            ...wanted.map((at) => requests.read(handle, Math.min(CHUNK, size - at), at).catch(ignoreSftpError)),
          );
          for (const [n, piece] of pieces.entries()) {
            if (piece === undefined || piece.length === 0) return false;
            await copy.write(piece, 0, piece.length, position);
            position += piece.length;
            if (piece.length < Math.min(CHUNK, size - (wanted[n] ?? 0))) break;
          }
        }
        return true;
      } finally {
        await requests.close(handle);
      }
    },
  );
  return (await fetch.catch(ignoreSftpError)) ?? false;
}

/** Answers to ask for at once; OpenSSH puts a hundred names into one. */
const LISTINGS = 16;

/**
 * What is in a directory: two flights, where it isn't a very long one. Of one that somebody may have filled, at most `limit` names, and
 * a few more: the rest is not asked for.
 */
export async function list(
  session: SftpSession,
  dir: string,
  limit = Number.POSITIVE_INFINITY,
): Promise<FileEntryWithStats[]> {
  const { requests } = session;
  return session.withHandle(
    () => requests.openDirectory(dir),
    async (handle) => {
      const entries: FileEntryWithStats[] = [];
      try {
        // The second answer of a short one is that there is no more.
        for (let count = 2; entries.length < limit; count = LISTINGS) {
          const pieces = await flight(...Array.from({ length: count }, () => requests.readDirectory(handle)));
          for (const piece of pieces) entries.push(...(piece ?? []));
          if (pieces.includes(null)) break;
        }
        return entries;
      } finally {
        // Nobody has to wait for that.
        requests.close(handle).catch(() => {});
      }
    },
  );
}

/**
 * Writes a new file, and makes sure that it is on the server's disk: one flight after it was opened. Each piece of `content` is
 * at most CHUNK bytes; `onSent` is told their sizes as they arrive. `mode` is the file's, of which the server's umask takes away.
 * `onAsked` is told when the server has been asked for all of it, and has not answered yet.
 */
export async function writeFile(
  session: SftpSession,
  file: string,
  content: Iterable<Buffer> | AsyncIterable<Buffer>,
  onSent: (bytes: number) => void = () => {},
  mode?: number,
  onAsked: () => void = () => {},
): Promise<void> {
  const { requests } = session;
  await session.withHandle(
    () => requests.open(file, "wx", mode),
    async (handle) => {
      const answers: Promise<void>[] = [];
      let position = 0;
      try {
        for await (const piece of content) {
          const arrived = await session.room(piece.length);
          const written = requests
            .write(handle, piece, position)
            .then(() => onSent(piece.length))
            .finally(arrived);
          // All are waited for below; until then nobody may be looking.
          written.catch(() => {});
          answers.push(written);
          position += piece.length;
        }
        answers.push(requests.sync(handle));
      } finally {
        answers.push(requests.close(handle));
        onAsked();
        // Closing is an answer about what was written, so whatever comes next has to wait for it.
        await flight(...answers);
      }
    },
  );
}

/**
 * A file of this machine in pieces that fit into a packet. Most have one, for which waiting for another thread takes ten times as
 * long as reading it.
 */
export function* piecesOf(file: string): Generator<Buffer> {
  const opened = openSync(file, "r");
  try {
    const { size } = fstatSync(opened);
    for (let position = 0; position < size; ) {
      const piece = Buffer.allocUnsafe(Math.min(CHUNK, size - position));
      const count = readSync(opened, piece, 0, piece.length, position);
      if (count === 0) throw new Error(`${file} became shorter while it was sent`);
      yield piece.subarray(0, count);
      position += count;
    }
  } finally {
    closeSync(opened);
  }
}
