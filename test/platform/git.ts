import { execFileSync } from "node:child_process";
import { appendFile, mkdir } from "node:fs/promises";
import path from "node:path";
import { type Entry, scratch, writeTree } from "./scratch.ts";

export type GitRepository = Awaited<ReturnType<typeof gitRepository>>;

/** A new git repository with `files` committed, in a directory that goes with the scope. */
export async function gitRepository(files: Readonly<Record<string, Entry>> = {}) {
  const temporary = await scratch();
  const dir = path.join(temporary.path, "repository");
  await mkdir(dir);
  const git = (...args: string[]) => gitIn(dir, ...args);
  git("init", "-q", "-b", "main");
  await appendFile(
    path.join(dir, ".git/config"),
    "[user]\n\tname = Ada\n\temail = ada@example.org\n[core]\n\tautocrlf = false\n[gc]\n\tauto = 0\n",
  );
  const commit = async (more: Readonly<Record<string, Entry>>, message = "change") => {
    await writeTree(dir, more);
    git("add", "-A");
    git("commit", "-q", "--allow-empty", "-m", message);
  };
  const head = () => git("rev-parse", "HEAD").trim();
  if (Object.keys(files).length > 0) await commit(files, "first");
  return { dir, git, commit, head, [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose]() };
}

export function gitIn(dir: string, ...args: string[]): string {
  return execFileSync("git", ["-C", dir, ...args], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}
