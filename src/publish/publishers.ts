import { UnavailableError, UnreachableError } from "../errors.ts";
import type { HostFailure } from "../results.ts";
import type {
  Current,
  HostReports,
  LockOptions,
  Publisher,
  PublishProgress,
  ReportReader,
  StatusSource,
  Upload,
} from "./publisher.ts";

/** A publisher that isn't connected yet. */
export interface WayOut {
  /** For people; no two of a fleet have the same. */
  name: string;
  open(): Promise<Publisher & Partial<ReportReader>>;
}

export interface Opening extends AsyncDisposable {
  opened: Promise<Publishers>;
}

/** An upload, and the names of the publishers that take it. */
export interface Parcel {
  upload: Upload;
  to: readonly string[];
}

/** What each publisher has for a host, by the publishers' names. */
export type CurrentOf = (host: string) => Map<string, Current>;

/**
 * All ways out of a fleet, together. One that can't be reached is its hosts' failure while another can be; anything else that
 * is wrong with one (another host key, a lock that is held) stops everything before anything is done.
 */
export class Publishers implements AsyncDisposable {
  readonly #reachable: Map<string, Reachable>;
  /** Why the others are not. */
  readonly #unreachable: Map<string, UnreachableError>;
  readonly #resources: AsyncDisposableStack;
  readonly #several: boolean;

  private constructor(
    reachable: Map<string, Reachable>,
    unreachable: Map<string, UnreachableError>,
    resources: AsyncDisposableStack,
  ) {
    this.#reachable = reachable;
    this.#unreachable = unreachable;
    this.#resources = resources;
    this.#several = reachable.size + unreachable.size > 1;
  }

  /** @throws UnavailableError, UnreachableError when no way is open. */
  static async open(ways: readonly WayOut[]): Promise<Publishers> {
    await using resources = new AsyncDisposableStack();
    const reachable = new Map<string, Reachable>();
    const unreachable = new Map<string, UnreachableError>();
    for (const { name, open } of ways) {
      try {
        reachable.set(name, resources.use(await open()));
      } catch (error) {
        if (!(error instanceof UnreachableError)) throw error;
        unreachable.set(name, error);
      }
    }
    const [first] = unreachable.values();
    if (reachable.size === 0 && first !== undefined) throw first;
    return new Publishers(reachable, unreachable, resources.move());
  }

  /**
   * Begins to open them, which takes a dozen round trips, and doesn't wait for it. At the end of the scope they are closed;
   * `giveUp` is called if they are not even open by then. `opened` throws what `open` does.
   */
  static opening(ways: readonly WayOut[], giveUp: () => void): Opening {
    const opened = Publishers.open(ways);
    let isSettled = false;
    // Whoever waits for it is told.
    const settled = opened
      .catch(() => null)
      .finally(() => {
        isSettled = true;
      });
    return {
      opened,
      [Symbol.asyncDispose]: async () => {
        if (!isSettled) giveUp();
        await (await settled)?.[Symbol.asyncDispose]();
      },
    };
  }

