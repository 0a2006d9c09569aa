import { homedir } from "node:os";
import path from "node:path";

// Where a user's programs keep what is theirs, by the XDG Base Directory Specification.

/** What can be made again. */
export function cacheDirectory(env: NodeJS.ProcessEnv): string {
  return path.join(env.XDG_CACHE_HOME || path.join(homeOf(env), ".cache"), "bento");
}

/** What stays from one run to the next. */
export function stateDirectory(env: NodeJS.ProcessEnv): string {
  return path.join(env.XDG_STATE_HOME || path.join(homeOf(env), ".local/state"), "bento");
}

/** A program that systemd starts may have no HOME. */
export function homeOf(env: NodeJS.ProcessEnv): string {
  return env.HOME || homedir();
}
