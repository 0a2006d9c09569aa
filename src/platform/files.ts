import { randomBytes } from "node:crypto";
import { copyFile, mkdir, open, rename, rm, rmdir, stat } from "node:fs/promises";
import path from "node:path";

/**
 * Replaces a file by a whole new one: written beside it under a temporary name, synced, renamed. Whoever reads it sees the old
 * content or the new. Directories on the way are made.
 */
export async function writeFileAtomically(file: string, content: string | Buffer, mode = 0o644): Promise<void> {
  await makeDirectory(path.dirname(file));
  const temporary = temporaryBeside(file);
  try {
    await writeSynced(temporary, content, mode);
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true });
    // Nobody knows the temporary name.
    throw error instanceof Error && "path" in error ? Object.assign(error, { path: file }) : error;
  }
}

/** A file that is to be, or not to be any more. */
export interface Replacement {
  file: string;
  /** Null to remove it. */
  content: string | Buffer | null;
  mode?: number;
}

/**
 * Replaces several files, or none of them: all are written beside those that they replace before the first is renamed, and what fails
 * after that puts back what was there. Directories on the way are made, and those that are left empty go.
 */
export async function replaceFiles(replacements: readonly Replacement[]): Promise<void> {
  const written: { file: string; temporary: string | null; backup: string }[] = [];
  const changed: typeof written = [];
  try {
    for (const { file, content, mode } of replacements) {
      const temporary = content === null ? null : temporaryBeside(file);
      written.push({ file, temporary, backup: temporaryBeside(file) });
      if (temporary === null || content === null) continue;
      await makeDirectory(path.dirname(file));
      await writeSynced(temporary, content, mode ?? 0o644);
    }
    for (const one of written) {
      await copyFile(one.file, one.backup).catch(unlessMissing);
      changed.push(one);
      await (one.temporary === null ? rm(one.file, { force: true }) : rename(one.temporary, one.file));
    }
  } catch (error) {
    for (const { file, backup } of changed) {
      // What had nothing in its place has no backup.
      await rename(backup, file).catch(() => rm(file, { force: true }));
    }
    throw error;
  } finally {
    for (const { temporary, backup } of written) {
      if (temporary !== null) await rm(temporary, { force: true });
      await rm(backup, { force: true });
    }
  }
  for (const { file, content } of replacements) if (content === null) await removeEmpty(path.dirname(file));
}

function temporaryBeside(file: string): string {
  return path.join(path.dirname(file), `.${path.basename(file)}.${randomBytes(6).toString("hex")}`);
}

async function writeSynced(file: string, content: string | Buffer, mode: number): Promise<void> {
  const handle = await open(file, "wx", mode);
  try {
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function unlessMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== "ENOENT") throw error;
}

/** Removes directories from here upwards, up to the first in which there is something. */
async function removeEmpty(dir: string): Promise<void> {
  try {
    await rmdir(dir);
  } catch {
    return;
  }
  await removeEmpty(path.dirname(dir));
}

/**
 * Makes a directory and those above it, unless they are there. Node's own `recursive` tries for ever where a file system has
 * the parent, and says that it hasn't, as /proc does.
 */
export async function makeDirectory(dir: string, mode = 0o777): Promise<void> {
  try {
    await mkdir(dir, { mode });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" && path.dirname(dir) !== dir) {
      await makeDirectory(path.dirname(dir), mode);
      await mkdir(dir, { mode }).catch(unlessThere);
    } else await unlessThere(error as NodeJS.ErrnoException);
  }

  // Another program may have made it meanwhile; and where nothing may be written, it may be there all the same.
  async function unlessThere(error: NodeJS.ErrnoException): Promise<void> {
    const info = await stat(dir).catch(() => undefined);
    if (!info?.isDirectory()) throw error;
  }
}
