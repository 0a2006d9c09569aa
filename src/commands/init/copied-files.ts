import { createHash } from "node:crypto";
import { lstat, readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { packageRoot, packageVersion } from "../../platform/package.ts";
import { workflowCopies } from "../../workflows/copies.ts";
import { originalWorkflows } from "../original-workflows.ts";

/** What is copied from Bento's own utils/ into a fleet's. */
export const UTILS = ["bento.nix", "bento", "fleet.nix", "runner.nix", "agent"] as const;

/** The module of a host and its agent are made for each other, and so is all that either of them is made of. */
const OF_MACHINES: readonly string[] = ["bento.nix", "bento", "agent"];

/** One file that a fleet has of Bento's. */
export interface CopiedFile {
  /** Relative to the fleet, with `/` between the parts: `../../.github/…` for the workflows of a fleet within a repository. */
  file: string;
  content: Buffer;
  executable: boolean;
  /** What it can't be parted from: files of one part are of one version, or don't work. */
  part: string;
}

/** All that `bento init` copies. `place`: the fleet's directory in its repository, `.` for all of it. */
export async function copiedFiles(place: string): Promise<CopiedFile[]> {
  const utils = path.join(packageRoot(), "utils");
  const shipped = await Promise.all(UTILS.map((name) => filesIn(utils, name)));
  const workflows = workflowCopies({ version: packageVersion(), fleet: place, originals: await originalWorkflows() });
  return [
    ...shipped.flat(),
    ...Object.entries(workflows).map(([file, text]) => {
      const here = path.posix.relative(place, file);
      return { file: here, content: Buffer.from(text), executable: false, part: here };
    }),
  ];
}

async function filesIn(utils: string, name: string): Promise<CopiedFile[]> {
  const info = await lstat(path.join(utils, name));
  if (info.isDirectory()) {
    const names = (await readdir(path.join(utils, name))).sort();
    return (await Promise.all(names.map((one) => filesIn(utils, `${name}/${one}`)))).flat();
  }
  const file = `utils/${name}`;
  return [
    {
      file,
      content: await readFile(path.join(utils, name)),
      executable: (info.mode & 0o100) !== 0,
      part: partOf(file),
    },
  ];
}

/** The part that a file is of, also one that only an older Bento had. */
export function partOf(file: string): string {
  const [, name = ""] = /^utils\/([^/]+)/.exec(file) ?? [];
  return OF_MACHINES.includes(name) ? "utils/bento.nix" : file;
}

/** The directory of Bento's that a file is in, or itself: utils/agent, .github/workflows. */
export function placeOf(file: string): string {
  return file.replace(/(?<=^(?:\.\.\/)*(?:utils|\.github)\/[^/]+)\/.*/, "");
}

/** As git knows a file, by mode and blob: with `git cat-file blob` a fleet's repository gives back what was copied. */
export function idOf({ content, executable }: Pick<CopiedFile, "content" | "executable">): string {
  const blob = createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex");
  return `${executable ? "100755" : "100644"} ${blob}`;
}

/** What there is at a file's place. */
export type Present = { kind: "missing" } | { kind: "file"; id: string } | { kind: "link"; at: string };

/** Looks without following links below `top`: what is behind one isn't this fleet's. */
export async function presentAt(top: string, file: string): Promise<Present> {
  const parts = path.relative(top, file).split(path.sep);
  for (const [index] of parts.entries()) {
    const place = path.join(top, ...parts.slice(0, index + 1));
    const info = await lstat(place).catch(missing);
    if (info === null) return { kind: "missing" };
    if (info.isSymbolicLink()) return { kind: "link", at: place };
    if (index === parts.length - 1) {
      // A directory, or whatever else it is, is no copy of a file.
      if (!info.isFile()) return { kind: "file", id: "" };
      return { kind: "file", id: idOf({ content: await readFile(file), executable: (info.mode & 0o100) !== 0 }) };
    }
  }
  return { kind: "missing" };
}

function missing(error: NodeJS.ErrnoException): null {
  if (error.code === "ENOENT" || error.code === "ENOTDIR") return null;
  throw error;
}
