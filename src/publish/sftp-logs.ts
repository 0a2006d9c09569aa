import type { LogFile } from "../reports/logs.ts";
import { ignoreSftpError } from "./sftp-error.ts";
import { flight } from "./sftp-requests.ts";
import type { SftpSession } from "./sftp-session.ts";
import { lastChange } from "./sftp-tree.ts";

/** Names that are looked at: one for each deploy in many years, and a host may have made any number of them. */
const MAX_LOGS = 10_000;

/** What a host of the 2022 Bento has left in its logs, and when its configuration changed; undefined when it left none. */
export async function readLogs(
  session: SftpSession,
  host: string,
): Promise<{ logs: LogFile[]; changed: number | null } | undefined> {
  const { requests } = session;
  const listed = session.withHandle(
    () => requests.openDirectory(`/${host}/logs`),
    async (handle) => {
      const logs: LogFile[] = [];
      try {
        while (logs.length < MAX_LOGS) {
          const entries = await requests.readDirectory(handle);
          if (entries === null) break;
          for (const { filename, attrs } of entries) {
            if (filename === "." || filename === "..") continue;
            logs.push({ name: filename, isFile: attrs.isFile(), modified: attrs.mtime * 1000 });
          }
        }
      } finally {
        requests.close(handle).catch(() => {});
      }
      return logs;
    },
  );
  const [logs, change] = await flight(
    listed.catch(ignoreSftpError),
    requests.stat(lastChange(host)).catch(ignoreSftpError),
  );
  if (logs === undefined || logs.length === 0) return undefined;
  return { logs, changed: change === undefined ? null : change.mtime * 1000 };
}
