import type { HostFailure } from "../results.ts";

/**
 * The port between `deploy`, `status` and wherever releases are put. A publisher moves bytes; it knows nothing of Nix or of
 * signatures. Every method works on many hosts at once, so that an adapter can pipeline, and gives each host its own result:
 * one host's trouble never stops the others. What concerns them all (no connection, wrong host key, lock held) is thrown as
 * UnavailableError.
 */
export interface Publisher extends AsyncDisposable {
  /** For people, e.g. `sftp://bento@fleet.example.org:22`. */
  readonly name: string;

  /**
   * Takes the fleet's lock. Only one deploy at a time holds it; it has an owner and a time to live, and is released on disposal.
   * A publisher whose pointers only move from where they were read to be needs none, and does nothing.
   * @throws UnavailableError naming the owner when another deploy holds it, and goes on holding it for `wait`.
   */
  lock(owner: string, options?: LockOptions): Promise<void>;

  /**
   * The envelope each host would be given now. It may be called while `lock`, called before it, has not answered yet, which
   * saves round trips: what it gives was then read with the lock held.
   */
  readCurrent(hosts: readonly string[]): Promise<Map<string, Current>>;

  /**
   * Puts releases up, whole or not at all: a reader sees the old release or the new one. They may come one by one, as they are
   * made; `releases` is read to its end before any of them is given to a host.
   */
  publish(
    releases: Uploads,
    onProgress?: (progress: PublishProgress) => void,
  ): Promise<Map<string, HostFailure | null>>;

  /** The envelopes of a host's earlier releases, as far as they are kept, in no order and not verified. */
  readHistory(host: string): Promise<string[]>;

  /** Brings an archive that a host was given into the file `into`; false when it isn't there any more. */
  fetchArchive(host: string, archive: { name: string; size: number }, into: string): Promise<boolean>;
}

/** A file in the logs of a host that still has the Bento of 2022. All of it is the host's word, and nothing in it is read. */
export interface LogFile {
  name: string;
  isFile: boolean;
  /** Milliseconds since 1970 by the server's clock. */
  modified: number;
}

/** Where hosts report to. */
export interface ReportReader {
  /** What hosts said: `heartbeat.json` and the newest report of each. */
  readReports(hosts: readonly string[]): Promise<Map<string, HostReports>>;

  /** The reports of each host's last attempts, newest first, and the end of the newest one's log, if that is there yet. */
  readAttempts(hosts: readonly string[], asked: AttemptsAsked): Promise<Map<string, HostAttempts>>;
}

/** What it takes to say how hosts are. */
export type StatusSource = Pick<Publisher, "readCurrent"> & ReportReader;

export interface LockOptions {
  /** Milliseconds to wait for a lock that another deploy holds; by default none. */
  wait?: number;
  /** Told whose it is, now and then while it waits. */
  onWait?: (owner: string) => void;
}

/**
 * `missing` is a host that never had a release; `failed` is one whose state isn't known, which is never the same. `isIncomplete`:
 * what the publisher has beside releases, such as an unpacked tree, is not this one's. `modified`: when it was put there, in
 * milliseconds since 1970 by the server's clock, where that is known.
 */
export type Current =
  | { state: "present"; envelope: string; isIncomplete?: boolean; modified?: number }
  | { state: "missing" }
  | { state: "failed"; error: HostFailure };

export interface Upload {
  host: string;
  /** The signed envelope's text: the pointer, written last. */
  envelope: string;
  /** `file` on this machine has its bytes: the archives of a large fleet don't fit into memory. */
  archive: { name: string; size: number; file: string } | null;
  /** Archive names that stay on the server; others and stray temporaries are collected. */
  keep: readonly string[];
}

export type Uploads = Iterable<Upload> | AsyncIterable<Upload>;

export interface PublishProgress {
  /** Hosts whose files have arrived. */
  hosts: number;
  /** Bytes that have arrived. */
  sent: number;
}

export interface ReceivedFile {
  /** At most the reader's cap. */
  text: string;
  /** Milliseconds since 1970 by the server's clock. */
  modified: number;
}

export type HostReports =
  | { state: "read"; heartbeat: ReceivedFile | null; report: ReceivedFile | null; serverTime: number }
  /** Of a host that has only ever had the Bento of 2022. */
  | { state: "logs"; logs: readonly LogFile[]; changed: number | null; serverTime: number }
  | { state: "missing" }
  /** There is no place where it could have said anything. */
  | { state: "nowhere"; reason: string }
  | { state: "failed"; error: HostFailure };

export interface AttemptsAsked {
  /** How many of each host. */
  count: number;
  /** How many bytes of each host's newest log; 0 for none. */
  log: number;
}

export interface AttemptFile extends ReceivedFile {
  /** Derived from when the attempt began, and its release. */
  name: string;
}

export type HostAttempts =
  | {
      state: "read";
      attempts: readonly AttemptFile[];
      /** Foreign text; null when there is none, or wasn't asked for. */
      log: string | null;
    }
  | { state: "missing" }
  | { state: "failed"; error: HostFailure };
