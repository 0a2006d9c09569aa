import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { z } from "zod";
import { FleetError, UnavailableError } from "../../errors.ts";
import { writeFileAtomically } from "../../platform/files.ts";
import { run } from "../../platform/process.ts";
import { stateDirectory } from "../../platform/user-directories.ts";
import { type Notification, notificationsOf, type Told, toldAfter } from "../../reports/notifications.ts";
import { FLEET_STATES, type StatusDocument } from "../../results.ts";
import type { Context } from "../context.ts";

/** Milliseconds for one call. */
const TIMEOUT = 60_000;

const stateSchema = z.strictObject({ version: z.literal(1), told: z.record(z.string(), z.enum(FLEET_STATES)) });

/** Where it is remembered what was told of a fleet, unless somebody says otherwise. */
export function defaultStateFile(env: NodeJS.ProcessEnv, fleet: string): string {
  const id = createHash("sha256").update(fleet).digest("hex").slice(0, 16);
  return path.join(stateDirectory(env), `told-${path.basename(fleet)}-${id}.json`);
}

/**
 * Runs the user's `command` for each host that got into trouble or out of it since the last time. What hosts say reaches it in
 * its environment and as JSON on its standard input, and is never a part of the command. One that fails is called again the
 * next time.
 * @throws FleetError when `file` isn't what was left there; UnavailableError when a call failed, after all others.
 */
export async function notify(
  context: Context,
  document: StatusDocument,
  { command, file }: { command: string; file: string },
): Promise<void> {
  let told = await readTold(file);
  const failures: string[] = [];
  for (const notification of notificationsOf(document.hosts, told, document.failOn)) {
    const { name } = notification.host;
    const failure = await call(context, command, notification);
    if (failure !== null) {
      failures.push(`${name} (${failure})`);
      continue;
    }
    told = toldAfter(told, notification);
    // At once: whoever was told is not told again, whatever becomes of the others.
    await writeTold(file, told);
  }
  if (failures.length > 0) {
    throw new UnavailableError(`the command of --notify failed for ${failures.slice(0, 5).join(", ")}`, {
      hint: "it is called again the next time",
    });
  }
}

/** Calls the command, and gives what was wrong with that; null when nothing was. */
async function call(context: Context, command: string, { host, event, before }: Notification): Promise<string | null> {
  const env = {
    BENTO_EVENT: event,
    BENTO_HOST: host.name,
    BENTO_STATE: host.state,
    BENTO_STATE_BEFORE: before ?? "",
    BENTO_REASON: host.reason ?? "",
    BENTO_COMMIT: host.published?.commit ?? "",
    BENTO_SUBJECT: host.published?.subject ?? "",
    BENTO_LAST_CONTACT: host.lastContact ?? "",
  };
  // A program can't be given a NUL.
  const inert = Object.fromEntries(Object.entries(env).map(([name, value]) => [name, value.replaceAll("\0", "")]));
  const { history: _, log: __, ...said } = host;
  const input = Buffer.from(`${JSON.stringify({ version: 1, event, before, host: said })}\n`);
  const { signal } = context;
  const result = await run("sh", ["-c", command], { env: inert, input, signal, timeout: TIMEOUT, cwd: context.cwd });
  const lines = result.stderr.trim().split("\n");
  if (result.timedOut) return `no end within ${TIMEOUT / 1000} s`;
  return result.status === 0 ? null : `status ${result.status}: ${lines.at(-1)?.slice(0, 200) ?? ""}`;
}

async function readTold(file: string): Promise<Told> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT") return {};
    throw new FleetError(`${file} can't be read (${code})`, { cause });
  }
  try {
    return stateSchema.parse(JSON.parse(text)).told;
  } catch (cause) {
    throw new FleetError(`${file} is not what bento status --notify remembers`, {
      hint: "remove it, and what is wrong now is told once more",
      cause,
    });
  }
}

async function writeTold(file: string, told: Told): Promise<void> {
  try {
    await writeFileAtomically(file, `${JSON.stringify({ version: 1, told })}\n`, 0o600);
  } catch (cause) {
    throw new UnavailableError(`${file} can't be written (${(cause as NodeJS.ErrnoException).code})`, { cause });
  }
}
