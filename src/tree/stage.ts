import { constants } from "node:fs";
import { mkdir, open, realpath, symlink } from "node:fs/promises";
import path from "node:path";
import { pipeline } from "node:stream/promises";
import { FleetError, HostError } from "../errors.ts";
import type { Fleet, Host } from "../fleet/fleet.ts";
import type { Repository } from "../platform/git.ts";
import { isWithin, parentOf, TrackedFiles } from "./tracked.ts";

/** A host's release on disk: what is evaluated, and what is shipped, which are never two different things. */
export interface StagedRelease {
  /** The release directory: `tree/`, and `secrets/` where the host has any. */
  dir: string;
  /** `tree/`. */
  treeDir: string;
  /** Where a file of the tree comes from, through symlinks: relative to the fleet. Takes a path relative to the tree. */
  origin(file: string): string;
  /** Every tracked file it is made of, relative to the repository's top. */
  sources: readonly string[];
}

/** More than any configuration has; a release is held in memory while it is sent. */
const MAX_BYTES = 1024 ** 3;

/** Makes releases of hosts below a temporary directory. Hosts whose releases are the same share one. */
export class Stager {
  readonly #root: string;
  readonly #files: TrackedFiles;
  /** The fleet's directory relative to the repository's top. */
  readonly #prefix: string;
  readonly #into: string;
  readonly #staged = new Map<string, Promise<StagedRelease>>();

  private constructor(root: string, files: TrackedFiles, prefix: string, into: string) {
    this.#root = root;
    this.#files = files;
    this.#prefix = prefix;
    this.#into = into;
  }

  /** Reads what git tracks in the repository; `into` is a directory that the caller removes. */
  static async open(repository: Repository, fleet: Pick<Fleet, "dir">, into: string): Promise<Stager> {
    const entries = await repository.tracked();
    const prefix = path.relative(repository.root, await realpath(fleet.dir));
    if (prefix.startsWith("..")) throw new FleetError(`${fleet.dir} is outside the repository ${repository.root}`);
    return new Stager(repository.root, new TrackedFiles(repository.root, entries), prefix, into);
  }

  /**
   * The release of one host, made when it is first asked for.
   * @throws HostError when the tree can't be made as it is.
   */
  stage(host: Host): Promise<StagedRelease> {
    const secrets = this.#at(`secrets/${host.name}`);
    const hasSecrets = this.#files.mode(secrets) === "directory";
    const key = JSON.stringify([host.path, host.include, hasSecrets ? host.name : null]);
    const known = this.#staged.get(key);
    if (known) return known;
    const staged = this.#make(host, hasSecrets ? secrets : null, path.join(this.#into, String(this.#staged.size)));
    this.#staged.set(key, staged);
    return staged;
  }

  #at(place: string): string {
    const joined = path.posix.join(this.#prefix, place);
    return joined === "." ? "" : joined;
  }

