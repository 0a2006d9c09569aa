import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { UnavailableError } from "../errors.ts";
import { remoteConfig } from "./git-config.ts";
import { remoteError, withoutLogin } from "./git-error.ts";
import { type GitOptions, type GitResult, runGit } from "./git-run.ts";
import { shellWord } from "./shell-word.ts";
import { type TemporaryDirectory, temporaryDirectory } from "./temporary.ts";

export interface RemoteOptions {
  /** As `git push` takes it. */
  url: string;
  /** Pinned ssh host keys; with none, those count that this user's ssh knows. */
  hostKeys: readonly string[];
  /** A file with the private ssh key to log in with; null for whatever git and ssh find themselves. */
  key: string | null;
  /** A repository whose own settings for remotes count too: where actions/checkout leaves its token. */
  settingsOf: string;
  signal: AbortSignal;
}

export interface RefUpdate {
  /** A ref of the temporary repository. */
  from: string;
  /** A ref of the remote. */
  to: string;
  /** What the remote's ref has to be still: a commit, or null for a ref that isn't there. */
  expected: string | null;
}

/** Milliseconds without a word from the remote, after which it is taken to hang. */
const SILENCE = 300_000;

/** A remote, and a temporary bare repository to talk to it from. No other repository is written to. */
export class GitRemote implements AsyncDisposable {
  /** The remote, for people. */
  readonly name: string;
  readonly #url: string;
  readonly #directory: TemporaryDirectory;
  readonly #env: Readonly<Record<string, string>>;
  readonly #signal: AbortSignal;

  private constructor(directory: TemporaryDirectory, { url, signal }: RemoteOptions, env: Record<string, string>) {
    this.name = withoutLogin(url);
    this.#url = url;
    this.#directory = directory;
    this.#env = env;
    this.#signal = signal;
  }

  /** Makes the temporary repository; the remote isn't asked for anything yet. */
  static async open(options: RemoteOptions): Promise<GitRemote> {
    const { hostKeys, key, settingsOf } = options;
    const settings = await remoteConfig(settingsOf, options.signal);
    const directory = await temporaryDirectory();
    const repository = path.join(directory.path, "repository");
    // As `git init --bare` makes it, without the templates of this machine.
    for (const dir of ["objects", "refs"]) await mkdir(path.join(repository, dir), { recursive: true });
    await writeFile(path.join(repository, "HEAD"), "ref: refs/heads/none\n");
    await writeFile(path.join(repository, "config"), CONFIG + settings.text, { mode: 0o600 });
    const knownHosts = path.join(directory.path, "known_hosts");
    await writeFile(knownHosts, hostKeys.map((hostKey) => `${HOST_ALIAS} ${hostKey}\n`).join(""));
    const ssh = [
      // ssh takes the first of two values: what the user's command says itself stays.
      settings.sshCommand ?? "ssh",
      "-o BatchMode=yes -o ConnectTimeout=20 -o ServerAliveInterval=10 -o ServerAliveCountMax=3 -o ControlMaster=no",
      ...(hostKeys.length === 0
        ? []
        : [
            `-o HostKeyAlias=${HOST_ALIAS} -o UserKnownHostsFile=${shellWord(knownHosts)} -o GlobalKnownHostsFile=/dev/null`,
            "-o StrictHostKeyChecking=yes -o UpdateHostKeys=no -o VerifyHostKeyDNS=no -o CheckHostIP=no -o ControlPath=none",
            ...(/^ssh( |$)/.test(settings.sshCommand ?? "ssh") ? [WHERE_KNOWN] : []),
          ]),
      ...(key === null ? [] : [`-i ${shellWord(key)} -o IdentitiesOnly=yes`]),
    ].join(" ");
    return new GitRemote(directory, options, { GIT_DIR: repository, GIT_SSH_COMMAND: ssh });
  }

  /**
   * Those of `refs` that the remote has, and the objects they stand for.
   * @throws UnavailableError when the remote can't be read: then nothing is known of any.
   */
  async list(refs: readonly string[]): Promise<Map<string, string>> {
    const { stdout } = await this.#ask(["ls-remote", "--refs", this.#url, ...refs]);
    const found = stdout
      .toString("utf8")
      .split("\n")
      .map((line) => line.split("\t"))
      // A pattern matches the ends of names, too.
      .flatMap(([id = "", ref = ""]) => (refs.includes(ref) ? [[ref, id] as const] : []));
    return new Map(found);
  }

  /** Gets the newest commit of each of the remote's refs, as refs of the temporary repository: `[remote's, own]`. */
  async fetch(refs: readonly (readonly [string, string])[]): Promise<void> {
    const refspecs = refs.map(([theirs, ours]) => `+${theirs}:${ours}`);
    await this.#ask(["fetch", "--depth=1", "--no-tags", "--progress", this.#url, ...refspecs]);
  }

  /** The newest commits of one of the remote's refs, newest first; none when it isn't there. `own` is a ref for them here. */
  async history(ref: string, own: string, depth: number): Promise<string[]> {
    if (!(await this.list([ref])).has(ref)) return [];
    await this.#ask(["fetch", `--depth=${depth}`, "--no-tags", "--progress", this.#url, `+${ref}:${own}`]);
    const { stdout } = await this.#own(["rev-list", "--first-parent", `--max-count=${depth}`, own]);
    return stdout.toString("utf8").trim().split("\n");
  }

