import { createGunzip, gunzipSync } from "node:zlib";
import type { AttemptFile, AttemptsAsked, HostAttempts } from "../publisher.ts";
import { ignoreSftpError, SftpError } from "./error.ts";
import { list, readFile } from "./files.ts";
import { flight } from "./requests.ts";
import type { SftpSession } from "./session.ts";

/** `STARTED-SEQUENCE`, as the agent names reports and their logs; its clock may be wrong, so names tell no order. */
const REPORT = /^\d{13,15}-\d{1,16}\.json$/;
/** Names that are looked at. An agent keeps some fifty reports; a host may make any number of files. */
const MAX_NAMES = 2_000;
const MAX_REPORT = 64 * 1024;
/** Compressed; an agent keeps the last million bytes of a log. */
const MAX_COMPRESSED = 2 * 1024 * 1024;
/** Bytes of a log that are looked at: a little of gzip can stand for any number of them. */
const MAX_UNPACKED = 4 * 1024 * 1024;
/** Bytes that unpacking takes, beside what is kept. */
const UNPACKING = 64 * 1024;

/** The last attempts of a host, by when the server got them. Whatever else a host puts there counts for nothing. */
export async function readAttempts(
  session: SftpSession,
  host: string,
  { count, log }: AttemptsAsked,
): Promise<HostAttempts> {
  const dir = `/${host}/reports`;
  try {
    const entries = await list(session, dir, MAX_NAMES);
    const newest = entries
      .filter(({ filename, attrs }) => REPORT.test(filename) && attrs.isFile() && attrs.size <= MAX_REPORT)
      .sort((a, b) => b.attrs.mtime - a.attrs.mtime || (a.filename < b.filename ? 1 : -1))
      .slice(0, Math.max(1, count));
    const files = await flight(...newest.map(({ filename, attrs }) => readAttempt(session, dir, filename, attrs.size)));
    const attempts = files.filter((file) => file !== undefined);
    // Not that of another attempt: over a thin line a log comes long after its report.
    const [last] = log > 0 ? attempts : [];
    const logged = last && entries.find((entry) => isLogOf(last.name, entry));
    const text = logged && (await readLog(session, `${dir}/${logged.filename}`, logged.attrs.size, log));
    return { state: "read", attempts: attempts.slice(0, count), log: text ?? null };
  } catch (error) {
    if (!(error instanceof SftpError)) throw error;
    if (error.code === "missing") return { state: "missing" };
    return { state: "failed", error: { message: `its reports can't be read: ${error.message}` } };
  }
}

type Entry = Awaited<ReturnType<typeof list>>[number];

function isLogOf(name: string, { filename, attrs }: Entry): boolean {
  return filename === `${name}.log.gz` && attrs.isFile() && attrs.size <= MAX_COMPRESSED;
}

async function readAttempt(
  session: SftpSession,
  dir: string,
  file: string,
  size: number,
): Promise<AttemptFile | undefined> {
  const read = await readFile(session, `${dir}/${file}`, MAX_REPORT, size).catch(ignoreSftpError);
  if (read === undefined) return undefined;
  const { bytes, stats } = read;
  return { name: file.replace(/\.json$/, ""), text: bytes.toString("utf8"), modified: stats.mtime * 1000 };
}

async function readLog(session: SftpSession, file: string, size: number, limit: number): Promise<string | undefined> {
  // Of a thousand logs only so many are in memory at a time.
  const done = await session.room(size + 2 * limit + UNPACKING);
  try {
    const read = await readFile(session, file, size).catch(ignoreSftpError);
    return read && (await unpackEnd(read.bytes, limit));
  } finally {
    done();
  }
}

/** The last `limit` bytes of what was compressed, as far as it can be unpacked; never more than there is room for. */
export async function unpackEnd(compressed: Buffer, limit: number): Promise<string> {
  // Most logs are small and whole; a stream for each of a thousand of them takes many times as long, and as much memory.
  try {
    const whole = gunzipSync(compressed, { maxOutputLength: UNPACKING });
    return whole.subarray(Math.max(0, whole.length - limit)).toString("utf8");
  } catch {
    return unpackPieces(compressed, limit);
  }
}

/** The same for what is large or damaged. */
async function unpackPieces(compressed: Buffer, limit: number): Promise<string> {
  const gunzip = createGunzip();
  gunzip.end(compressed);
  let end: Buffer = Buffer.alloc(0);
  let size = 0;
  let note = "";
  try {
    for await (const piece of gunzip as AsyncIterable<Buffer>) {
      size += piece.length;
      end = Buffer.concat([end, piece].slice(piece.length < limit ? 0 : 1));
      if (end.length > 2 * limit) end = Buffer.from(end.subarray(end.length - limit));
      if (size > MAX_UNPACKED) {
        note = `\n… the log is larger than ${MAX_UNPACKED / 1024 ** 2} MiB, and the rest of it was not read\n`;
        break;
      }
    }
  } catch {
    note = "\n… the rest of the log is damaged\n";
  } finally {
    gunzip.destroy();
  }
  return end.subarray(Math.max(0, end.length - limit)).toString("utf8") + note;
}
