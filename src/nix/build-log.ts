import { writeSync } from "node:fs";
import { open, readdir, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import { StringDecoder } from "node:string_decoder";
import { stripVTControlCharacters } from "node:util";
import { inert } from "../inert.ts";
import { makeDirectory } from "../platform/files.ts";
import type { FailedDerivation } from "./build.ts";
import type { Nix } from "./nix.ts";

/** A line without an end is cut here, in characters. */
const MAX_LINE = 1024 * 1024;

/** Text of a build without its colours, and without anything else that would act on a terminal. */
export function inertLog(text: string): string {
  return inert(stripVTControlCharacters(text.replaceAll("\r\n", "\n")));
}

/**
 * Writes the whole log of a build that failed to a file in `directory`, and gives the file's path. Where Nix keeps no logs, it
 * has the end that is known.
 */
export async function saveLog(nix: Nix, { drv, tail }: FailedDerivation, directory: string): Promise<string> {
  await makeDirectory(directory);
  const file = path.join(directory, `${path.basename(drv, ".drv")}.log`);
  const temporary = `${file}.new`;
  const handle = await open(temporary, "w", 0o644);
  try {
    const decoder = new StringDecoder("utf8");
    let rest = "";
    let size = 0;
    // At once, so that a long log waits on the disk, and not in memory.
    const write = (text: string) => {
      if (text !== "") size += writeSync(handle.fd, inertLog(text));
    };
    const { status } = await nix.run("nix-store", ["--read-log", drv], {
      keepNothing: true,
      onStdout: (data) => {
        rest += decoder.write(data);
        // By whole lines, so that no control sequence is cut in two.
        const end = rest.length > MAX_LINE ? rest.length : rest.lastIndexOf("\n") + 1;
        write(rest.slice(0, end));
        rest = rest.slice(end);
      },
    });
    write(rest + decoder.end());
    if (status !== 0 || size === 0) write(`${tail.join("\n")}\n`);
    await handle.close();
    await rename(temporary, file);
    return file;
  } catch (error) {
    await handle.close().catch(() => {});
    await rm(temporary, { force: true });
    throw error;
  }
}

/** Days after which a log is removed. */
const LIFETIME = 30;

/** Removes logs that nobody will look at any more. What isn't one, by its name, stays. */
export async function removeOldLogs(directory: string, now = Date.now()): Promise<void> {
  const names = await readdir(directory).catch(() => []);
  for (const name of names.filter((name) => /^[0-9a-z]{32}-.*\.log(?:\.new)?$/.test(name))) {
    const file = path.join(directory, name);
    const { mtimeMs } = await stat(file);
    if (now - mtimeMs > LIFETIME * 24 * 3600 * 1000) await rm(file, { force: true });
  }
}
