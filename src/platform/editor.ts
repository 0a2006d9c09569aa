import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { readFile, statfs, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { FleetError, InterruptedError } from "../errors.ts";
import type { Output } from "./output.ts";

/** The file systems that never reach a disk, but for swap, by their numbers in statfs(2): tmpfs, ramfs. */
const IN_MEMORY = [0x01021994, 0x858458f6];

export interface EditorContext {
  output: Output;
  signal: AbortSignal;
  env: NodeJS.ProcessEnv;
}

/**
 * Has the user edit a secret, and gives what became of it. It is in a file that only this user can read, in memory where there
 * is such a place, and gone when this returns or the program ends.
 * @throws FleetError when the editor fails.
 */
export async function editSecret(context: EditorContext, name: string, content: Buffer): Promise<Buffer> {
  const { env, signal } = context;
  const place = await inMemory(env);
  if (place === null) {
    context.output.warning("this machine has no file system in memory: the secret is on its disk while you edit it");
  }
  const dir = mkdtempSync(path.join(place ?? tmpdir(), "bento-"));
  const remove = () => rmSync(dir, { recursive: true, force: true });
  // A terminal that is closed ends the program, without a word to anybody but this.
  const hangUp = () => process.exit(129);
  process.on("exit", remove);
  process.on("SIGHUP", hangUp);
  try {
    const file = path.join(dir, name);
    await writeFile(file, content, { mode: 0o600, flag: "wx" });
    const editor = env.VISUAL || env.EDITOR || "vi";
    const status = await show(editor, file);
    if (signal.aborted) throw new InterruptedError();
    if (status !== 0) {
      throw new FleetError(`the editor '${editor}' ended with status ${status}, and nothing was written`, {
        hint: "EDITOR says which one to use",
      });
    }
    return await readFile(file);
  } finally {
    process.off("SIGHUP", hangUp);
    process.off("exit", remove);
    remove();
  }
}

/** The user's own command for it, as a shell reads it: `code --wait`. It has the terminal while it runs. */
function show(editor: string, file: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn("sh", ["-c", `${editor} "$1"`, "sh", file], { stdio: "inherit" });
    child.on("error", reject);
    child.on("close", (status) => resolve(status ?? 1));
  });
}

/** A directory in memory, null where there is none: this user's own, or the one that all share. */
async function inMemory(env: NodeJS.ProcessEnv): Promise<string | null> {
  for (const dir of [env.XDG_RUNTIME_DIR, "/dev/shm"]) {
    const info = dir ? await statfs(dir).catch(() => undefined) : undefined;
    if (dir && info !== undefined && IN_MEMORY.includes(info.type)) return dir;
  }
  return null;
}
