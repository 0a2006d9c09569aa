import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { Server } from "../fleet/fleet.ts";
import { parallel } from "../platform/parallel.ts";
import { MAX_ENVELOPE } from "../release/envelope.ts";
import type { PrivateKey } from "../release/keys.ts";
import type { HostFailure } from "../results.ts";
import type { Current, HostReports, Publisher, PublishProgress, ReceivedFile, Upload } from "./publisher.ts";
import { SftpLock, serverTime } from "./sftp-lock.ts";
import { SftpError, SftpSession } from "./sftp-session.ts";

/** Of what a host says, this much is read. */
const MAX_REPORT = 64 * 1024;
/** What a deploy that was cut off may have left; only the holder of the lock makes such files. */
const TEMPORARY = /^\.tmp-/;
const ARCHIVE = /^[0-9a-f]{64}\.nar\.gz$/;

/** Publishes to one chroot per host on an OpenSSH server (the design's section 5), all hosts at once over one connection. */
export class SftpPublisher implements Publisher {
  readonly name: string;
  readonly #session: SftpSession;
  readonly #token = randomUUID();
  #lock: SftpLock | undefined;

  private constructor(session: SftpSession, name: string) {
    this.#session = session;
    this.name = name;
  }

  /** @throws UnavailableError when the server can't be reached, or isn't the pinned one, or refuses the key. */
  static async connect(server: Server, key: PrivateKey, signal: AbortSignal): Promise<SftpPublisher> {
    const session = await SftpSession.connect({ server, privateKey: await readFile(key.file), signal });
    return new SftpPublisher(session, `sftp://${server.user}@${server.address}:${server.port}`);
  }

  async lock(owner: string): Promise<void> {
    this.#lock = await SftpLock.take(this.#session, owner);
  }

