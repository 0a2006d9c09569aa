import { HostError } from "../../errors.ts";
import { parallel } from "../../platform/parallel.ts";
import type { HostFailure } from "../../results.ts";
import type { PublishProgress, Upload, Uploads } from "../publisher.ts";
import { ignoreSftpError, missingIsUndefined, SftpError } from "./error.ts";
import { list, piecesOf, writeFile } from "./files.ts";
import type { SftpLock } from "./lock.ts";
import { explain, garbage, pastPointer, pointer, releases, type Temporaries } from "./places.ts";
import { flight } from "./requests.ts";
import type { SftpSession } from "./session.ts";
import { removeOldTrees, type SentTree, switchTree, type Trees } from "./tree.ts";

/** Hosts to which files are sent at once: with three open of each, enough to keep the server busy; more only take memory. */
const SENT_AT_ONCE = 128;

/** A host's release on its way. */
interface Shipment {
  readonly upload: Upload;
  failure: HostFailure | null;
  isPublished: boolean;
  /** Under a temporary name; null where the archive is there already, or there is none. */
  archive: string | null;
  pointer: string;
  /** Null where the server has no unpacked trees. */
  tree: SentTree | null;
  /** Bytes of the archive that the server has. */
  sent: number;
  garbage: readonly string[];
}

/**
 * Releases of many hosts on their way to the server. `run` does what is still to be done, so that it can go on over another
 * connection when one is lost.
 */
export class Publication {
  readonly #uploads: AsyncGenerator<Upload, void>;
  readonly #shipments: Shipment[] = [];
  readonly #temporaries: Temporaries;
  readonly #progress: PublishProgress = { hosts: 0, sent: 0 };
  readonly #onProgress: (progress: PublishProgress) => void;
  readonly #published: ReadonlyMap<string, number>;
  readonly #trees: Trees | null;

  /**
   * `published`: the sequence of what a host is given now, where that is known. `trees`: null where the server has no unpacked
   * trees.
   */
  constructor(
    uploads: Uploads,
    published: ReadonlyMap<string, number>,
    temporaries: Temporaries,
    onProgress: (progress: PublishProgress) => void = () => {},
    trees: Trees | null = null,
  ) {
    this.#trees = trees;
    this.#temporaries = temporaries;
    this.#published = published;
    this.#onProgress = onProgress;
    this.#uploads = each(uploads);
  }

