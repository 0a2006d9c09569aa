import type { LogFile } from "../publisher.ts";
import { ignoreSftpError } from "./error.ts";
import { list } from "./files.ts";
import { flight } from "./requests.ts";
import type { SftpSession } from "./session.ts";
import { lastChange } from "./tree.ts";

/** Names that are looked at: one for each deploy in many years, and a host may have made any number of them. */
const MAX_LOGS = 10_000;

/** What a host of the 2022 Bento has left in its logs, and when its configuration changed; undefined when it left none. */
export async function readLogs(
  session: SftpSession,
  host: string,
): Promise<{ logs: LogFile[]; changed: number | null } | undefined> {
  const [entries, change] = await flight(
    list(session, `/${host}/logs`, MAX_LOGS).catch(ignoreSftpError),
    session.requests.stat(lastChange(host)).catch(ignoreSftpError),
  );
  const logs = entries
    ?.filter(({ filename }) => filename !== "." && filename !== "..")
    .map(({ filename, attrs }) => ({ name: filename, isFile: attrs.isFile(), modified: attrs.mtime * 1000 }));
  if (logs === undefined || logs.length === 0) return undefined;
  return { logs, changed: change === undefined ? null : change.mtime * 1000 };
}
