import { UnreachableError } from "../../errors.ts";

/** SFTP's error codes, as OpenSSH sends them: anything that is neither missing nor denied is `failure`. */
export type SftpCode = "missing" | "denied" | "failure";

/** What was asked for; where a `failure` says nothing more, that tells most. */
export type SftpOperation = "open" | "write" | "other";

/** The server's answer to one request is no. The connection is as good as before. */
export class SftpError extends Error {
  readonly code: SftpCode;
  readonly operation: SftpOperation;
  constructor(code: SftpCode, message: string, operation: SftpOperation = "other") {
    super(message);
    this.code = code;
    this.operation = operation;
  }
}

/** The connection has ended, or nothing comes through it any more. Another one may do better. */
export class ConnectionLostError extends UnreachableError {}

export function missingIsUndefined(error: unknown): undefined {
  if (error instanceof SftpError && error.code === "missing") return undefined;
  throw error;
}

export function ignoreSftpError(error: unknown): undefined {
  if (error instanceof SftpError) return undefined;
  throw error;
}
