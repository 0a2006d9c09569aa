import { availableParallelism } from "node:os";
import { HostError } from "../../errors.ts";
import type { Host } from "../../fleet/fleet.ts";
import type { Commit } from "../../platform/git.ts";
import { parallel } from "../../platform/parallel.ts";
import type { Candidate } from "../../release/plan.ts";
import type { HostDeploy, HostFailure } from "../../results.ts";
import { type Archive, archiveInto, narDigest } from "../../tree/nar.ts";
import type { ReleaseContents } from "../../tree/stage.ts";
import { type Evaluator, evaluateFleet, failureOf } from "../evaluation.ts";
import type { OpenFleet } from "../open-fleet.ts";

/** A host on its way to being published, or out of the race with a result. */
export type Step<T> = { host: Host; value: T } | { host: Host; result: HostDeploy };

/** An archive, and the file that it is in. */
export type Packed = Archive & { file: string };

export interface Prepared {
  /** Without an archive, which is made only of what is to be sent: `archive` is null. */
  candidate: Candidate;
  /** Null for a release without files. */
  pack(): Promise<Packed | null>;
}

/** A release that can be sent. */
export interface WithArchive {
  candidate: Candidate;
  /** Null where the release has no files. */
  packed: Packed | null;
}

/**
 * Evaluates the hosts that can be deployed, and finds out what their releases are; the others get their result here. `archives`
 * is a directory for the packed releases.
 */
export async function prepare(
  { repository, stager }: OpenFleet,
  evaluator: Evaluator | null,
  hosts: readonly Host[],
  commit: Commit,
  archives: string,
): Promise<Step<Prepared>[]> {
  if (hosts.length === 0) return [];
  const deployable = hosts.filter((host) => host.declared && host.key !== null);
  const evaluated = evaluator === null ? [] : await evaluateFleet(evaluator, deployable);
  const systems = new Map(evaluated.map((result) => [result.host, result]));
  // Git takes a while for it in a large repository, and has a processor of its own.
  const modified = repository.modified().then((files) => new Set(files));
  // Whoever waits for it is told.
  modified.catch(() => {});
  const releases = new Map<string, Promise<Release>>();
  return parallel(hosts, availableParallelism(), async (host): Promise<Step<Prepared>> => {
    if (!deployable.includes(host)) {
      const reason = host.declared ? "it has no key in fleet.yaml yet" : "it has no entry in fleet.yaml";
      return { host, result: { ...nothing(host), status: "skipped", reason } };
    }
    const contents = await stager.contents(host).catch(failing);
    if ("failure" in contents) return { host, result: failed(host, contents.failure) };
    const system = systems.get(host);
    if (system?.ok === false) return { host, result: failed(host, system.failure) };
    const uncommitted = await modified;
    const changed = contents.sources.find((file) => uncommitted.has(file));
    if (changed !== undefined) {
      // What is published says which commit it is of, so it has to be of one.
      return {
        host,
        result: failed(host, {
          message: `${changed} has changes that are not committed`,
          hint: "commit them, or git stash",
        }),
      };
    }
    const release = await (releases.get(contents.key) ?? rememberedIn(releases, contents, archives)).catch(failing);
    if ("failure" in release) return { host, result: failed(host, release.failure) };
    return {
      host,
      value: {
        pack: release.pack,
        candidate: {
          host: host.name,
          commit: commit.id,
          subject: commit.subject.slice(0, 200),
          digest: release.digest,
          archive: null,
          kind: host.kind,
          attr: host.kind === "flake" ? host.attr : host.config,
          toplevel: system?.toplevel ?? null,
        },
      },
    };
  });
}

interface Release {
  digest: string;
  pack(): Promise<Packed | null>;
}

function rememberedIn(
  releases: Map<string, Promise<Release>>,
  { key, isEmpty, root }: ReleaseContents,
  archives: string,
): Promise<Release> {
  let packed: Promise<Packed> | undefined;
  const pack = async (digest: string) => {
    const archive = await archiveInto(archives, root());
    if (archive.digest !== digest) throw new HostError("its files changed while they were being deployed");
    return archive;
  };
  const release = narDigest(root()).then((digest) => ({
    digest,
    pack: async () => {
      if (isEmpty) return null;
      packed ??= pack(digest);
      return packed;
    },
  }));
  releases.set(key, release);
  return release;
}

/**
 * Makes the archive, if there is anything to put into one.
 * @throws HostError when what it is made of has changed, or can't be read.
 */
export async function withArchive({ candidate, pack }: Prepared): Promise<WithArchive> {
  const packed = await pack();
  if (packed === null) return { candidate, packed };
  const { name, size, sha256 } = packed;
  return { candidate: { ...candidate, archive: { name, size, sha256 } }, packed };
}

/** What is wrong with one host is its own failure. */
export function failing(error: unknown): { failure: HostFailure } {
  if (error instanceof HostError) return { failure: failureOf(error) };
  throw error;
}

export function nothing(host: Host): HostDeploy {
  return {
    name: host.name,
    status: "failed",
    digest: null,
    sequence: null,
    commit: null,
    toplevel: null,
    error: null,
    reason: null,
  };
}

export function failed(host: Host, error: HostFailure): HostDeploy {
  return { ...nothing(host), error };
}
