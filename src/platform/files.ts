import { randomBytes } from "node:crypto";
import { mkdir, open, rename, rm, stat } from "node:fs/promises";
import path from "node:path";

/**
 * Replaces a file by a whole new one: written beside it under a temporary name, synced, renamed. Whoever reads it sees the old
 * content or the new. Directories on the way are made.
 */
export async function writeFileAtomically(file: string, content: string, mode = 0o644): Promise<void> {
  const dir = path.dirname(file);
  await makeDirectory(dir);
  const temporary = path.join(dir, `.${path.basename(file)}.${randomBytes(6).toString("hex")}`);
  try {
    const handle = await open(temporary, "wx", mode);
    try {
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/**
 * Makes a directory and those above it, unless they are there. Node's own `recursive` tries for ever where a file system has
 * the parent, and says that it hasn't, as /proc does.
 */
export async function makeDirectory(dir: string): Promise<void> {
  try {
    await mkdir(dir);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" && path.dirname(dir) !== dir) {
      await makeDirectory(path.dirname(dir));
      await mkdir(dir).catch(unlessThere);
    } else await unlessThere(error as NodeJS.ErrnoException);
  }

  // Another program may have made it meanwhile; and where nothing may be written, it may be there all the same.
  async function unlessThere(error: NodeJS.ErrnoException): Promise<void> {
    const info = await stat(dir).catch(() => undefined);
    if (!info?.isDirectory()) throw error;
  }
}
