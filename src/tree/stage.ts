import { createHash } from "node:crypto";
import { closeSync, createReadStream } from "node:fs";
import { mkdir, realpath } from "node:fs/promises";
import path from "node:path";
import { FleetError, HostError } from "../errors.ts";
import type { Fleet, Host } from "../fleet/fleet.ts";
import type { Repository, TrackedEntry } from "../platform/git.ts";
import { Layout, type LayoutEntry, nodeOf } from "./layout.ts";
import { type NarNode, onDisk } from "./nar.ts";
import { openTracked, TrackedFiles } from "./tracked.ts";
import { MAX_BYTES, tooLarge, writeRelease } from "./write.ts";

/** A host's release on disk: what is evaluated, and what is shipped, which are never two different things. */
export interface StagedRelease {
  /** The release directory: `tree/`, `secrets/` where the host has any, and PIN_FILE where its nixpkgs is pinned. */
  dir: string;
  /** `tree/`. */
  treeDir: string;
  /** Where a file of the tree comes from, through symlinks: relative to the fleet. Takes a path relative to the tree. */
  origin(file: string): string;
  /** Every tracked file it is made of, relative to the repository's top. */
  sources: readonly string[];
}

/** A host's release as it would be on disk. */
export interface ReleaseContents {
  /** Hosts for which it is the same have the same release. */
  key: string;
  /** Every tracked file that the host's system is made of, relative to the repository's top. */
  sources: readonly string[];
  /** Nothing is in it, as where a host is delivered its system alone, and has no secrets. */
  isEmpty: boolean;
  /** The release directory; to be asked for anew each time it is read. */
  root(): NarNode;
}

/** In a release, the nixpkgs that a host without a flake is built with: `{ url, hash }`. */
const PIN_FILE = "nixpkgs.json";
/** In a release, the directory of the host's secrets. */
const SECRETS = "secrets";

/** Makes releases of hosts below a temporary directory. Hosts whose releases are the same share one. */
export class Stager {
  readonly #root: string;
  readonly #files: TrackedFiles;
  /** The fleet's directory relative to the repository's top. */
  readonly #prefix: string;
  readonly #into: string;
  /** What on disk is another than in git's index, relative to the repository's top. */
  readonly #modified: ReadonlySet<string>;
  readonly #layouts = new Map<string, Promise<Layout>>();
  readonly #staged = new Map<string, Promise<StagedRelease>>();

  private constructor(root: string, files: TrackedFiles, prefix: string, into: string, modified: ReadonlySet<string>) {
    this.#root = root;
    this.#files = files;
    this.#prefix = prefix;
    this.#into = into;
    this.#modified = modified;
  }

  /** Reads what git tracks in the repository; `into` is a directory that the caller removes; `untracked` is staged as well. */
  static async open(
    repository: Repository,
    fleet: Pick<Fleet, "dir">,
    into: string,
    untracked: readonly TrackedEntry[] = [],
  ): Promise<Stager> {
    const [entries, modified] = await Promise.all([repository.tracked(), repository.modified()]);
    const prefix = path.relative(repository.root, await realpath(fleet.dir));
    if (prefix.startsWith("..")) throw new FleetError(`${fleet.dir} is outside the repository ${repository.root}`);
    return new Stager(
      repository.root,
      new TrackedFiles(repository.root, [...entries, ...untracked]),
      prefix,
      into,
      new Set([...modified, ...untracked.map((entry) => entry.path)]),
    );
  }