  async readCurrent(hosts: readonly string[]): Promise<Map<string, Current>> {
    return this.#each(hosts, async (host): Promise<Current> => {
      try {
        const { bytes } = await this.#session.read(pointer(host), MAX_ENVELOPE);
        return { state: "present", envelope: bytes.toString("utf8") };
      } catch (error) {
        if (!(error instanceof SftpError)) throw error;
        // Missing twice over: without the directory for it, it isn't a host without a release, but one without a place.
        if (error.code === "missing" && (await this.#exists(releases(host)))) return { state: "missing" };
        return { state: "failed", error: await this.#explain(host, error) };
      }
    });
  }

  async publish(
    uploads: readonly Upload[],
    onProgress: (progress: PublishProgress) => void = () => {},
  ): Promise<Map<string, HostFailure | null>> {
    const failures = new Map<string, HostFailure | null>(uploads.map(({ host }) => [host, null]));
    const progress = {
      hosts: uploads.length,
      sent: 0,
      total: uploads.reduce((sum, { archive }) => sum + (archive?.bytes.length ?? 0), 0),
    };
    // Each phase is over for all hosts before the next begins, and only those go on that came through it.
    const phase = async (work: (upload: Upload) => Promise<void>) => {
      const remaining = uploads.filter(({ host }) => failures.get(host) === null);
      await parallel(remaining, this.#session.parallelism, async (upload) => {
        try {
          await work(upload);
        } catch (error) {
          if (!(error instanceof SftpError)) throw error;
          failures.set(upload.host, await this.#explain(upload.host, error));
        }
      });
    };

    await phase(async ({ host, archive }) => {
      if (archive) await this.#putArchive(host, archive);
      progress.sent += archive?.bytes.length ?? 0;
      onProgress(progress);
    });
    await phase(({ host, envelope }) => this.#session.write(this.#temporary(host, "current"), Buffer.from(envelope)));
    await this.#lock?.check();
    // The pointer last: from here on hosts take the new release, all of which is there.
    await phase(({ host }) => this.#session.replace(this.#temporary(host, "current"), pointer(host)));
    // What is left over costs room, and nobody's release: its failure isn't the host's.
    await parallel(uploads, this.#session.parallelism, (upload) => this.#collect(upload).catch(ignoreSftpError));
    return failures;
  }

  async readReports(hosts: readonly string[]): Promise<Map<string, HostReports>> {
    const now = await serverTime(this.#session, this.#token).catch(ignoreSftpError);
    return this.#each(hosts, async (host): Promise<HostReports> => {
      try {
        const [heartbeat, report] = await Promise.all([
          this.#readReport(`/${host}/reports/heartbeat.json`),
          this.#readReport(`/${host}/reports/latest.json`),
        ]);
        const serverNow = now === undefined ? Date.now() : now * 1000;
        if (heartbeat || report) return { state: "read", heartbeat, report, serverTime: serverNow };
        if (await this.#exists(`/${host}/reports`)) return { state: "missing" };
        return { state: "failed", error: notProvisioned(host) };
      } catch (error) {
        if (!(error instanceof SftpError)) throw error;
        return { state: "failed", error: { message: `what it reported can't be read: ${error.message}` } };
      }
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lock?.[Symbol.asyncDispose]();
    await this.#session[Symbol.asyncDispose]();
  }

  async #putArchive(host: string, { name, bytes }: { name: string; bytes: Buffer }): Promise<void> {
    const file = `${releases(host)}/${name}`;
    // A deploy that was cut off may have sent it already: its name is its content's hash, so its size is enough to ask.
    const there = await this.#session.stat(file).catch(missingIsUndefined);
    if (there?.size === bytes.length) return;
    const temporary = this.#temporary(host, name);
    await this.#session.write(temporary, bytes);
    await this.#session.replace(temporary, file);
  }

  async #collect({ host, keep }: Upload): Promise<void> {
    const names = (await this.#session.list(releases(host))).map((entry) => entry.filename);
    const garbage = names.filter((name) => TEMPORARY.test(name) || (ARCHIVE.test(name) && !keep.includes(name)));
    await Promise.all(garbage.map((name) => this.#session.unlink(`${releases(host)}/${name}`)));
  }

  /** A host may put anything in place of its report, so it is looked at before it is opened: a fifo would never open. */
  async #readReport(file: string): Promise<ReceivedFile | null> {
    const info = await this.#session.lstat(file).catch(missingIsUndefined);
    if (info === undefined) return null;
    if (!info.isFile()) throw new SftpError("failure", `${file} is not a regular file`);
    const { bytes, stats } = await this.#session.read(file, MAX_REPORT);
    return { text: bytes.toString("utf8"), modified: stats.mtime * 1000 };
  }

  async #each<T>(hosts: readonly string[], work: (host: string) => Promise<T>): Promise<Map<string, T>> {
    const results = await parallel(hosts, this.#session.parallelism, async (host) => [host, await work(host)] as const);
    return new Map(results);
  }

  async #exists(file: string): Promise<boolean> {
    return (await this.#session.stat(file).catch(ignoreSftpError)) !== undefined;
  }

  #temporary(host: string, name: string): string {
    return `${releases(host)}/.tmp-${this.#token}-${name}`;
  }

  async #explain(host: string, error: SftpError): Promise<HostFailure> {
    if (!(await this.#exists(releases(host)))) return notProvisioned(host);
    if (error.code === "denied") {
      return {
        message: `the publisher may not use ${releases(host)} on the server`,
        hint: "it must be the publisher's, mode 2750: set the server up again from fleet.json",
      };
    }
    if (error.code === "failure" && (await this.#session.isFull(releases(host)))) {
      return { message: "no space is left on the server's disk", hint: "make room, and deploy again" };
    }
    return { message: `the server refused it: ${error.message}` };
  }
}

function releases(host: string): string {
  return `/${host}/releases`;
}

function pointer(host: string): string {
  return `${releases(host)}/current`;
}

function notProvisioned(host: string): HostFailure {
  return {
    message: `the server has no place for ${host} yet`,
    hint: "set the server up from the current fleet.json: utils/fleet.nix or utils/server/provision",
  };
}

function missingIsUndefined(error: unknown): undefined {
  if (error instanceof SftpError && error.code === "missing") return undefined;
  throw error;
}

function ignoreSftpError(error: unknown): undefined {
  if (error instanceof SftpError) return undefined;
  throw error;
}
