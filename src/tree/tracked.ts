import { closeSync, constants, fstatSync, openSync } from "node:fs";
import { readlink } from "node:fs/promises";
import path from "node:path";
import { HostError } from "../errors.ts";
import type { TrackedEntry } from "../platform/git.ts";
import type { OpenFile } from "./nar.ts";

type Mode = TrackedEntry["mode"] | "directory";

/** What a symlink stands for. `stays`: it means the same in a copy that has only the files for which `copied` is true. */
export interface Resolved {
  path: string;
  stays: boolean;
}

interface Walk {
  /** Symlinks followed so far, all that one leads to counted. */
  hops: { count: number };
  stays: boolean;
}

/** As many as Linux follows. */
const MAX_HOPS = 40;

/**
 * The files git tracks, as a file system: the only one that staging looks at, so that what git doesn't know can't be reached,
 * by whatever links. Paths are relative to the repository's top, "" for itself.
 */
export class TrackedFiles {
  readonly #root: string;
  readonly #modes = new Map<string, Mode>([["", "directory"]]);
  readonly #blobs = new Map<string, string>();
  readonly #children = new Map<string, string[]>([["", []]]);

  constructor(root: string, entries: readonly TrackedEntry[]) {
    this.#root = root;
    for (const entry of entries) {
      this.#add(entry.path, entry.mode);
      this.#blobs.set(entry.path, entry.blob);
    }
  }

  #add(file: string, mode: Mode): void {
    if (this.#modes.has(file)) return;
    this.#modes.set(file, mode);
    if (mode === "directory") this.#children.set(file, []);
    const parent = parentOf(file);
    this.#add(parent, "directory");
    this.#children.get(parent)?.push(file.slice(file.lastIndexOf("/") + 1));
  }

  mode(file: string): Mode | undefined {
    return this.#modes.get(file);
  }

  /** Git's name for the content of a file, as the index has it. */
  blob(file: string): string | undefined {
    return this.#blobs.get(file);
  }

  /** The names in a directory. */
  list(dir: string): readonly string[] {
    return this.#children.get(dir) ?? [];
  }

  /** The link's own text. */
  async linkTarget(link: string): Promise<string> {
    try {
      return await readlink(path.join(this.#root, link));
    } catch (cause) {
      throw new HostError(`${link} is a symlink to git, but not on disk`, {
        at: { file: link },
        hint: `git checkout -- ${link}`,
        cause,
      });
    }
  }

  /**
   * Follows a symlink hop by hop over tracked files. `copied` tells which files and directories will be beside the link in
   * the copy.
   * @throws HostError when it leaves the repository, loops, or ends at something git doesn't track.
   */
  async resolve(link: string, copied: (file: string) => boolean): Promise<Resolved> {
    const target = await this.linkTarget(link);
    const walk: Walk = { hops: { count: 0 }, stays: true };
    const end = await this.#walk(link, parentOf(link), target, copied, walk);
    if (this.#modes.get(end) === undefined) throw nothingThere(link, target, end);
    return { path: end, stays: walk.stays };
  }

  async #walk(
    link: string,
    start: string,
    target: string,
    copied: (file: string) => boolean,
    walk: Walk,
  ): Promise<string> {
    if (target.startsWith("/")) {
      throw new HostError(`${link} -> ${target}: an absolute symlink means another place on the host`, {
        at: { file: link },
        hint: "make it a relative link to something in the repository",
      });
    }
    let at = start;
    let throughLink = false;
    for (const part of target.split("/")) {
      if (part === "" || part === ".") continue;
      if (this.#modes.get(at) !== "directory") throw nothingThere(link, target, at);
      if (part === "..") {
        if (at === "") {
          throw new HostError(`${link} -> ${target}: it leaves the repository`, {
            at: { file: link },
            hint: "bring what it points to into the repository",
          });
        }
        at = parentOf(at);
        // In the copy the link before it will be a directory, whose `..` is another.
        if (throughLink) walk.stays = false;
      } else {
        at = at === "" ? part : `${at}/${part}`;
      }
      if (!throughLink && !copied(at)) walk.stays = false;
      if (this.#modes.get(at) === "120000") {
        walk.hops.count += 1;
        if (walk.hops.count > MAX_HOPS)
          throw new HostError(`${link} -> ${target}: a loop of symlinks`, { at: { file: link } });
        // Where this second link leads says nothing of whether the first one stays: it is copied, or kept, by itself.
        at = await this.#walk(link, parentOf(at), await this.linkTarget(at), copied, { ...walk, stays: true });
        throughLink = true;
      }
    }
    return at;
  }
}

function nothingThere(link: string, target: string, end: string): HostError {
  return new HostError(`${link} -> ${target}: git tracks nothing there`, {
    at: { file: link },
    hint: `git add ${end || target}`,
  });
}

export function parentOf(file: string): string {
  return file.slice(0, Math.max(file.lastIndexOf("/"), 0));
}

/** Whether `file` is `dir` or below it. */
export function isWithin(file: string, dir: string): boolean {
  return dir === "" || file === dir || file.startsWith(`${dir}/`);
}

/**
 * Opens a regular file that git tracks: on disk, a pull request may have put a fifo or a link in its place. The caller closes it.
 * @throws HostError when it is no such file.
 */
export function openTracked(root: string, file: string): OpenFile {
  // Opening must not wait for a writer, or follow a link.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const unusable = (cause: unknown) =>
    new HostError(`${file} is tracked by git, but can't be read as a file (${(cause as NodeJS.ErrnoException).code})`, {
      at: { file },
      hint: `restore it (git checkout -- ${file}) or take it out (git rm ${file})`,
      cause,
    });
  let descriptor: number;
  try {
    descriptor = openSync(`${root}/${file}`, flags);
  } catch (cause) {
    throw unusable(cause);
  }
  const info = fstatSync(descriptor);
  if (info.isFile()) return { descriptor, size: info.size };
  closeSync(descriptor);
  throw new HostError(`${file} is tracked by git, but is no regular file`, { at: { file } });
}