  /**
   * What a host's release is made of, as a hash: two hosts, or two commits, for which it is the same have the same release.
   * Nothing is copied for it, and of what is as in git's index not even read.
   * @throws HostError when the release can't be made as it is.
   */
  async identify(host: Host): Promise<string> {
    const hash = createHash("sha256");
    for (const entry of (await this.#layout(host)).entries) {
      hash.update(`${JSON.stringify([entry, entry.kind === "file" ? await this.#contentOf(entry.source) : null])}\n`);
    }
    return hash.digest("hex");
  }

  /** The files that a host's tree is made of, relative to the fleet. */
  async sources(host: Host): Promise<string[]> {
    return (await this.#layout(host)).sources.map((file) => this.#inFleet(file));
  }

  /** The names of a host's secrets: of the files `secrets/NAME.age` in its release. */
  async secrets(host: Host): Promise<string[]> {
    const { entries } = await this.#layout(host);
    return entries.flatMap(({ kind, target }) => {
      const name = kind === "file" ? /^secrets\/([^/]+)\.age$/.exec(target)?.[1] : undefined;
      return name === undefined ? [] : [name];
    });
  }

  /** What is staged as it is, and may be another thing elsewhere: for people. */
  async warnings(host: Host): Promise<string[]> {
    const layout = await this.#layout(host);
    const twins = layout.caseTwins().map((pair) => pair.map((file) => this.#inFleet(layout.originOf(file))));
    return twins.map(
      ([one, other]) =>
        `${one} and ${other} differ only in case: where file names are folded (macOS), a clone has only one of them`,
    );
  }

  /**
   * The release of one host, made when it is first asked for.
   * @throws HostError when the release can't be made as it is.
   */
  stage(host: Host): Promise<StagedRelease> {
    const key = this.#key(host);
    const known = this.#staged.get(key);
    if (known) return known;
    const staged = this.#stage(host, path.join(this.#into, String(this.#staged.size)));
    this.#staged.set(key, staged);
    return staged;
  }

  /**
   * What a host's release is made of: of the release, where it was made already, which is what was evaluated; else of the
   * tracked files themselves, and nothing is copied. A host that is delivered its system alone gets its secrets, and nothing
   * else of what was evaluated.
   * @throws HostError when the release can't be made as it is; so does reading it.
   */
  async contents(host: Host): Promise<ReleaseContents> {
    const key = this.#key(host);
    const { entries, sources } = await this.#layout(host);
    if (host.deliver === "system") {
      const secrets = entries.filter(({ target }) => target.split("/", 1)[0] === SECRETS);
      const isEmpty = secrets.length === 0;
      return { key: `${key} system`, sources, isEmpty, root: () => this.#nodeOf(secrets) };
    }
    const staged = await this.#staged.get(key);
    return { key, sources, isEmpty: false, root: () => (staged ? onDisk(staged.dir) : this.#nodeOf(entries)) };
  }

  /** The release directory that would be written. */
  #nodeOf(entries: readonly LayoutEntry[]): NarNode {
    let room = MAX_BYTES;
    const open = (source: string) => {
      try {
        const opened = openTracked(this.#root, source);
        room -= opened.size;
        if (room >= 0) return opened;
        closeSync(opened.descriptor);
        throw tooLarge(source);
      } catch (error) {
        throw error instanceof HostError ? this.#placed(error) : error;
      }
    };
    return nodeOf(entries, open);
  }

  #layout(host: Host): Promise<Layout> {
    const key = this.#key(host);
    const known = this.#layouts.get(key);
    if (known) return known;
    const layout = this.#layOut(host);
    this.#layouts.set(key, layout);
    return layout;
  }

  /** Hosts for which it is the same have the same release. */
  #key(host: Host): string {
    return JSON.stringify([host.path, host.include, host.nixpkgs, this.#secretsOf(host)]);
  }

  /** The directory with a host's secrets, null where there is none. */
  #secretsOf(host: Host): string | null {
    const secrets = this.#at(`secrets/${host.name}`);
    return this.#files.mode(secrets) === "directory" ? secrets : null;
  }

  #at(place: string): string {
    const joined = path.posix.join(this.#prefix, place);
    return joined === "." ? "" : joined;
  }

  async #layOut(host: Host): Promise<Layout> {
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
    const layout = new Layout(this.#root, this.#files);
    const secrets = this.#secretsOf(host);
    try {
      await layout.directory(source, "tree", include);
      if (secrets !== null) await layout.directory(secrets, SECRETS, null);
      // The host builds with what it was checked with.
      if (host.nixpkgs !== null) layout.text(PIN_FILE, `${JSON.stringify(host.nixpkgs)}\n`);
    } catch (error) {
      throw error instanceof HostError ? this.#placed(error) : error;
    }
    return layout;
  }

  async #stage(host: Host, dir: string): Promise<StagedRelease> {
    const layout = await this.#layout(host);
    await mkdir(dir, { recursive: true });
    try {
      writeRelease(layout.entries, this.#root, dir);
    } catch (error) {
      throw error instanceof HostError ? this.#placed(error) : error;
    }
    return {
      dir,
      treeDir: path.join(dir, "tree"),
      sources: layout.sources,
      origin: (file) => this.#inFleet(layout.originOf(path.posix.join("tree", file))),
    };
  }

  /** What stands for a file's content: git's name of it, or, where the disk has something else, its hash. */
  async #contentOf(file: string): Promise<string> {
    const known = this.#files.blob(file);
    if (known !== undefined && !this.#modified.has(file)) return known;
    const { descriptor, size } = openTracked(this.#root, file);
    const hash = createHash("sha256");
    try {
      if (size > MAX_BYTES) throw tooLarge(file);
      for await (const chunk of createReadStream("", { fd: descriptor, autoClose: false }))
        hash.update(chunk as Buffer);
    } finally {
      closeSync(descriptor);
    }
    return hash.digest("hex");
  }

  #inFleet(file: string): string {
    return path.posix.relative(this.#prefix, file) || ".";
  }

  /** An error with its place relative to the fleet, as everybody else has it. */
  #placed(error: HostError): HostError {
    const { message, at, hint, cause } = error;
    return new HostError(message, {
      ...(at === undefined ? {} : { at: { ...at, file: this.#inFleet(at.file) } }),
      ...(hint === undefined ? {} : { hint }),
      cause,
    });
  }
}
