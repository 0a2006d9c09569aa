import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { BentoError } from "../errors.ts";
import type { Server } from "../fleet/fleet.ts";
import { parallel } from "../platform/parallel.ts";
import { sequenceOf } from "../release/envelope.ts";
import type { PrivateKey } from "../release/keys.ts";
import type { HostFailure } from "../results.ts";
import type {
  AttemptsAsked,
  Current,
  HostAttempts,
  HostReports,
  LockOptions,
  Publisher,
  PublishProgress,
  Uploads,
} from "./publisher.ts";
import { readAttempts } from "./sftp/attempts.ts";
import { ATTEMPTS, BACKOFF, SftpConnections } from "./sftp/connections.ts";
import { ignoreSftpError } from "./sftp/error.ts";
import { fetchFile } from "./sftp/files.ts";
import { Leftovers } from "./sftp/leftovers.ts";
import { SftpLock, TIME_TO_LIVE } from "./sftp/lock.ts";
import { releases, Temporaries } from "./sftp/places.ts";
import { Publication } from "./sftp/publication.ts";
import { readHostReports, readPastPointers, readPointer, serverTime } from "./sftp/read.ts";
import { flight } from "./sftp/requests.ts";
import { type SftpSession, SILENCE } from "./sftp/session.ts";
import { Trees, treeSequence } from "./sftp/tree.ts";

/** Hosts whose directories are read at once: what is listed of each takes memory. */
const READERS = 250;

export interface SftpOptions {
  signal: AbortSignal;
  /** Told, in a line, about a connection that was lost and what is done about it. */
  say?: (line: string) => void;
  /** Milliseconds without an answer to anything, after which the server is taken to hang. */
  silence?: number;
  /** Milliseconds before the first new connection, when one is lost. */
  backoff?: number;
  /** How often a new connection is tried before a deploy is given up. */
  attempts?: number;
  /** Milliseconds after its last renewal that a lock counts as left behind; the same for all who share a server. */
  lockTimeToLive?: number;
}

/** Publishes to one chroot per host on an OpenSSH server (the design's section 5), all hosts at once over one connection. */
export class SftpPublisher implements Publisher {
  readonly name: string;
  readonly #connections: SftpConnections;
  readonly #signal: AbortSignal;
  readonly #timeToLive: number;
  readonly #temporaries: Temporaries;
  readonly #lock: { current: SftpLock | undefined };
  readonly #trees: Trees | null;
  #renewal: NodeJS.Timeout | undefined;
  /** The sequence of what each host is given, as far as that was read. */
  readonly #published = new Map<string, number>();
  /** While the lock is being taken: when the server has been asked for it, and when it has it, and nothing was in the way. */
  #locking: { asked: Promise<void>; isClean: Promise<boolean> } | undefined;

  private constructor(
    name: string,
    connections: SftpConnections,
    temporaries: Temporaries,
    lock: { current: SftpLock | undefined },
    trees: Trees | null,
    { signal, lockTimeToLive = TIME_TO_LIVE }: SftpOptions,
  ) {
    this.name = name;
    this.#connections = connections;
    this.#temporaries = temporaries;
    this.#lock = lock;
    this.#trees = trees;
    this.#signal = signal;
    this.#timeToLive = lockTimeToLive;
  }

  /** @throws UnavailableError when the server can't be reached, or isn't the pinned one, or refuses the key. */
  static async connect(server: Server, key: PrivateKey, options: SftpOptions): Promise<SftpPublisher> {
    const { signal, say = () => {}, silence = SILENCE, backoff = BACKOFF, attempts = ATTEMPTS } = options;
    const temporaries = new Temporaries();
    const lock: { current: SftpLock | undefined } = { current: undefined };
    const connections = await SftpConnections.open(
      { server, privateKey: await readFile(key.file), signal, silence, backoff, attempts, say },
      async (session) => {
        // What was begun over the lost connection is begun anew, with other names.
        await temporaries.removeAll(session.requests);
        if (lock.current?.isHeld) await lock.current.adopt(session);
      },
    );
    const name = `sftp://${server.user}@${server.address}:${server.port}`;
    return new SftpPublisher(name, connections, temporaries, lock, server.tree ? new Trees(server) : null, options);
  }

