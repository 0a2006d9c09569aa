import { availableParallelism } from "node:os";
import type { Host } from "../fleet/fleet.ts";
import type { Commit } from "../platform/git.ts";
import { parallel } from "../platform/parallel.ts";
import type { Candidate } from "../release/plan.ts";
import type { HostDeploy, HostFailure } from "../results.ts";
import { type Archive, archiveInto } from "../tree/nar.ts";
import { type Evaluator, evaluateFleet, type OpenFleet, stageAll } from "./evaluation.ts";

/** A host on its way to being published, or out of the race with a result. */
export type Step<T> = { host: Host; value: T } | { host: Host; result: HostDeploy };

/** An archive, and the file that it is in. */
export type Packed = Archive & { file: string };

export interface Prepared {
  candidate: Candidate;
  packed: Packed;
}

/**
 * Evaluates, stages and packs the hosts that can be deployed; the others get their result here. `archives` is a directory for
 * the packed releases.
 */
export async function prepare(
  { repository, stager }: OpenFleet,
  evaluator: Evaluator | null,
  hosts: readonly Host[],
  commit: Commit,
  archives: string,
): Promise<Step<Prepared>[]> {
  const modified = new Set(await repository.modified());
  const deployable = hosts.filter((host) => host.declared && host.key !== null);
  const evaluated = evaluator === null ? [] : await evaluateFleet(evaluator, deployable);
  const systems = new Map(evaluated.map((result) => [result.host, result]));
  const staged = new Map((await stageAll(stager, deployable)).map((one) => [one.host, one]));
  const packs = new Map<string, Promise<Packed>>();
  return parallel(hosts, availableParallelism(), async (host): Promise<Step<Prepared>> => {
    const one = staged.get(host);
    if (one === undefined) {
      const reason = host.declared ? "it has no key in fleet.yaml yet" : "it has no entry in fleet.yaml";
      return { host, result: { ...nothing(host), status: "skipped", reason } };
    }
    if ("failure" in one) return { host, result: failed(host, one.failure) };
    const system = systems.get(host);
    if (system?.ok === false) return { host, result: failed(host, system.failure) };
    const { release } = one;
    if (host.deliver === "system") {
      // Its tree would show the host more than was meant.
      return {
        host,
        result: failed(host, {
          message: "deliver: system is not supported by this version, and its tree is not to leave the repository",
          hint: "deliver: tree, with include naming what the host may see",
        }),
      };
    }
    const changed = release.sources.find((file) => modified.has(file));
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
    const pack = packs.get(release.dir) ?? archiveInto(archives, release.dir);
    packs.set(release.dir, pack);
    const packed = await pack;
    return {
      host,
      value: {
        packed,
        candidate: {
          host: host.name,
          commit: commit.id,
          subject: commit.subject.slice(0, 200),
          digest: packed.digest,
          archive: { name: packed.name, size: packed.size, sha256: packed.sha256 },
          kind: host.kind,
          attr: host.kind === "flake" ? host.attr : host.config,
          toplevel: system?.toplevel ?? null,
        },
      },
    };
  });
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
