import { readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { HostError } from "../errors.ts";
import type { GitRemote as GitSettings } from "../fleet/fleet.ts";
import { refOf } from "../fleet/fleet.ts";
import { withoutLogin } from "../platform/git-error.ts";
import { GitRemote, type RefUpdate } from "../platform/git-remote.ts";
import { MAX_ENVELOPE, payloadOf } from "../release/envelope.ts";
import type { Manifest } from "../release/manifest.ts";
import type { HostFailure } from "../results.ts";
import { type NarEntry, narEntries } from "../tree/nar-entries.ts";
import { ENVELOPE_FILE, ImportStream } from "./git/import.ts";
import type { Current, Publisher, PublishProgress, Upload, Uploads } from "./publisher.ts";

export interface GitPublisherOptions {
  settings: GitSettings;
  /** The fleet's repository, which is only read: its settings for remotes count. */
  repository: string;
  /** The file of a private ssh key; null for what git finds itself. */
  key: string | null;
  signal: AbortSignal;
}

/** Bytes of content that are handed to git at a time. */
const BATCH = 32 * 1024 * 1024;
/** Beside what staging allows, room for the archive's own structure. */
const MAX_NAR = 1.25 * 1024 ** 3;

/**
 * Publishes to one ref per host in a git repository: each release is a commit, whose tree is the envelope and the release
 * directory, and whose parent is the release before. There is no lock: a ref is only moved from where it was read to be.
 */
export class GitPublisher implements Publisher {
  readonly name: string;
  readonly #remote: GitRemote;
  readonly #pattern: string;
  /** By host, the commit that its ref was read to be at; null for a ref that isn't there. */
  readonly #tips = new Map<string, string | null>();

  private constructor(remote: GitRemote, pattern: string) {
    this.#remote = remote;
    this.#pattern = pattern;
    this.name = remote.name;
  }

  /** What a publisher is called, which nothing was asked for yet. */
  static nameOf({ remote }: GitSettings): string {
    return withoutLogin(remote);
  }

  static async open({ settings, repository, key, signal }: GitPublisherOptions): Promise<GitPublisher> {
    const { remote: url, hostKeys, refs } = settings;
    return new GitPublisher(await GitRemote.open({ url, hostKeys, key, settingsOf: repository, signal }), refs);
  }

  async lock(): Promise<void> {
    // Each ref is its own lock.
  }

  async readCurrent(hosts: readonly string[]): Promise<Map<string, Current>> {
    const found = await this.#remote.list(hosts.map((host) => this.#ref(host)));
    const there = hosts.filter((host) => found.has(this.#ref(host)));
    if (there.length > 0) await this.#remote.fetch(there.map((host) => [this.#ref(host), `${READ}${host}`]));
    const commits = await this.#remote.refs(READ);
    for (const host of hosts) this.#tips.set(host, commits.get(`${READ}${host}`) ?? null);
    const files = await this.#remote.files(
      there.map((host) => `${commits.get(`${READ}${host}`)}:${ENVELOPE_FILE}`),
      MAX_ENVELOPE,
    );
    const current = new Map<string, Current>(hosts.map((host) => [host, { state: "missing" }]));
    for (const [index, host] of there.entries()) {
      const file = files[index];
      current.set(host, file ? { state: "present", envelope: file.toString("utf8") } : this.#foreign(host));
    }
    return current;
  }

  async publish(
    uploads: Uploads,
    onProgress: (progress: PublishProgress) => void = () => {},
  ): Promise<Map<string, HostFailure | null>> {
    const failures = new Map<string, HostFailure | null>();
    const updates = new Map<string, RefUpdate>();
    const made = await this.#commit(uploads, failures);
    for (const { host } of made) {
      updates.set(host, { from: `${MADE}${host}`, to: this.#ref(host), expected: this.#tips.get(host) ?? null });
    }
    const answers = await this.#remote.push([...updates.values()]);
    for (const [host, { to }] of updates) {
      const problem = answers.get(to) ?? null;
      failures.set(
        host,
        problem === null ? null : { message: `${to} was not updated: ${problem}`, hint: hintFor(problem) },
      );
    }
    const sent = made.reduce((sum, { archive }) => sum + (archive?.size ?? 0), 0);
    onProgress({ hosts: made.length, sent });
    return failures;
  }

  /** Its ref's history. */
  async readHistory(host: string): Promise<string[]> {
    const commits = await this.#remote.history(this.#ref(host), `${PAST}${host}`, HISTORY);
    const files = await this.#remote.files(
      commits.map((commit) => `${commit}:${ENVELOPE_FILE}`),
      MAX_ENVELOPE,
    );
    return files.flatMap((file) => file?.toString("utf8") ?? []);
  }

  /** What a commit has is the release directory, whose files come from the fleet's own repository. */
  async fetchArchive(): Promise<boolean> {
    return false;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#remote[Symbol.asyncDispose]();
  }

  /** Makes the commits, and gives the uploads that got one. */
  async #commit(uploads: Uploads, failures: Map<string, HostFailure | null>): Promise<Upload[]> {
    const made: Upload[] = [];
    let stream = new ImportStream();
    let unpacked = new Map<string, NarEntry[]>();
    for await (const upload of uploads) {
      const { host, envelope, archive } = upload;
      const manifest = payloadOf(envelope);
      try {
        const entries = archive === null ? [] : (unpacked.get(archive.name) ?? (await unpack(archive.file)));
        if (archive !== null) unpacked.set(archive.name, entries);
        stream.add({
          ref: `${MADE}${host}`,
          parent: this.#tips.get(host) ?? null,
          envelope,
          entries,
          message: messageOf(manifest),
          time: Date.parse(manifest.issued),
        });
        made.push(upload);
      } catch (error) {
        if (!(error instanceof HostError)) throw error;
        const { message, hint } = error;
        failures.set(host, hint === undefined ? { message } : { message, hint });
      }
      if (stream.size > BATCH) {
        await this.#remote.import(stream.end());
        stream = new ImportStream();
        unpacked = new Map();
      }
    }
    if (stream.size > 0) await this.#remote.import(stream.end());
    return made;
  }

  #ref(host: string): string {
    return refOf(this.#pattern, host);
  }

  #foreign(host: string): Current {
    return {
      state: "failed",
      error: {
        message: `${this.#ref(host)} is there, and its newest commit has no envelope: it is not one of Bento's`,
        hint: "delete or rename that branch, or set git.refs in fleet.yaml to others",
      },
    };
  }
}

/** In the temporary repository: what was read, and what was made. */
const READ = "refs/read/";
const MADE = "refs/made/";
const PAST = "refs/past/";
/** Releases that are looked back at. */
const HISTORY = 50;

async function unpack(file: string): Promise<NarEntry[]> {
  return narEntries(await promisify(gunzip)(await readFile(file), { maxOutputLength: MAX_NAR }));
}

/** `git log` of a host's ref is its history. */
function messageOf({ subject, sequence, commit, digest, toplevel }: Manifest): string {
  const trailers = [
    `Bento-Sequence: ${sequence}`,
    `Bento-Commit: ${commit}`,
    `Bento-Digest: ${digest}`,
    ...(toplevel === null ? [] : [`Bento-Toplevel: ${toplevel}`]),
  ];
  return `${subject || "(no subject)"}\n\n${trailers.join("\n")}\n`;
}

function hintFor(problem: string): string {
  return problem.includes("in the meantime")
    ? "deploy again"
    : "the repository's rules (protected branches, hooks) must let the publisher push there";
}