  async lock(owner: string, options: LockOptions = {}): Promise<void> {
    const asked = Promise.withResolvers<void>();
    const isClean = this.#take(new SftpLock(owner, this.#timeToLive), options, asked.resolve);
    this.#locking = { asked: asked.promise, isClean };
    await isClean;
    this.#renewal = setInterval(() => {
      // If it can't be renewed, that is found out before anything is published.
      this.#lock.current?.renew(this.#connections.session).catch(() => {});
    }, this.#timeToLive / 5);
    this.#renewal.unref();
  }

  async readCurrent(hosts: readonly string[]): Promise<Map<string, Current>> {
    const read = () => this.#each(hosts, (session, host) => this.#readPointer(session, host));
    // Whoever calls both at once may have called this one first.
    await Promise.resolve();
    if (this.#locking === undefined) return read();
    const { asked, isClean } = this.#locking;
    await Promise.race([asked, isClean]);
    const current = read();
    current.catch(() => {});
    // Taken at a later attempt, or from somebody else, it wasn't held while that was read.
    if (await isClean) return current;
    await current.catch(() => {});
    return read();
  }

  async publish(
    uploads: Uploads,
    onProgress: (progress: PublishProgress) => void = () => {},
  ): Promise<Map<string, HostFailure | null>> {
    const publication = new Publication(uploads, this.#published, this.#temporaries, onProgress, this.#trees);
    try {
      await this.#connections.use((session) => publication.run(session, this.#lock.current));
    } finally {
      await publication.end();
    }
    for (const { host, envelope } of publication.published) this.#note(host, envelope);
    return publication.failures;
  }

  async readHistory(host: string): Promise<string[]> {
    return this.#connections.use((session) => readPastPointers(session, host));
  }

  async fetchArchive(host: string, { name, size }: { name: string; size: number }, into: string): Promise<boolean> {
    return this.#connections.use((session) => fetchFile(session, `${releases(host)}/${name}`, size, into));
  }

  async readReports(hosts: readonly string[]): Promise<Map<string, HostReports>> {
    const now = this.#connections.use((session) => serverTime(session, randomUUID()));
    const reports = this.#each(hosts, async (session, host) => {
      return readHostReports(session, host, (await now) ?? Date.now(), this.#trees !== null);
    });
    const [, read] = await flight(now, reports);
    return read;
  }

  async readAttempts(hosts: readonly string[], asked: AttemptsAsked): Promise<Map<string, HostAttempts>> {
    const results = await this.#connections.use((session) =>
      parallel(hosts, READERS, async (host) => [host, await readAttempts(session, host, asked)] as const),
    );
    return new Map(results);
  }

  /** Whatever it ends with: no temporary file and no lock is left, if the server can still be reached. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#renewal);
    const { session } = this.#connections;
    try {
      await flight(this.#temporaries.removeAll(session.lastRequests), this.#release(session));
    } catch (error) {
      // The connection is gone: the lock's time to live takes care of it, and the next one who takes it of the files.
      if (!(error instanceof BentoError)) throw error;
    }
    await this.#connections[Symbol.asyncDispose]();
  }

  /** Takes the lock; the result is whether what was read since it was asked for was read with it held. */
  async #take(lock: SftpLock, options: LockOptions, asked: () => void): Promise<boolean> {
    this.#lock.current = lock;
    let connections = 0;
    return this.#connections.use(async (session) => {
      connections += 1;
      let leftovers: Promise<Leftovers> | undefined;
      const wasFirst = await lock.take(session, options, this.#signal, () => {
        leftovers ??= Leftovers.find(session);
        leftovers.catch(() => {});
        asked();
      });
      const found = await (wasFirst && leftovers ? leftovers : Leftovers.find(session));
      const wasFenced = await found.remove(session, this.#timeToLive);
      // Over a lost connection was read what was there before, too.
      return wasFirst && !wasFenced && connections === 1;
    });
  }

  async #readPointer(session: SftpSession, host: string): Promise<Current> {
    const [current, tree] = await flight(
      readPointer(session, host),
      this.#trees === null ? Promise.resolve(null) : treeSequence(session, host),
    );
    if (current.state !== "present") return current;
    this.#note(host, current.envelope);
    return tree === null || tree === sequenceOf(current.envelope) ? current : { ...current, isIncomplete: true };
  }

  #note(host: string, envelope: string): void {
    const sequence = sequenceOf(envelope);
    if (sequence === undefined) this.#published.delete(host);
    else this.#published.set(host, sequence);
  }

  async #release(session: SftpSession): Promise<void> {
    await this.#lock.current?.release(session).catch(ignoreSftpError);
  }

  async #each<T>(
    hosts: readonly string[],
    work: (session: SftpSession, host: string) => Promise<T>,
  ): Promise<Map<string, T>> {
    const results = await this.#connections.use((session) =>
      flight(...hosts.map(async (host) => [host, await work(session, host)] as const)),
    );
    return new Map(results);
  }
}
