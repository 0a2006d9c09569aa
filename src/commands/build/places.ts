import { createHash } from "node:crypto";
import { readFile, realpath } from "node:fs/promises";
import { homedir, hostname } from "node:os";
import path from "node:path";

// What Bento keeps on the machine that it builds on.

/**
 * The gc roots of a fleet's hosts: a directory of the fleet's own, since two fleets may have hosts of the same name. A fleet is
 * known by where it is; on Actions, where each runner has a place of its own for it, by its repository.
 */
export async function defaultRoots(env: NodeJS.ProcessEnv, fleet: string): Promise<string> {
  const place = await realpath(fleet);
  const { GITHUB_REPOSITORY: repository, GITHUB_SERVER_URL: server = "", GITHUB_WORKSPACE: workspace } = env;
  const identity =
    repository && workspace ? [server, repository, path.relative(await realpath(workspace), place)].join(" ") : place;
  const id = createHash("sha256").update(identity).digest("hex").slice(0, 8);
  const name = path.basename((repository && workspace && repository) || place) || "fleet";
  return path.join(allRoots(env), `${name}-${id}`);
}

/** Where all fleets' gc roots are that this user builds on this machine. */
export function allRoots(env: NodeJS.ProcessEnv): string {
  return path.join(stateDirectory(env), "roots");
}

/** What tells this machine and this state directory from others that fill the same cache. */
export async function sourceOf(env: NodeJS.ProcessEnv): Promise<string> {
  const machine = await readFile("/etc/machine-id", "utf8").catch(() => hostname());
  return `${machine.trim()} ${stateDirectory(env)}`;
}

/** The logs of builds that failed. */
export function defaultLogs(env: NodeJS.ProcessEnv): string {
  return path.join(stateDirectory(env), "logs");
}

function stateDirectory(env: NodeJS.ProcessEnv): string {
  return path.join(env.XDG_STATE_HOME || path.join(env.HOME || homedir(), ".local/state"), "bento");
}