  /**
   * Reads what hosts are given now, and takes the locks unless `lock` is null.
   * @throws UnavailableError, UnreachableError when there is no way left.
   */
  async read(hosts: readonly string[], lock: (LockOptions & { owner: string }) | null): Promise<CurrentOf> {
    const current = new Map<string, Map<string, Current>>();
    for (const [name, publisher] of this.#reachable) {
      try {
        // Both at once, which saves round trips.
        const [, read] = await Promise.all([
          lock === null ? undefined : publisher.lock(lock.owner, lock),
          publisher.readCurrent(hosts),
        ]);
        current.set(name, read);
      } catch (error) {
        if (!(error instanceof UnreachableError)) throw error;
        this.#reachable.delete(name);
        this.#unreachable.set(name, error);
        if (this.#reachable.size === 0) throw error;
      }
    }
    return (host) => {
      const read = [...current].map(([name, all]) => [name, this.#named(all.get(host) ?? UNREAD, name)] as const);
      const others = [...this.#unreachable].map(([name, error]) => [name, unreached(error)] as const);
      return new Map([...read, ...others]);
    };
  }

  /** The envelopes of a host's earlier releases, wherever they are kept. */
  async readHistory(host: string): Promise<string[]> {
    const found = await Promise.all([...this.#reachable.values()].map((publisher) => publisher.readHistory(host)));
    return [...new Set(found.flat())];
  }

  /** Brings an archive that a host was given into the file `into`; false when nobody has it any more. */
  async fetchArchive(host: string, archive: { name: string; size: number }, into: string): Promise<boolean> {
    for (const publisher of this.#reachable.values()) {
      if (await publisher.fetchArchive(host, archive, into)) return true;
    }
    return false;
  }

  /** The publishers that a release can go to now. */
  get names(): string[] {
    return [...this.#reachable.keys()];
  }

  /** Where to ask how hosts are: a publisher that has reports, if one can be reached. */
  get statusSource(): StatusSource {
    const publishers = [...this.#reachable.values()];
    const source = publishers.find((publisher): publisher is Reachable & ReportReader => "readReports" in publisher);
    if (source !== undefined) return source;
    const nowhere: HostReports = { state: "nowhere", reason: NO_REPORTS };
    return {
      readCurrent: async (hosts) => (await publishers[0]?.readCurrent(hosts)) ?? new Map(),
      readReports: async (hosts) => new Map(hosts.map((host) => [host, nowhere])),
      readAttempts: async (hosts) => new Map(hosts.map((host) => [host, { state: "missing" }])),
    };
  }

  /** Puts releases up, at all publishers at once. A host's failure is that at any of them. */
  async publish(
    coming: AsyncIterable<Parcel>,
    onProgress: (progress: PublishProgress) => void,
  ): Promise<Map<string, HostFailure | null>> {
    const progress = new Map<string, PublishProgress>();
    // One takes them as they are made; of several, none has to wait for another.
    const parcels = this.#several ? await allOf(coming) : null;
    const done = await Promise.allSettled(
      [...this.#reachable].map(async ([name, publisher]) => {
        const uploads = parcels?.filter(({ to }) => to.includes(name)).map(({ upload }) => upload) ?? uploadsOf(coming);
        const failures = await this.#publishAt(publisher, uploads, (one) => {
          progress.set(name, one);
          onProgress(sum([...progress.values()]));
        });
        return [...failures].map(([host, failure]) => ({ host, failure: failure && this.#attributed(failure, name) }));
      }),
    );
    const failures = new Map<string, HostFailure | null>();
    for (const one of done) {
      if (one.status === "rejected") throw one.reason;
      for (const { host, failure } of one.value) failures.set(host, join(failures.get(host) ?? null, failure));
    }
    return failures;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }

  /** While there is another way, one that breaks is its hosts' failure alone. */
  async #publishAt(
    publisher: Publisher,
    uploads: readonly Upload[] | AsyncIterable<Upload>,
    onProgress: (progress: PublishProgress) => void,
  ): Promise<Map<string, HostFailure | null>> {
    try {
      return await publisher.publish(uploads, onProgress);
    } catch (error) {
      if (!Array.isArray(uploads) || !(error instanceof UnavailableError)) throw error;
      const failure = failureOf(error);
      return new Map(uploads.map(({ host }: Upload) => [host, failure]));
    }
  }

  #named(current: Current, name: string): Current {
    return current.state === "failed" ? { state: "failed", error: this.#attributed(current.error, name) } : current;
  }

  /** Where there is only one publisher, there is no need to say at which. */
  #attributed(failure: HostFailure, name: string): HostFailure {
    return this.#several ? { ...failure, message: `${name}: ${failure.message}` } : failure;
  }
}

async function* uploadsOf(parcels: AsyncIterable<Parcel>): AsyncGenerator<Upload, void> {
  for await (const { upload } of parcels) yield upload;
}

async function allOf<T>(coming: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const one of coming) all.push(one);
  return all;
}

type Reachable = Publisher & Partial<ReportReader>;

const UNREAD: Current = { state: "failed", error: { message: "what is published could not be read" } };
const NO_REPORTS =
  "git has no reports: bento-agent status on the machine says how it is; or give the fleet a server to report to";

/** Its message says where. */
function unreached(error: UnreachableError): Current {
  return { state: "failed", error: failureOf(error) };
}

function failureOf({ message, hint }: UnavailableError): HostFailure {
  return hint === undefined ? { message } : { message, hint };
}

/** Two failures of one host as one. */
export function join(first: HostFailure | null, second: HostFailure | null): HostFailure | null {
  if (first === null || second === null) return first ?? second;
  return { ...first, message: `${first.message}; ${second.message}` };
}

function sum(all: readonly PublishProgress[]): PublishProgress {
  return {
    hosts: Math.min(...all.map(({ hosts }) => hosts)),
    sent: all.reduce((total, { sent }) => total + sent, 0),
  };
}
