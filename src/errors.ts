/**
 * The errors a user can cause or must know of. Each carries the exit status of the whole run, and whatever says where and
 * what to do; the fronts print them without a stack trace. Anything else that is thrown is a bug and shows its stack.
 *
 * Exit statuses: 0 done; 1 a host failed, the others were processed; 2 the fleet or the arguments are wrong, nothing was
 * done; 3 a server or a tool could not be reached or run; 130 interrupted.
 */
export type ExitStatus = 0 | 1 | 2 | 3 | 130;

/** A place in a file of the fleet. `file` is relative to the fleet's directory; line and column start at 1. */
export interface Location {
  file: string;
  line?: number;
  column?: number;
}

export interface ErrorDetails {
  at?: Location;
  /** What to do about it: one sentence or one command. */
  hint?: string;
  cause?: unknown;
}

export abstract class BentoError extends Error {
  abstract readonly exitStatus: ExitStatus;
  readonly at: Location | undefined;
  readonly hint: string | undefined;

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.at = details.at;
    this.hint = details.hint;
  }
}

/** The fleet, or an argument, is wrong. Thrown before anything was done. */
export class FleetError extends BentoError {
  readonly exitStatus = 2;
}

/** A server or a tool could not be reached, run, or trusted. */
export class UnavailableError extends BentoError {
  readonly exitStatus = 3;
}

/** There was no contact at all: nothing listens, or nothing answers. Of all that can be wrong, this may pass by itself. */
export class UnreachableError extends UnavailableError {}

/** One host's own failure; it never stops the others. Commands catch it and put it into the host's result. */
export class HostError extends BentoError {
  readonly exitStatus = 1;
}

/** SIGINT or SIGTERM. */
export class InterruptedError extends BentoError {
  readonly exitStatus = 130;
  constructor() {
    super("interrupted");
  }
}

/** What a machine says no with, by Node's names for it. */
const REFUSALS: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EDQUOT: "the disk quota is used up",
  EIO: "the disk failed",
  EMFILE: "too many files are open",
  ENAMETOOLONG: "the name is too long",
  ENOSPC: "no space is left",
  ENOTDIR: "a part of it is no directory",
  EPERM: "not permitted",
  EROFS: "the file system is read-only",
};
/** Of a directory that is to be made, so are these; elsewhere, something looked for a file that it should not have. */
const MKDIR_REFUSALS: Readonly<Record<string, string>> = {
  EEXIST: "there is a file",
  ENOENT: "it can't be made there",
};

/** What was thrown; where the machine's file system has refused something, which is no bug, the error that says so. */
export function machineError(thrown: unknown): unknown {
  if (!(thrown instanceof Error) || thrown instanceof BentoError) return thrown;
  const { code = "", syscall, path } = thrown as NodeJS.ErrnoException;
  const why = REFUSALS[code] ?? (syscall === "mkdir" ? MKDIR_REFUSALS[code] : undefined);
  return why === undefined || path === undefined ? thrown : new UnavailableError(`${path}: ${why}`, { cause: thrown });
}

/** `file:line:column`, as compilers print it, as far as it is known. */
export function formatLocation(at: Location): string {
  return [at.file, at.line, at.column].filter((part) => part !== undefined).join(":");
}
