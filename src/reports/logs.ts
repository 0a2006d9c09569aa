import path from "node:path";
import { duration } from "../duration.ts";
import type { LogFile } from "../publish/publisher.ts";
import type { Manifest } from "../release/manifest.ts";
import type { HostStatus } from "../results.ts";

export interface KnownLogs {
  published: Pick<Manifest, "sequence" | "toplevel" | "kind" | "issued"> | null;
  logs: readonly LogFile[];
  /** When its configuration last changed, by the server's clock, in milliseconds since 1970; null when that isn't known. */
  changed: number | null;
  now: number;
}

const BY = "reported by the Bento of 2022";
/** It polls every quarter of an hour, and says nothing when there is nothing new. */
const PATIENCE = 45 * 60 * 1000;
/** `date +%Y%m%d-%H%M`, the system's store path without its directory, what became of it, and, unless 2022's own scripts did it, of which release. */
const NAME =
  /^\d{8}-\d{4}_([0-9a-df-np-sv-z]{32}-[0-9A-Za-z+._?=-]{1,150})_(success|failure|rollback|autoupdate)(?:_(\d{1,16}))?\.log\.gz$/;

const OUTCOMES = {
  success: "success",
  failure: "failed",
  rollback: "rolled-back",
  autoupdate: "auto-updated",
} as const;

type LogStatus = Pick<HostStatus, "state" | "sync" | "health" | "reason" | "running" | "lastContact" | "lastOutcome">;
type Said = Pick<LogStatus, "running" | "lastContact" | "lastOutcome">;

/** How a host is by its newest log. */
export function statusOfLogs(known: KnownLogs): LogStatus {
  const { published, now } = known;
  const newest = newestLog(known);
  const heard = newest === undefined ? nothing() : saidBy(newest);
  const changed = known.changed ?? (published === null ? now : Date.parse(published.issued));
  const told = newest === undefined ? "unheard" : "ok";
  if (published === null)
    return { ...heard, state: "new", sync: "none", health: told, reason: "nothing has been published for it yet" };
  if (newest === undefined || !isOf(newest, published.sequence, changed)) {
    const waiting = now - changed;
    const pending = { ...heard, sync: "pending" } as const;
    if (waiting > PATIENCE)
      return { ...pending, state: "silent", health: "silent", reason: `no log for ${duration(waiting)}; ${BY}` };
    if (newest === undefined)
      return { ...pending, state: "new", health: "unheard", reason: "it has not been heard of yet" };
    return { ...pending, state: "pending", health: "ok", reason: BY };
  }
  switch (newest.result) {
    case "failure":
      return { ...heard, state: "failed", sync: "failed", health: "ok", reason: BY };
    case "rollback":
      return { ...heard, state: "rolled-back", sync: "rolled-back", health: "ok", reason: BY };
    case "autoupdate":
      return { ...heard, state: "auto-updated", sync: "auto-updated", health: "ok", reason: BY };
    case "success": {
      // Without a flake a host builds with a channel of its own.
      const expected = published.kind === "flake" ? published.toplevel : null;
      if (expected === null || path.posix.basename(expected) === newest.version) {
        return { ...heard, state: "up-to-date", sync: "applied", health: "ok", reason: BY };
      }
      const reason = `it runs ${newest.version}, and not what is published; ${BY}`;
      return { ...heard, state: "drifted", sync: "applied", health: "drifted", reason };
    }
  }
}

/**
 * Whether it tells of what is published. One that came after it may be of a build that began before, unless it says of which
 * release it is. Of the same second, it can't be of what came in that second: nothing is built as fast.
 */
function isOf(log: Log, sequence: number, changed: number): boolean {
  return log.sequence === null ? log.modified > changed : log.sequence === sequence;
}

interface Log {
  modified: number;
  /** Of the release that it was at; null where it doesn't say. */
  sequence: number | null;
  version: string;
  result: keyof typeof OUTCOMES;
}

/** By the time at which it came; hosts' clocks don't count. */
function newestLog({ logs, now }: KnownLogs): Log | undefined {
  let newest: (Log & { name: string }) | undefined;
  for (const { name, isFile, modified } of logs) {
    const [, version, result, sequence] = NAME.exec(name) ?? [];
    if (!isFile || version === undefined || result === undefined) continue;
    const log = {
      name,
      version,
      result: result as Log["result"],
      sequence: sequence === undefined ? null : Number(sequence),
      modified: Math.min(now, modified),
    };
    const isNewer =
      newest === undefined ||
      log.modified > newest.modified ||
      (log.modified === newest.modified && log.name > newest.name);
    if (isNewer) newest = log;
  }
  return newest;
}

function nothing(): Said {
  return { running: null, lastContact: null, lastOutcome: null };
}

function saidBy({ version, result, sequence, modified }: Log): Said {
  return {
    running: { toplevel: `/nix/store/${version}`, sequence: OUTCOMES[result] === "success" ? sequence : null },
    lastContact: new Date(modified).toISOString(),
    lastOutcome: OUTCOMES[result],
  };
}
