import { lstatSync } from "node:fs";
import path from "node:path";
import { HostError } from "../errors.ts";
import type { NarNode, OpenFile } from "./nar.ts";
import { isWithin, parentOf, type TrackedFiles } from "./tracked.ts";

/** One thing of a release directory. `target` is relative to it; `source` a tracked file, relative to the repository's top. */
export type LayoutEntry =
  | { kind: "directory"; target: string }
  | { kind: "link"; target: string; source: string; text: string }
  | { kind: "text"; target: string; text: string }
  | { kind: "file"; target: string; source: string; executable: boolean };

/**
 * What a release directory is made of, before any of it is copied: tracked directories, each symlink that leaves the copied
 * directory replaced by what it points to.
 */
export class Layout {
  readonly entries: LayoutEntry[] = [];
  /** Every tracked file that it depends on, links that were followed too, relative to the repository's top. */
  readonly sources: string[] = [];
  /** `target`, a directory or file of the release, comes from `source`. */
  readonly #origins: { source: string; target: string }[] = [];
  /** Symlinks of the release, and the places in it that they lead to. */
  readonly #kept = new Map<string, string>();
  readonly #root: string;
  readonly #files: TrackedFiles;
  readonly #realDirs = new Map<string, boolean>();

  constructor(root: string, files: TrackedFiles) {
    this.#root = root;
    this.#files = files;
  }

  /** Where a file of the release comes from, relative to the repository's top. */
  originOf(file: string): string {
    let place = file;
    for (let hops = this.#kept.size; hops > 0; hops--) {
      const link = [...this.#kept.keys()].find((link) => isWithin(place, link));
      if (link === undefined) break;
      place = path.posix.join(this.#kept.get(link) ?? "", path.posix.relative(link, place));
    }
    let best = { source: "", target: "" };
    for (const origin of this.#origins) {
      if (isWithin(place, origin.target) && origin.target.length > best.target.length) best = origin;
    }
    return path.posix.join(best.source, path.posix.relative(best.target, place));
  }

  /** Names in one directory that are the same but for case: `[a, b]`, relative to the release. */
  caseTwins(): [string, string][] {
    const first = new Map<string, string>();
    return this.entries.flatMap(({ target }): [string, string][] => {
      const folded = target.toLowerCase();
      const twin = first.get(folded);
      if (twin === undefined) first.set(folded, target);
      return twin === undefined ? [] : [[twin, target]];
    });
  }

  /** A file that no file of the repository stands for. */
  text(target: string, text: string): void {
    this.entries.push({ kind: "text", target, text });
  }

  /** `include`: only what is at or below these paths. `through`: the directories that symlinks led to on the way here. */
  async directory(
    source: string,
    target: string,
    include: readonly string[] | null,
    through: string[] = [],
  ): Promise<void> {
    if (through.includes(source)) {
      throw new HostError(
        `a symlink leads back to ${source || "the repository"}, which it is in: the tree would never end`,
        {
          at: { file: source || "." },
        },
      );
    }
    this.#origins.push({ source, target });
    await this.#directory(source, target, source, include, [...through, source]);
  }

  async #directory(
    source: string,
    target: string,
    within: string,
    include: readonly string[] | null,
    through: string[],
  ): Promise<void> {
    this.entries.push({ kind: "directory", target });
    for (const name of this.#files.list(source)) {
      const file = source === "" ? name : `${source}/${name}`;
      if (!isIncluded(file, include)) continue;
      await this.#entry(file, `${target}/${name}`, within, include, through);
    }
  }

  async #entry(
    file: string,
    target: string,
    within: string,
    include: readonly string[] | null,
    through: string[],
  ): Promise<void> {
    if (file.includes("\ufffd")) {
      throw new HostError(`${file}: its name is not valid UTF-8`, { at: { file }, hint: "git mv it to another name" });
    }
    switch (this.#files.mode(file)) {
      case "directory":
        return this.#directory(file, target, within, include, through);
      case "120000": {
        this.sources.push(file);
        this.#realDirectory(parentOf(file));
        const resolved = await this.#files.resolve(
          file,
          (place) => isWithin(place, within) && isIncluded(place, include),
        );
        if (resolved.stays) {
          const text = await this.#files.linkTarget(file);
          this.#kept.set(target, path.posix.join(path.posix.dirname(target), text));
          this.entries.push({ kind: "link", target, source: file, text });
          return;
        }
        if (this.#files.mode(resolved.path) === "directory")
          return this.directory(resolved.path, target, null, through);
        if (this.#files.mode(resolved.path) === "160000") throw submodule(resolved.path);
        this.#origins.push({ source: resolved.path, target });
        return this.#file(resolved.path, target);
      }
      case "160000":
        throw submodule(file);
      default:
        return this.#file(file, target);
    }
  }

  #file(file: string, target: string): void {
    this.sources.push(file);
    this.#realDirectory(parentOf(file));
    this.entries.push({ kind: "file", target, source: file, executable: this.#files.mode(file) === "100755" });
  }

  /**
   * Throws where a part of a tracked directory's path is a symlink on disk. Whether there is such a directory is its result:
   * what is missing is found when it is read.
   */
  #realDirectory(dir: string): boolean {
    if (dir === "") return true;
    const known = this.#realDirs.get(dir);
    if (known !== undefined) return known;
    const info = this.#realDirectory(parentOf(dir)) ? lstatSync(path.join(this.#root, dir), OR_NONE) : undefined;
    if (info?.isSymbolicLink()) {
      throw new HostError(`${dir} is a directory to git, but a symlink on disk`, { at: { file: dir } });
    }
    const isThere = info?.isDirectory() ?? false;
    this.#realDirs.set(dir, isThere);
    return isThere;
  }
}

const OR_NONE = { throwIfNoEntry: false } as const;

/** The release directory of these entries, without making it. `open` opens a tracked file. */
export function nodeOf(entries: readonly LayoutEntry[], open: (source: string) => OpenFile): NarNode {
  const children = new Map<string, [Buffer, NarNode][]>([["", []]]);
  for (const entry of entries) {
    const { target } = entry;
    if (entry.kind === "directory") children.set(target, []);
    children.get(parentOf(target))?.push([Buffer.from(path.posix.basename(target)), leafOf(entry, children, open)]);
  }
  return { kind: "directory", entries: () => children.get("") ?? [] };
}

function leafOf(
  entry: LayoutEntry,
  children: ReadonlyMap<string, [Buffer, NarNode][]>,
  open: (source: string) => OpenFile,
): NarNode {
  switch (entry.kind) {
    case "directory":
      return { kind: "directory", entries: () => children.get(entry.target) ?? [] };
    case "link":
      return { kind: "link", target: Buffer.from(entry.text) };
    case "text":
      return { kind: "text", bytes: Buffer.from(entry.text) };
    case "file":
      return { kind: "file", executable: entry.executable, name: entry.source, open: () => open(entry.source) };
  }
}

/** Whether there is anything of `file` in a copy of what `include` names: it, a part of it, or what it is a part of. */
function isIncluded(file: string, include: readonly string[] | null): boolean {
  return include === null || include.some((place) => isWithin(file, place) || isWithin(place, file));
}

function submodule(file: string): HostError {
  return new HostError(`${file} is a git submodule, which is not staged`, {
    at: { file },
    hint: "use it as a flake input, or take its files into the repository",
  });
}
