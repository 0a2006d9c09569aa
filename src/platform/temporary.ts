import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";

export interface TemporaryDirectory extends AsyncDisposable {
  readonly path: string;
}

/** Makes a directory of mode 0700 that is removed when it goes out of scope: `await using dir = await temporaryDirectory()`. */
export async function temporaryDirectory(): Promise<TemporaryDirectory> {
  // RUNNER_TEMP is emptied by GitHub's runner after each job, also after one that was killed.
  const dir = await mkdtemp(path.join(process.env.RUNNER_TEMP || tmpdir(), "bento-"));
  return {
    path: dir,
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true, maxRetries: 3 }),
  };
}

/** Writes a secret to a file of mode 0600 in a directory of its own; both go with the scope. */
export async function temporarySecretFile(name: string, content: string): Promise<TemporaryDirectory> {
  const dir = await temporaryDirectory();
  const file = path.join(dir.path, name);
  await writeFile(file, content.endsWith("\n") ? content : `${content}\n`, { mode: 0o600, flag: "wx" });
  return { path: file, [Symbol.asyncDispose]: () => dir[Symbol.asyncDispose]() };
}
