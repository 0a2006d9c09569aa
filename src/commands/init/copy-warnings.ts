import { realpath } from "node:fs/promises";
import path from "node:path";
import { FleetError } from "../../errors.ts";
import type { Fleet } from "../../fleet/fleet.ts";
import type { Repository } from "../../platform/git.ts";
import { packageVersion } from "../../platform/package.ts";
import { type CopiedFile, copiedFiles, idOf, presentAt } from "./copied-files.ts";
import { isNewer, type Lock, readLock } from "./lock.ts";

/** The agent itself: a fleet without it has its modules from elsewhere, or by another name. */
const AGENT = "utils/agent/bento-agent";

/** At most one: what `bento init` copied into this fleet is of another Bento than this. */
export async function copyWarnings(fleet: Fleet, repository: Repository): Promise<string[]> {
  if (fleet.file === null) return [];
  try {
    const dir = await realpath(fleet.dir);
    const lock = await readLock(dir);
    if (lock !== null && isNewer(lock.bento, packageVersion()))
      return [
        `what bento init copied is of Bento ${lock.bento}, and this is ${packageVersion()}: bring the command up to date`,
      ];
    const originals = await copiedFiles(path.relative(repository.root, dir).split(path.sep).join("/") || ".");
    return lock === null
      ? await unrecorded(dir, repository, originals)
      : await recorded(dir, repository, originals, lock);
  } catch (error) {
    if (!(error instanceof FleetError)) throw error;
    return [`${error.message}${error.hint === undefined ? "" : ` (${error.hint})`}`];
  }
}

const ADVICE = "bento init --update brings it up to date, with --dry-run it says how";

/** By what was copied, not by what is there: somebody's own changes are no older version. */
async function recorded(dir: string, repository: Repository, originals: readonly CopiedFile[], lock: Lock) {
  const now = new Map(originals.map((original) => [original.file, idOf(original)]));
  const older: string[] = [];
  for (const [file, id] of lock.files) {
    if (now.get(file) !== id && (await presentAt(repository.root, path.join(dir, file))).kind === "file")
      older.push(file);
  }
  if (older.length === 0) return [];
  const version = packageVersion();
  const origin =
    lock.bento === version ? `another Bento ${version} than this` : `Bento ${lock.bento}, and this is ${version}`;
  return [`${named(older)} ${are(older)} of ${origin}: ${ADVICE}`];
}

/** A fleet of before there was a record: whether it is older, or somebody's own, nobody knows. */
async function unrecorded(dir: string, repository: Repository, originals: readonly CopiedFile[]) {
  if ((await presentAt(repository.root, path.join(dir, AGENT))).kind !== "file") return [];
  const others: string[] = [];
  for (const original of originals) {
    const present = await presentAt(repository.root, path.join(dir, original.file));
    if (present.kind === "file" && present.id !== idOf(original)) others.push(original.file);
  }
  if (others.length === 0) return [];
  return [`${named(others)} ${are(others)} not what Bento ${packageVersion()} has: ${ADVICE}`];
}

function named([first, ...others]: readonly string[]): string {
  return `${first}${others.length === 0 ? "" : ` and ${others.length} more`}`;
}

function are(files: readonly string[]): string {
  return files.length === 1 ? "is" : "are";
}
