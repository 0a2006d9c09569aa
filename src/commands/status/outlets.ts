import path from "node:path";
import { UnavailableError } from "../../errors.ts";
import { writeFileAtomically } from "../../platform/files.ts";
import { renderMetrics } from "../../render/metrics.ts";
import { statusPage } from "../../render/status-page.ts";
import type { StatusDocument } from "../../results.ts";
import type { Context } from "../context.ts";
import { defaultStateFile, notify } from "./notify.ts";

/** Where a status goes beside the terminal. */
export interface StatusOutlets {
  /** A directory for the page; made when it isn't there. */
  html?: string;
  /** A file for Prometheus. */
  metrics?: string;
  /** A command for each host that got into trouble or out of it. */
  notify?: string;
  /** Where it is remembered who was told what. */
  notifyState?: string;
}

/**
 * Writes what was asked for of a status, each file whole or not at all, and tells who wants to be told.
 * @throws UnavailableError when a file can't be written, or the command failed.
 */
export async function deliverStatus(
  context: Context,
  document: StatusDocument,
  fleet: string,
  { html, metrics, notify: command, notifyState }: StatusOutlets,
): Promise<void> {
  const at = (...place: string[]) => path.resolve(context.cwd, ...place);
  if (html !== undefined) await write(at(html, "index.html"), statusPage(document, path.basename(fleet)));
  if (metrics !== undefined) await write(at(metrics), renderMetrics(document));
  if (command !== undefined) {
    const file = notifyState === undefined ? defaultStateFile(context.env, fleet) : at(notifyState);
    await notify(context, document, { command, file });
  }
}

async function write(file: string, text: string): Promise<void> {
  try {
    await writeFileAtomically(file, text);
  } catch (cause) {
    throw new UnavailableError(`${file} can't be written (${(cause as NodeJS.ErrnoException).code})`, { cause });
  }
}