  /** The commits that the temporary repository's refs below `prefix` stand for. */
  async refs(prefix: string): Promise<Map<string, string>> {
    const { stdout } = await this.#own(["for-each-ref", "--format=%(refname) %(objectname)", prefix]);
    const lines = stdout.toString("utf8").split("\n");
    return new Map(lines.filter((line) => line !== "").map((line) => line.split(" ") as [string, string]));
  }

  /** Files of at most `limit` bytes by names such as `COMMIT:path`; null where there is no such file. */
  async files(names: readonly string[], limit: number): Promise<(Buffer | null)[]> {
    if (names.length === 0) return [];
    const { stdout } = await this.#own(["cat-file", "--batch-check"], input(names));
    const sizes = stdout
      .toString("utf8")
      .split("\n")
      .map((line) => (/^[0-9a-f]+ blob \d+$/.test(line) ? Number(line.split(" ")[2]) : Number.POSITIVE_INFINITY));
    const wanted = names.filter((_, index) => (sizes[index] ?? Number.POSITIVE_INFINITY) <= limit);
    if (wanted.length === 0) return names.map(() => null);
    const { stdout: all } = await this.#own(["cat-file", "--batch"], input(wanted));
    let offset = 0;
    return names.map((_, index) => {
      const size = sizes[index] ?? Number.POSITIVE_INFINITY;
      if (size > limit) return null;
      // A line about it, its bytes, and a line end.
      const start = all.indexOf("\n", offset) + 1;
      offset = start + size + 1;
      return all.subarray(start, start + size);
    });
  }

  /** Takes in a stream as git-fast-import(1) has it. */
  async import(stream: Buffer): Promise<void> {
    await this.#own(["fast-import", "--quiet", "--done", "--date-format=raw"], stream);
  }

  /**
   * Updates refs of the remote, each one if it is still what was expected. Gives, for each, null or why not: one that is
   * refused costs the others nothing.
   * @throws UnavailableError when the remote gave no answer; some may be updated then.
   */
  async push(updates: readonly RefUpdate[]): Promise<Map<string, string | null>> {
    if (updates.length === 0) return new Map();
    const leases = updates.map(({ to, expected }) => `--force-with-lease=${to}:${expected ?? ""}`);
    const refspecs = updates.map(({ from, to }) => `${from}:${to}`);
    // --no-verify: hooks are this user's, for pushes of this user's own.
    const args = ["push", "--porcelain", "--progress", "--no-verify", ...leases, this.#url, ...refspecs];
    const result = await runGit(this.#directory.path, args, this.#options());
    const answers = new Map<string, string | null>();
    for (const line of result.stdout.toString("utf8").split("\n")) {
      const [flag, refs, summary] = line.split("\t");
      const to = refs?.slice(refs.indexOf(":") + 1);
      if (flag === undefined || to === undefined || summary === undefined) continue;
      answers.set(to, flag === "!" ? refusal(summary) : null);
    }
    if (answers.size === 0) throw remoteError(this.name, result);
    return new Map(
      updates.map(({ to }) => [to, answers.get(to) === undefined ? "it gave no answer" : (answers.get(to) ?? null)]),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#directory[Symbol.asyncDispose]();
  }

  #options(): GitOptions {
    return { env: this.#env, signal: this.#signal, silence: SILENCE };
  }

  /** Git with the remote at the other end. */
  async #ask(args: readonly string[]): Promise<GitResult> {
    const result = await runGit(this.#directory.path, args, this.#options());
    if (result.status !== 0 || result.timedOut) throw remoteError(this.name, result);
    return result;
  }

  /** Git in the temporary repository alone. */
  async #own(args: readonly string[], input?: Buffer): Promise<GitResult> {
    const options = { env: this.#env, signal: this.#signal };
    const result = await runGit(this.#directory.path, args, input === undefined ? options : { ...options, input });
    if (result.status === 0) return result;
    throw new UnavailableError(`git ${args[0]} failed: ${result.stderr.trim().split("\n").at(-1)}`, {
      cause: new Error(result.stderr),
    });
  }
}

/** What ssh calls the remote in its file of pinned host keys, whatever its address. */
const HOST_ALIAS = "bento-git";

/**
 * For the shell, the options that not every ssh knows: one since 8.5 is to believe no program of this user's either, and those of some
 * distributions no server that proves itself by Kerberos, which shows no host key.
 */
const WHERE_KNOWN =
  "$(for option in KnownHostsCommand=none GSSAPIKeyExchange=no; do " +
  'ssh -F none -G -o "$option" host > /dev/null 2>&1 && printf " -o %s" "$option"; done)';

/** Nothing that this user has set up for repositories of their own, and nothing in the background. */
const CONFIG = `[core]
	repositoryformatversion = 0
	bare = true
	hooksPath = /dev/null
[gc]
	auto = 0
[maintenance]
	auto = false
[push]
	followTags = false
	gpgSign = false
	recurseSubmodules = no
[fetch]
	prune = false
	writeCommitGraph = false
[http]
	lowSpeedLimit = 1
	lowSpeedTime = 60
`;

function input(lines: readonly string[]): Buffer {
  return Buffer.from(lines.map((line) => `${line}\n`).join(""));
}

/** Of git-push(1)'s summary, `[remote rejected] (reason)`, what is for people. */
function refusal(summary: string): string {
  const reason = /^\[[^\]]*\] \((.*)\)$/.exec(summary)?.[1] ?? summary;
  return reason === "stale info" ? "somebody else has published in the meantime" : reason;
}
