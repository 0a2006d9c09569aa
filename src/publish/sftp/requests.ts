import type { FileEntryWithStats, SFTPWrapper, Stats } from "ssh2";
import { SftpError, type SftpOperation } from "./error.ts";

type Done<T> = (error: Error | null | undefined, value?: T) => void;
/** Sends one request and waits for its answer: the session's part, which knows how a connection ends. */
export type Call = <T>(start: (done: Done<T>) => void) => Promise<T>;

export interface Space {
  /** Free ones, of whatever size. */
  blocks: number;
  bytes: number;
  allBytes: number;
  files: number;
  allFiles: number;
}

/** SFTP's own end of a file or a listing. */
const EOF = 1;

/**
 * The requests of SFTP version 3 and of OpenSSH's extensions, one promise each. Whoever calls several without waiting has them
 * in one flight; a server works through them in the order in which they were sent.
 */
export class SftpRequests {
  readonly #sftp: SFTPWrapper;
  readonly #call: Call;

  constructor(sftp: SFTPWrapper, call: Call) {
    this.#sftp = sftp;
    this.#call = call;
  }

  stat(file: string): Promise<Stats> {
    return this.#ask((done) => this.#sftp.stat(file, done));
  }

  lstat(file: string): Promise<Stats> {
    return this.#ask((done) => this.#sftp.lstat(file, done));
  }

  fstat(handle: Buffer): Promise<Stats> {
    return this.#ask((done) => this.#sftp.fstat(handle, done));
  }

  /** `mode`: of a file that it makes, of which the server's umask takes away. */
  open(file: string, flags: "r" | "r+" | "w" | "wx", mode?: number): Promise<Buffer> {
    if (mode === undefined) return this.#ask((done) => this.#sftp.open(file, flags, done), "open");
    return this.#ask((done) => this.#sftp.open(file, flags, { mode }, done), "open");
  }

  /** What is there, at most `length` bytes of it. */
  async read(handle: Buffer, length: number, position: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(length);
    const count = await this.#ask<number>((done) => this.#sftp.read(handle, bytes, 0, length, position, done));
    return bytes.subarray(0, count);
  }

  async write(handle: Buffer, bytes: Buffer, position: number): Promise<void> {
    await this.#ask<void>((done) => this.#sftp.write(handle, bytes, 0, bytes.length, position, done), "write");
  }

  /** Makes sure that it is on the server's disk, where the server has a way to say so: OpenSSH does. */
  async sync(handle: Buffer): Promise<void> {
    await this.#ask<void>((done) => this.#sftp.ext_openssh_fsync(handle, done), "write").catch(unlessUnsupported);
  }

  /** Also an answer about what was written: some file systems only then find that there is no room for it. */
  close(handle: Buffer): Promise<void> {
    return this.#ask<void>((done) => this.#sftp.close(handle, done), "write");
  }

  openDirectory(dir: string): Promise<Buffer> {
    return this.#ask((done) => this.#sftp.opendir(dir, done));
  }

  /** Some more entries of it; null when there are no more. */
  async readDirectory(handle: Buffer): Promise<FileEntryWithStats[] | null> {
    return this.#call<FileEntryWithStats[] | null>((done) =>
      this.#sftp.readdir(handle as unknown as string, (error, list) => {
        if ((error as { code?: number } | undefined)?.code === EOF) done(undefined, null);
        else done(error && toSftpError(error, "other"), list);
      }),
    );
  }

  /** Renames, replacing what is there in one step. */
  replace(from: string, to: string): Promise<void> {
    return this.#ask<void>((done) => this.#sftp.ext_openssh_rename(from, to, done));
  }

  /** Renames, and fails when there is something already. */
  rename(from: string, to: string): Promise<void> {
    return this.#ask<void>((done) => this.#sftp.rename(from, to, done));
  }

  /** A second name for a file, where the server has a way to make one: OpenSSH has. */
  async link(file: string, name: string): Promise<void> {
    await this.#ask<void>((done) => this.#sftp.ext_openssh_hardlink(file, name, done)).catch(unlessUnsupported);
  }

  makeDirectory(dir: string): Promise<void> {
    return this.#ask<void>((done) => this.#sftp.mkdir(dir, done), "write");
  }

  removeDirectory(dir: string): Promise<void> {
    return this.#ask<void>((done) => this.#sftp.rmdir(dir, done));
  }

  /** Makes `link`, which leads to `target`. */
  symlink(target: string, link: string): Promise<void> {
    return this.#ask<void>((done) => this.#sftp.symlink(target, link, done), "write");
  }

  readlink(link: string): Promise<string> {
    return this.#ask((done) => this.#sftp.readlink(link, done));
  }

  unlink(file: string): Promise<void> {
    return this.#ask<void>((done) => this.#sftp.unlink(file, done));
  }

  /** Whether the server knows one of OpenSSH's extensions, such as `statvfs@openssh.com`. */
  has(extension: string): boolean {
    const { _extensions } = this.#sftp as SFTPWrapper & { _extensions?: Record<string, string> };
    return _extensions?.[extension] !== undefined;
  }

  /** Whether the file system that `dir` is on has no room left; undefined where the server doesn't say. */
  async isFull(dir: string): Promise<boolean | undefined> {
    const space = await this.space(dir);
    // A file system without a fixed number of files says 0 of 0.
    return space && (space.blocks < 64 || (space.allFiles > 0 && space.files === 0));
  }

  /** The file system that `dir` is on: what is free for others than root, and all; undefined where the server doesn't say. */
  async space(dir: string): Promise<Space | undefined> {
    type Numbers = Record<"f_bavail" | "f_frsize" | "f_blocks" | "f_files" | "f_favail", number>;
    try {
      const info = await this.#ask<Numbers>((done) =>
        this.#sftp.ext_openssh_statvfs(dir, (error: Error | undefined, stats: unknown) =>
          done(error, stats as Numbers),
        ),
      );
      const [blocks, size] = [Number(info.f_bavail), Number(info.f_frsize)];
      return {
        blocks,
        bytes: blocks * size,
        allBytes: Number(info.f_blocks) * size,
        files: Number(info.f_favail),
        allFiles: Number(info.f_files),
      };
    } catch (error) {
      if (error instanceof SftpError || (error instanceof Error && /does not support/.test(error.message)))
        return undefined;
      throw error;
    }
  }

  #ask<T>(start: (done: Done<T>) => void, operation: SftpOperation = "other"): Promise<T> {
    return this.#call<T>((done) => start((error, value) => done(error && toSftpError(error, operation), value)));
  }
}

/** Of an extension that the server doesn't have, ssh2 says so before it sends anything. */
function unlessUnsupported(error: unknown): void {
  if (!(error instanceof Error && /does not support/.test(error.message))) throw error;
}

/** Only what the server answered is an SftpError. */
function toSftpError(error: Error, operation: SftpOperation): Error {
  const code = (error as Error & { code?: number | string }).code;
  if (typeof code !== "number") return error;
  const name = code === 2 ? "missing" : code === 3 ? "denied" : "failure";
  return new SftpError(name, error.message, operation);
}

/** What was sent in one flight: waits for all answers, and throws the first failure among them. */
export async function flight<T extends readonly unknown[]>(...answers: { [I in keyof T]: Promise<T[I]> }): Promise<T> {
  const results = await Promise.allSettled(answers);
  const failed = results.find((result) => result.status === "rejected");
  if (failed) throw failed.reason;
  return results.map((result) => (result as PromiseFulfilledResult<unknown>).value) as unknown as T;
}
