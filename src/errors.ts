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

/** `file:line:column`, as compilers print it, as far as it is known. */
export function formatLocation(at: Location): string {
  return [at.file, at.line, at.column].filter((part) => part !== undefined).join(":");
}
