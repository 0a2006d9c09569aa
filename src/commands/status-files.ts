import path from "node:path";
import { UnavailableError } from "../errors.ts";
import { writeFileAtomically } from "../platform/files.ts";
import { statusPage } from "../render/status-page.ts";
import type { StatusDocument } from "../results.ts";
import type { Context } from "./context.ts";

export interface StatusFiles {
  /** A directory for the page; made when it isn't there. */
  html?: string;
}

/** Writes what was asked for of a status, each file whole or not at all. @throws UnavailableError when one can't be written. */
export async function writeStatus(
  { cwd }: Pick<Context, "cwd">,
  document: StatusDocument,
  fleet: string,
  { html }: StatusFiles,
): Promise<void> {
  if (html !== undefined) {
    await write(path.resolve(cwd, html, "index.html"), statusPage(document, path.basename(fleet)));
  }
}

async function write(file: string, text: string): Promise<void> {
  try {
    await writeFileAtomically(file, text);
  } catch (cause) {
    throw new UnavailableError(`${file} can't be written (${(cause as NodeJS.ErrnoException).code})`, { cause });
  }
}