  get failures(): Map<string, HostFailure | null> {
    return new Map(this.#shipments.map(({ upload, failure }) => [upload.host, failure]));
  }

  /** What has been put up. */
  get published(): Upload[] {
    return this.#shipments.filter(({ failure }) => failure === null).map(({ upload }) => upload);
  }

  /** Nothing more is taken of the uploads. */
  async end(): Promise<void> {
    await this.#uploads.return();
  }

  /**
   * Each phase is over for all hosts before the next begins, and only those go on that came through it.
   * @throws ConnectionLostError, after which it can be called again; UnavailableError when the lock is lost.
   */
  async run(session: SftpSession, lock: SftpLock | undefined): Promise<void> {
    // The lock is looked at while the last files are on their way, which saves a round trip; and not before, as they may take long.
    // Who was stopped after that for longer than the lock lives has no temporary files any more, and publishes nothing.
    let isLocked: Promise<void> | undefined;
    const check = () => {
      isLocked ??= lock?.check(session);
      // Its failure is looked at below, when the renames are over.
      isLocked?.catch(() => {});
    };
    await this.#sendAll(session, this.#trees === null ? check : () => {});
    if (this.#shipments.length === 0) return;
    check();
    // Not before: a full disk has to be full when it is asked why it refused something. What of them can't be removed now, the
    // end of the deploy removes.
    for (const { upload, failure } of this.#shipments) {
      if (failure !== null) this.#temporaries.removeOf(upload.host, session.requests).catch(() => {});
    }

    await this.#phase(session, async ({ upload: { host, archive }, archive: temporary }) => {
      if (archive !== null && temporary !== null) {
        await this.#rename(session, host, temporary, `${releases(host)}/${archive.name}`);
      }
    });
    await isLocked;

    // Before the pointer: a deploy that ends in between has published nothing, and the next one does all of it again.
    await this.#phase(session, async ({ upload: { host }, tree }) => {
      if (tree === null) return;
      const link = this.#temporaries.make(host, "config");
      await switchTree(session, host, tree, link);
      this.#temporaries.forget(host, link);
    });

    // The pointer last: from here on hosts take the new release, all of which is there.
    await this.#phase(session, async (shipment) => {
      const { host } = shipment.upload;
      const kept = this.#keepPast(session, host);
      const renamed = this.#rename(session, host, shipment.pointer, pointer(host)).catch(async (error: unknown) => {
        // Whoever takes the lock over takes the temporary files away.
        if (error instanceof SftpError && error.code === "missing") await lock?.check(session);
        throw error;
      });
      await flight(kept, renamed);
      shipment.isPublished = true;
    });
    // What is left over costs room, and nobody's release: its failure isn't the host's.
    const published = this.#shipments.filter((shipment) => shipment.isPublished);
    const files = published.flatMap((shipment) => shipment.garbage);
    await Promise.all(files.map((file) => session.requests.unlink(file).catch(ignoreSftpError)));
    for (const shipment of published) shipment.garbage = [];
    await Promise.all(published.map(({ upload: { host }, tree }) => tree && removeOldTrees(session, host, tree)));
  }

  async #phase(session: SftpSession, work: (shipment: Shipment) => Promise<void>): Promise<void> {
    const remaining = this.#remaining();
    await parallel(remaining, remaining.length, (shipment) => this.#attempt(session, shipment, work));
  }

  #remaining(): Shipment[] {
    return this.#shipments.filter((shipment) => shipment.failure === null && !shipment.isPublished);
  }

  /** What is wrong with one host is its own failure. */
  async #attempt(session: SftpSession, shipment: Shipment, work: (shipment: Shipment) => Promise<void>): Promise<void> {
    try {
      await work(shipment);
    } catch (error) {
      if (error instanceof SftpError) shipment.failure = await explain(session, shipment.upload.host, error);
      else if (error instanceof HostError) shipment.failure = failureOf(error);
      else throw error;
    }
  }

  /** Sends all there is, and what comes while it is being sent. `onAsked` is told when the server has been asked for all of it. */
  async #sendAll(session: SftpSession, onAsked: () => void): Promise<void> {
    // Over a new connection, what was sent over the one that was lost is sent again.
    const again = this.#remaining().values();
    const errors: unknown[] = [];
    let unasked = 0;
    let isLast = false;
    const look = () => {
      if (isLast && unasked === 0 && errors.length === 0) onAsked();
    };
    const worker = async () => {
      while (errors.length === 0) {
        const shipment = again.next().value ?? (await this.#accept());
        if (shipment === undefined) isLast = true;
        if (shipment === undefined || errors.length > 0) return look();
        unasked += 1;
        let isAsked = false;
        const asked = () => {
          if (!isAsked) unasked -= 1;
          isAsked = true;
          look();
        };
        await this.#attempt(session, shipment, (one) => this.#send(session, one, asked));
        asked();
        this.#progress.hosts += 1;
        this.#onProgress(this.#progress);
      }
    };
    const failing = (error: unknown) => errors.push(error);
    await Promise.all(Array.from({ length: SENT_AT_ONCE }, () => worker().catch(failing)));
    if (errors.length > 0) throw errors[0];
  }

  /** The next upload; undefined after the last. */
  async #accept(): Promise<Shipment | undefined> {
    const { value: upload } = await this.#uploads.next();
    if (!upload) return undefined;
    const none = { failure: null, isPublished: false, archive: null, pointer: "", tree: null, sent: 0, garbage: [] };
    const shipment: Shipment = { upload, ...none };
    this.#shipments.push(shipment);
    return shipment;
  }

  /**
   * Sends what the server needs under temporary names. Two flights, and as much more as the archives take. `onAsked` is told when
   * the server has been asked for its archive.
   */
  async #send(session: SftpSession, shipment: Shipment, onAsked: () => void): Promise<void> {
    const { host, envelope, archive, keep } = shipment.upload;
    this.#count(shipment, -shipment.sent);
    shipment.pointer = this.#temporaries.make(host, "current");
    const [entries, tree] = await flight(
      list(session, releases(host)).catch(ignoreSftpError),
      this.#trees?.send(session, shipment.upload) ?? Promise.resolve(null),
      writeFile(session, shipment.pointer, [Buffer.from(envelope)]),
      archive === null ? Promise.resolve() : this.#sendArchive(session, shipment, archive, onAsked),
    );
    shipment.tree = tree;
    const sequence = this.#published.get(host);
    const names = [
      ...(entries ?? []).map((entry) => entry.filename),
      ...(sequence === undefined ? [] : [`${sequence}.json`]),
    ];
    shipment.garbage = garbage(host, names, keep, this.#temporaries);
  }

  async #sendArchive(
    session: SftpSession,
    shipment: Shipment,
    { name, size, file }: NonNullable<Upload["archive"]>,
    onAsked: () => void,
  ): Promise<void> {
    const { host } = shipment.upload;
    // A deploy that was cut off may have sent it already: its name is its content's hash, so its size is enough to ask.
    const present = session.requests.stat(`${releases(host)}/${name}`).catch(missingIsUndefined);
    present.catch(() => {});
    const temporary = this.#temporaries.make(host, name);
    let isThere = false;
    // The temporary file is opened in the same flight, which for one that wasn't needed costs little.
    async function* pieces() {
      isThere = (await present)?.size === size;
      if (!isThere) yield* piecesOf(file);
    }
    await writeFile(session, temporary, pieces(), (bytes) => this.#count(shipment, bytes), undefined, onAsked);
    shipment.archive = isThere ? null : temporary;
    if (!isThere) return;
    this.#count(shipment, size);
    await session.requests.unlink(temporary);
    this.#temporaries.forget(host, temporary);
  }

  /** The envelope that is about to be replaced gets a name of its own. Without it, a rollback has less to choose from. */
  async #keepPast(session: SftpSession, host: string): Promise<void> {
    const sequence = this.#published.get(host);
    if (sequence === undefined) return;
    await session.requests.link(pointer(host), pastPointer(host, sequence)).catch(ignoreSftpError);
  }

  async #rename(session: SftpSession, host: string, from: string, to: string): Promise<void> {
    await session.requests.replace(from, to);
    this.#temporaries.forget(host, from);
  }

  #count(shipment: Shipment, bytes: number): void {
    shipment.sent += bytes;
    this.#progress.sent += bytes;
    this.#onProgress(this.#progress);
  }
}

async function* each<T>(items: Iterable<T> | AsyncIterable<T>): AsyncGenerator<T, void> {
  yield* items;
}

function failureOf({ message, hint }: HostError): HostFailure {
  return hint === undefined ? { message } : { message, hint };
}
