import { MAX_ENVELOPE } from "../../release/envelope.ts";
import type { Current, HostReports, ReceivedFile } from "../publisher.ts";
import { ignoreSftpError, missingIsUndefined, SftpError } from "./error.ts";
import { list, readFile } from "./files.ts";
import { LOCK_DIRECTORY } from "./lock.ts";
import { readLogs } from "./logs.ts";
import { exists, explain, notProvisioned, pastPointers, pointer, releases } from "./places.ts";
import { flight } from "./requests.ts";
import type { SftpSession } from "./session.ts";

/** Of what a host says, this much is read. */
const MAX_REPORT = 64 * 1024;
/** Whoever holds the server may have put any number of them there. */
const MAX_PAST_READ = 50;

/** The envelope a host would be given now, in two flights. */
export async function readPointer(session: SftpSession, host: string): Promise<Current> {
  try {
    const { bytes, stats } = await readFile(session, pointer(host), MAX_ENVELOPE);
    return { state: "present", envelope: bytes.toString("utf8"), modified: stats.mtime * 1000 };
  } catch (error) {
    if (!(error instanceof SftpError)) throw error;
    // Missing twice over: without the directory for it, it isn't a host without a release, but one without a place.
    if (error.code === "missing" && (await exists(session, releases(host)))) return { state: "missing" };
    return { state: "failed", error: await explain(session, host, error) };
  }
}

/** The envelopes of a host's earlier releases. */
export async function readPastPointers(session: SftpSession, host: string): Promise<string[]> {
  const entries = (await list(session, releases(host)).catch(ignoreSftpError)) ?? [];
  const names = pastPointers(entries.map((entry) => entry.filename)).slice(0, MAX_PAST_READ);
  const files = await flight(
    ...names.map((name) => readFile(session, `${releases(host)}/${name}`, MAX_ENVELOPE).catch(ignoreSftpError)),
  );
  return files.flatMap((file) => (file === undefined ? [] : [file.bytes.toString("utf8")]));
}

/**
 * What a host said; `now` is the server's time in milliseconds. `hasTree`: whether hosts of the 2022 Bento may be there, which
 * leave logs.
 */
export async function readHostReports(
  session: SftpSession,
  host: string,
  now: number,
  hasTree: boolean,
): Promise<HostReports> {
  try {
    const [heartbeat, report] = await flight(
      readReport(session, `/${host}/reports/heartbeat.json`),
      readReport(session, `/${host}/reports/latest.json`),
    );
    if (heartbeat || report) return { state: "read", heartbeat, report, serverTime: now };
    const left = hasTree ? await readLogs(session, host) : undefined;
    if (left !== undefined) return { state: "logs", ...left, serverTime: now };
    if (await exists(session, `/${host}/reports`)) return { state: "missing" };
    return { state: "failed", error: notProvisioned(host) };
  } catch (error) {
    if (!(error instanceof SftpError)) throw error;
    return { state: "failed", error: { message: `what it reported can't be read: ${error.message}` } };
  }
}

/** A host may put anything in place of its report, so it is looked at before it is opened: a fifo would never open. */
async function readReport(session: SftpSession, file: string): Promise<ReceivedFile | null> {
  const info = await session.requests.lstat(file).catch(missingIsUndefined);
  if (info === undefined) return null;
  if (!info.isFile()) throw new SftpError("failure", `${file} is not a regular file`);
  const { bytes, stats } = await readFile(session, file, MAX_REPORT, info.size);
  return { text: bytes.toString("utf8"), modified: stats.mtime * 1000 };
}

/** The server's clock in milliseconds, which is what a file has that was written just now; undefined where it can't be had. */
export async function serverTime(session: SftpSession, token: string): Promise<number | undefined> {
  const probe = `${LOCK_DIRECTORY}/now-${token}`;
  const { requests } = session;
  const write = () =>
    session.withHandle(
      () => requests.open(probe, "wx"),
      async (handle) => {
        const [, stats] = await flight(
          requests.write(handle, Buffer.from("\n"), 0),
          requests.fstat(handle),
          requests.close(handle),
          requests.unlink(probe),
        );
        return stats.mtime * 1000;
      },
    );
  return write().catch(ignoreSftpError);
}
