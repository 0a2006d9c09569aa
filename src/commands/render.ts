import path from "node:path";
import { FleetError } from "../errors.ts";
import { loadFleet } from "../fleet/load.ts";
import { renderedFiles, staleFiles } from "../fleet/rendered.ts";
import { writeFileAtomically } from "../platform/files.ts";
import type { FileResult, RenderDocument } from "../results.ts";

export interface RenderOptions {
  fleet: string;
}

/** Writes the files that are made from fleet.yaml: what the server is set up from, and what the agents are. */
export async function render(options: RenderOptions): Promise<RenderDocument> {
  return { version: 1, command: "render", files: await writeRendered(options.fleet) };
}

/** @throws FleetError when fleet.yaml is missing or wrong; nothing is written then. */
export async function writeRendered(dir: string): Promise<FileResult[]> {
  const fleet = await loadFleet(dir);
  if (fleet.file === null)
    throw new FleetError(`there is no fleet.yaml in ${dir} to render from`, { hint: "bento init makes one" });
  const stale = new Set(await staleFiles(fleet));
  const results: FileResult[] = [];
  for (const [file, text] of renderedFiles(fleet)) {
    if (stale.has(file)) await writeFileAtomically(path.join(dir, file), text);
    results.push({ file, status: stale.has(file) ? "written" : "unchanged" });
  }
  return results;
}
