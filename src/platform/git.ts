import { realpathSync } from "node:fs";
import { lstat } from "node:fs/promises";
import path from "node:path";
import { type SimpleGit, simpleGit } from "simple-git";
import { FleetError, UnavailableError } from "../errors.ts";

/** One entry of git's index: what is tracked. */
export interface TrackedEntry {
  /** Relative to the repository's top, with `/` between the parts. */
  path: string;
  mode: "100644" | "100755" | "120000" | "160000";
  /** The hash by which git knows its content. */
  blob: string;
}

export interface Commit {
  /** 40 hex digits. */
  id: string;
  /** The first line of its message. */
  subject: string;
}

/** A git repository on disk. Methods that begin with `try` give undefined instead of throwing. */
export class Repository {
  readonly root: string;
  readonly #git: SimpleGit;

  private constructor(root: string) {
    this.root = root;
    this.#git = at(root);
  }

  /**
   * Opens the repository that `dir` is in.
   * @throws FleetError when it is in none, or git refuses it (another user's); UnavailableError without git.
   */
  static async open(dir: string): Promise<Repository> {
    try {
      const top = (await at(dir).raw("rev-parse", "--show-toplevel")).replace(/\n$/, "");
      return new Repository(realpathSync(top));
    } catch (error) {
      if (error instanceof FleetError) throw error;
      const text = error instanceof Error ? error.message : String(error);
      if (/spawn git ENOENT/.test(text))
        throw new UnavailableError("git was not found on this machine", { cause: error });
      if (/dubious ownership/.test(text)) {
        // `dir` may be below the repository's top, which is what git wants to hear.
        const top = /git config --global --add safe\.directory .+/.exec(text);
        throw new FleetError(`git refuses ${dir}: it belongs to another user`, {
          hint: top?.[0] ?? `git config --global --add safe.directory ${dir}`,
          cause: error,
        });
      }
      throw new FleetError(`${dir} is not in a git repository`, { hint: "git init", cause: error });
    }
  }

  /** Everything git tracks below `dir` (relative to the top; "" for all), in git's order. */
  async tracked(dir = ""): Promise<TrackedEntry[]> {
    const out = await this.#git.raw("ls-files", "--stage", "-z", "--", dir === "" ? "." : dir);
    return out
      .split("\0")
      .filter((line) => line !== "")
      .map((line) => {
        const tab = line.indexOf("\t");
        const [mode, blob = ""] = line.slice(0, tab).split(" ");
        return { path: line.slice(tab + 1), mode: mode as TrackedEntry["mode"], blob };
      });
  }

  /** What git neither tracks nor ignores, as it would be tracked. */
  async untracked(): Promise<TrackedEntry[]> {
    const out = await this.#git.raw("ls-files", "--others", "--exclude-standard", "-z");
    const files = out.split("\0").filter((file) => file !== "" && !file.endsWith("/"));
    return Promise.all(
      files.map(async (file): Promise<TrackedEntry> => {
        const info = await lstat(path.join(this.root, file));
        const mode = info.isSymbolicLink() ? "120000" : (info.mode & 0o100) === 0 ? "100644" : "100755";
        return { path: file, mode, blob: "" };
      }),
    );
  }

  /** Tracked files that differ from HEAD, relative to the top. */
  async modified(): Promise<string[]> {
    const out = await this.#git.raw("status", "--porcelain=v1", "-z", "--untracked-files=no", "--no-renames");
    return out
      .split("\0")
      .filter((line) => line !== "")
      .map((line) => line.slice(3));
  }

  /**
   * The names of all branches that this clone knows of, its own and the remote's, and the one that is the main one, as far as that is
   * known: the remote's, or else what is checked out. Null for a shallow clone, which knows some of them.
   */
  async branches(): Promise<{ names: ReadonlySet<string>; main: string | null } | null> {
    if ((await this.#git.raw("rev-parse", "--is-shallow-repository")).trim() === "true") return null;
    const out = await this.#git.raw("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads");
    const remote = await this.#git.raw("for-each-ref", "--format=%(refname:lstrip=3)", "refs/remotes");
    const names = new Set(`${out}\n${remote}`.split("\n").filter((name) => name !== "" && name !== "HEAD"));
    const target = async (ref: string) =>
      (await this.#git.raw("symbolic-ref", "--quiet", ref).catch(() => ""))
        .trim()
        .replace(/^refs\/(?:heads|remotes\/[^/]+)\//, "");
    const main = (await target("refs/remotes/origin/HEAD")) || (await target("HEAD"));
    return { names, main: main === "" ? null : main };
  }

  /** Whether it ignores a directory, which need not be there yet: what is in it is no part of the repository. */
  async ignores(dir: string): Promise<boolean> {
    // It fails where nothing is ignored.
    return (await this.#git.raw("check-ignore", "--", `${dir}/`).catch(() => "")) !== "";
  }

  /** @throws FleetError when there is no commit yet. */
  async head(): Promise<Commit> {
    try {
      const out = await this.#git.raw("log", "-1", "--format=%H%n%s");
      const [id = "", subject = ""] = out.split("\n");
      return { id, subject };
    } catch (error) {
      throw new FleetError("the repository has no commit yet", { hint: "git add -A && git commit", cause: error });
    }
  }

  /** The first lines of commits' messages, of those that this clone has. `commits`: 40 hex digits each. */
  async subjects(commits: readonly string[]): Promise<Map<string, string>> {
    if (commits.length === 0) return new Map();
    const out = await this.#git.raw("log", "--ignore-missing", "--no-walk=unsorted", "--format=%H %s", ...commits);
    return new Map(
      out
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => [line.slice(0, 40), line.slice(41)]),
    );
  }

  /**
   * The commit a ref stands for.
   * @throws FleetError when this clone doesn't have it, or has none at all.
   */
  async commitOf(ref: string): Promise<string> {
    try {
      // Without --quiet, since simple-git takes a failure that says nothing for a success.
      return (await this.#git.raw("rev-parse", "--verify", "--end-of-options", `${ref}^{commit}`)).trim();
    } catch (cause) {
      await this.head();
      throw new FleetError(`git knows no commit '${ref}' here`, {
        hint: "git fetch it; on GitHub, check out with fetch-depth: 0",
        cause,
      });
    }
  }

  /** Checks a commit out into a directory of its own, beside what is checked out here. It goes with the scope. */
  async checkout(commit: string, into: string): Promise<Repository & AsyncDisposable> {
    await this.#git.raw("worktree", "add", "--quiet", "--detach", "--force", into, commit);
    const repository = new Repository(realpathSync(into));
    return Object.assign(repository, {
      [Symbol.asyncDispose]: async () => {
        await this.#git.raw("worktree", "remove", "--force", into);
      },
    });
  }

  /** Whether `ancestor` is `descendant` or one of its ancestors; undefined when `ancestor` isn't in this clone. */
  async isAncestor(ancestor: string, descendant: string): Promise<boolean | undefined> {
    try {
      await this.#git.raw("cat-file", "-e", `${ancestor}^{commit}`);
    } catch {
      return undefined;
    }
    const base = await this.#git.raw("merge-base", ancestor, descendant).catch(() => "");
    return base.trim() === ancestor;
  }
}

function at(dir: string): SimpleGit {
  try {
    return simpleGit({ baseDir: dir });
  } catch (error) {
    throw new FleetError(`${dir} is not a directory`, { cause: error });
  }
}
