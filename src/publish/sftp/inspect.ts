import { randomUUID } from "node:crypto";
import type { FileEntryWithStats, Stats } from "ssh2";
import { ignoreSftpError } from "./error.ts";
import { list } from "./files.ts";
import { LOCK_DIRECTORY } from "./lock.ts";
import { flight, type Space } from "./requests.ts";
import type { SftpSession } from "./session.ts";

/** What a directory is, as SFTP tells it: the kind and permissions as in stat(2), and numbers for names. */
export type Attributes = Pick<Stats, "mode" | "uid" | "gid">;

/** A server as its publisher sees it. What isn't there is undefined. */
export interface ServerView {
  /** The root of all chroots, and the directory of the lock. */
  root: Attributes | undefined;
  lockDirectory: Attributes | undefined;
  /** By host, of those that were asked for. */
  hosts: Map<string, HostView>;
  /** The names in the root. */
  names: string[];
  /** The publisher, and the server's time in milliseconds: both as a file has them that it made just now. */
  made: { uid: number; gid: number; time: number } | undefined;
  /** Of SFTP's extensions, those that are missing. */
  missingExtensions: string[];
  /** Of the file system with the chroots. */
  space: Space | undefined;
  /** Whether the publisher's login runs a command that it is given. */
  runsCommands: boolean;
  /** Whether it is connected further, to the server's own ports. */
  forwards: boolean;
}

/** A host's own places; `tree` is null where the server has no unpacked trees. */
export interface HostView extends Record<"chroot" | "releases" | "reports", Attributes | undefined> {
  tree: Record<(typeof TREE_PLACES)[number], Attributes | undefined> | null;
}

/** What a host has besides, where `server.tree` is set. */
const TREE_PLACES = ["trees", "logs", "config", "last_change_date"] as const;

/** What publishing and what hosts do to be safe rest on. */
const EXTENSIONS = [
  "posix-rename@openssh.com",
  "fsync@openssh.com",
  "hardlink@openssh.com",
  "statvfs@openssh.com",
] as const;

/**
 * Looks at everything at once. It leaves nothing behind, and needs no lock. `withTrees`: also at the places of the unpacked
 * trees.
 */
export async function inspect(session: SftpSession, hosts: readonly string[], withTrees: boolean): Promise<ServerView> {
  const { requests } = session;
  const attributes = (file: string): Promise<Attributes | undefined> => requests.lstat(file).catch(ignoreSftpError);
  const views = hosts.map(async (host) => {
    const [chroot, releases, reports, ...places] = await flight(
      attributes(`/${host}`),
      attributes(`/${host}/releases`),
      attributes(`/${host}/reports`),
      ...(withTrees ? TREE_PLACES.map((name) => attributes(`/${host}/${name}`)) : []),
    );
    const [trees, logs, config, date] = places;
    const tree = withTrees ? { trees, logs, config, last_change_date: date } : null;
    return [host, { chroot, releases, reports, tree }] as const;
  });
  const [root, lockDirectory, entries, made, space, given, all] = await flight(
    attributes("/"),
    attributes(LOCK_DIRECTORY),
    list(session, "/"),
    makeFile(session),
    requests.space("/"),
    session.mustRefuse(),
    flight(...views),
  );
  return {
    root,
    lockDirectory,
    hosts: new Map(all),
    names: entries.map(({ filename }: FileEntryWithStats) => filename),
    made,
    missingExtensions: EXTENSIONS.filter((name) => !requests.has(name)),
    space,
    ...given,
  };
}

async function makeFile(session: SftpSession): Promise<ServerView["made"]> {
  const file = `${LOCK_DIRECTORY}/now-${randomUUID()}`;
  const { requests } = session;
  const make = () =>
    session.withHandle(
      () => requests.open(file, "wx"),
      async (handle) => {
        const [stats] = await flight(requests.fstat(handle), requests.close(handle), requests.unlink(file));
        return { uid: stats.uid, gid: stats.gid, time: stats.mtime * 1000 };
      },
    );
  return make().catch(ignoreSftpError);
}
