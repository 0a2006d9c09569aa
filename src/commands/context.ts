import type { Output } from "../platform/output.ts";

/** What every command is given by its front. */
export interface Context {
  output: Output;
  /** Aborted on SIGINT and SIGTERM. */
  signal: AbortSignal;
  env: NodeJS.ProcessEnv;
  /** Where the command was called; relative paths in arguments are relative to it. */
  cwd: string;
}
