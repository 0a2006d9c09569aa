import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";

/** A directory for one test; it goes with the scope, whatever was done to its modes. */
export async function scratch(): Promise<{ path: string } & AsyncDisposable> {
  const dir = await mkdtemp(path.join(tmpdir(), "bento-test-"));
  return { path: dir, [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true, maxRetries: 3 }) };
}

/** What is at a path: a file's text, an executable file, or a symlink's target. */
export type Entry = string | { executable: string } | { link: string };

/** Writes files, and the directories they are in. */
export async function writeTree(dir: string, files: Readonly<Record<string, Entry>>): Promise<void> {
  for (const [name, entry] of Object.entries(files)) {
    const file = path.join(dir, name);
    await mkdir(path.dirname(file), { recursive: true });
    if (typeof entry === "string") await writeFile(file, entry);
    else if ("link" in entry) await symlink(entry.link, file);
    else {
      await writeFile(file, entry.executable);
      await chmod(file, 0o755);
    }
  }
}
