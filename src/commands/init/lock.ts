import { readFile } from "node:fs/promises";
import path from "node:path";
import { z } from "zod";
import { FleetError } from "../../errors.ts";

/** Which Bento a fleet's copies are of, and what they were: what its owner has changed since is told by it. */
export const LOCK_FILE = "bento.lock";

export interface Lock {
  /** The version of the Bento that wrote it. */
  bento: string;
  /** Each file as it was copied, by its mode and its blob: `100644 …40 hex…`. */
  files: ReadonlyMap<string, string>;
}

/** No place outside of utils/ and of a repository's workflows: what is recorded there may be removed. */
function isPlace(file: string): boolean {
  if (path.posix.normalize(file) !== file || file.includes("\0")) return false;
  return /^utils\/.|^(?:\.\.\/)*\.github\/workflows\/bento[^/]*\.yml$/.test(file);
}

const schema = z.object({
  version: z.literal(1),
  bento: z.string().regex(/^\d+\.\d+\.\d+$/),
  files: z.record(z.string().refine(isPlace), z.string().regex(/^100(?:644|755) [0-9a-f]{40}$/)),
});

/**
 * What is recorded in a fleet; null where nothing is, as in those of before there was a record.
 * @throws FleetError when it can't be read.
 */
export async function readLock(fleet: string): Promise<Lock | null> {
  let text: string;
  try {
    text = await readFile(path.join(fleet, LOCK_FILE), "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return null;
    throw broken(`can't be read (${code})`, error);
  }
  try {
    const { bento, files } = schema.parse(JSON.parse(text));
    return { bento, files: new Map(Object.entries(files)) };
  } catch (error) {
    throw broken("is not as bento init has written it", error);
  }
}

function broken(what: string, cause: unknown): FleetError {
  return new FleetError(`${LOCK_FILE} ${what}`, { hint: `git checkout -- ${LOCK_FILE}`, cause });
}

export function lockText({ bento, files }: Lock): string {
  const sorted = [...files].sort(([one], [other]) => (one < other ? -1 : 1));
  return `${JSON.stringify({ version: 1, bento, files: Object.fromEntries(sorted) }, null, 2)}\n`;
}

/** Whether a version is newer than another: `1.10.0` than `1.9.3`. */
export function isNewer(version: string, than: string): boolean {
  const parts = (one: string) => one.split(".").map(Number);
  const [left, right] = [parts(version), parts(than)];
  const at = left.findIndex((part, index) => part !== right[index]);
  return at !== -1 && (left[at] ?? 0) > (right[at] ?? 0);
}
