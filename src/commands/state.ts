import { createHash } from "node:crypto";
import { realpath } from "node:fs/promises";
import { homedir } from "node:os";
import path from "node:path";

// What Bento keeps on the machine that it builds on.

/** The gc roots of a fleet's hosts: a directory of the fleet's own, since two fleets may have hosts of the same name. */
export async function defaultRoots(env: NodeJS.ProcessEnv, fleet: string): Promise<string> {
  const place = await realpath(fleet);
  const id = createHash("sha256").update(place).digest("hex").slice(0, 8);
  return path.join(stateDirectory(env), "roots", `${path.basename(place) || "fleet"}-${id}`);
}

/** The logs of builds that failed. */
export function defaultLogs(env: NodeJS.ProcessEnv): string {
  return path.join(stateDirectory(env), "logs");
}

function stateDirectory(env: NodeJS.ProcessEnv): string {
  return path.join(env.XDG_STATE_HOME || path.join(env.HOME || homedir(), ".local/state"), "bento");
}