  async #make(host: Host, secrets: string | null, dir: string): Promise<StagedRelease> {
    const source = this.#at(host.path);
    if (this.#files.mode(source) !== "directory") {
      throw new HostError(`git tracks no file in ${host.path}/`, {
        at: { file: host.path },
        hint: `git add ${host.path}`,
      });
    }
    const include = host.include?.map((place) => path.posix.join(source, place)) ?? null;
    const nowhere = include?.find((place) => this.#files.mode(place) === undefined);
    if (nowhere !== undefined) {
      throw new HostError(`include: git tracks nothing at ${path.posix.relative(source, nowhere)}`, {
        hint: `git add ${nowhere}, or take it out of the host's include`,
      });
    }
    const treeDir = path.join(dir, "tree");
    await mkdir(dir, { recursive: true });
    const copy = new Copy(this.#root, this.#files);
    try {
      await copy.directory(source, treeDir, include);
      if (secrets !== null) await copy.directory(secrets, path.join(dir, "secrets"), null);
    } catch (error) {
      throw error instanceof HostError ? this.#placed(error) : error;
    }
    return {
      dir,
      treeDir,
      sources: copy.sources,
      origin: (file) => this.#inFleet(copy.originOf(path.join(treeDir, file))),
    };
  }

  #inFleet(file: string): string {
    return path.posix.relative(this.#prefix, file) || ".";
  }

  /** A copy's error with its place relative to the fleet, as everybody else has it. */
  #placed(error: HostError): HostError {
    const { message, at, hint, cause } = error;
    return new HostError(message, {
      ...(at === undefined ? {} : { at: { ...at, file: this.#inFleet(at.file) } }),
      ...(hint === undefined ? {} : { hint }),
      cause,
    });
  }
}

/** Copies tracked directories, each symlink that leaves the copied directory replaced by what it points to. */
class Copy {
  readonly sources: string[] = [];
  /** `target`, a directory or file of the copy, was made from `source`. */
  readonly #origins: { source: string; target: string }[] = [];
  /** Symlinks of the copy, and the places in it that they lead to. */
  readonly #kept = new Map<string, string>();
  readonly #root: string;
  readonly #files: TrackedFiles;
  readonly #realDirs = new Map<string, Promise<void>>();
  #bytes = 0;

  constructor(root: string, files: TrackedFiles) {
    this.#root = root;
    this.#files = files;
  }

  /** Where a file of the copy comes from, relative to the repository's top. */
  originOf(file: string): string {
    let place = file;
    for (let hops = this.#kept.size; hops > 0; hops--) {
      const link = [...this.#kept.keys()].find((link) => isWithin(place, link));
      if (link === undefined) break;
      place = path.join(this.#kept.get(link) ?? "", path.relative(link, place));
    }
    let best = { source: "", target: "" };
    for (const origin of this.#origins) {
      if (isWithin(place, origin.target) && origin.target.length > best.target.length) best = origin;
    }
    return path.posix.join(best.source, path.relative(best.target, place));
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
    await mkdir(target, { mode: 0o755 });
    for (const name of this.#files.list(source)) {
      const file = source === "" ? name : `${source}/${name}`;
      if (!isIncluded(file, include)) continue;
      await this.#entry(file, path.join(target, name), within, include, through);
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
        await this.#realDirectory(parentOf(file));
        const resolved = await this.#files.resolve(
          file,
          (place) => isWithin(place, within) && isIncluded(place, include),
        );
        if (resolved.stays) {
          const text = await this.#files.linkTarget(file);
          this.#kept.set(target, path.resolve(path.dirname(target), text));
          return symlink(text, target);
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

  async #file(file: string, target: string): Promise<void> {
    this.sources.push(file);
    await this.#realDirectory(parentOf(file));
    const source = await open(
      path.join(this.#root, file),
      // A pull request may put a fifo where git knows a file: opening must not wait for a writer, or follow a link.
      constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
    ).catch((cause: NodeJS.ErrnoException) => {
      throw new HostError(`${file} is tracked by git, but can't be read as a file (${cause.code})`, {
        at: { file },
        hint: `restore it (git checkout -- ${file}) or take it out (git rm ${file})`,
        cause,
      });
    });
    await using _ = source;
    const info = await source.stat();
    if (!info.isFile()) throw new HostError(`${file} is tracked by git, but is no regular file`, { at: { file } });
    this.#bytes += info.size;
    if (this.#bytes > MAX_BYTES) {
      throw new HostError(`the tree is larger than ${MAX_BYTES / 1024 ** 2} MiB, at ${file}`, {
        at: { file },
        hint: "fetch large files from a server (pkgs.fetchurl) instead of keeping them in git",
      });
    }
    const mode = this.#files.mode(file) === "100755" ? 0o755 : 0o644;
    const copy = await open(target, "wx", mode);
    await pipeline(source.createReadStream({ autoClose: false }), copy.createWriteStream());
  }

  /** Throws unless each part of a tracked directory's path is a directory on disk as well, and not a link to another. */
  #realDirectory(dir: string): Promise<void> {
    const known = this.#realDirs.get(dir);
    if (known) return known;
    const checked = realpath(path.join(this.#root, dir)).then((real) => {
      if (real !== path.join(this.#root, dir)) {
        throw new HostError(`${dir} is a directory to git, but a symlink on disk`, { at: { file: dir } });
      }
    });
    this.#realDirs.set(dir, checked);
    return checked;
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
