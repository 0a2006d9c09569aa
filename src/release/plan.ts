import type { HostFailure } from "../results.ts";
import type { Manifest } from "./manifest.ts";

/** What a host would be given: everything of its manifest that its content decides. */
export type Candidate = Pick<
  Manifest,
  "host" | "commit" | "subject" | "digest" | "archive" | "kind" | "attr" | "toplevel"
>;

/** Archives beside the current one that stay on the server. */
const HISTORY = 4;
/** A sequence is a time in milliseconds; one that is this far ahead of the clock is no accident. */
const FAR_FUTURE = 366 * 24 * 3600 * 1000;

/** Whether a host that runs `published` would get anything new from `candidate`. Archive bytes don't count. */
export function isSameRelease(published: Manifest, candidate: Candidate): boolean {
  return (
    published.digest === candidate.digest &&
    published.toplevel === candidate.toplevel &&
    published.kind === candidate.kind &&
    published.attr === candidate.attr
  );
}

/** The manifest of a host's next release. `now` is in milliseconds since 1970. */
export function nextManifest(candidate: Candidate, published: Manifest | null, now: number): Manifest {
  const earlier = published === null ? [] : [published.archive?.name, ...published.history];
  const history = earlier.filter((name): name is string => name !== undefined && name !== candidate.archive?.name);
  return {
    version: 1,
    ...candidate,
    sequence: Math.max(now, (published?.sequence ?? 0) + 1),
    issued: new Date(now).toISOString(),
    history: [...new Set(history)].slice(0, HISTORY),
  };
}

/** A signed sequence that is years ahead was made with a wrong clock, and would pin the fleet's releases to it. */
export function isFarFuture(published: Manifest, now: number): boolean {
  return published.sequence > now + FAR_FUTURE;
}

/** The archives that have to be on the server for a release. */
export function archivesOf(manifest: Manifest): string[] {
  return manifest.archive === null ? manifest.history : [manifest.archive.name, ...manifest.history];
}

/** What one publisher has for a host, as far as it can be believed. */
export type Published =
  | { state: "present"; manifest: Manifest; envelope: string; isIncomplete?: boolean }
  | { state: "missing" }
  | { state: "untrusted"; problem: string }
  | { state: "unknown"; error: HostFailure };

/** What is to be done for a host; `to` are the publishers that it takes, by their names. */
export type Decision =
  | { kind: "unchanged"; manifest: Manifest }
  | { kind: "refuse"; error: HostFailure }
  /** Some publishers lack the release that others have: they get the same envelope. */
  | { kind: "complete"; manifest: Manifest; envelope: string; to: string[] }
  | { kind: "release"; manifest: Manifest; to: string[] };

export interface Situation {
  candidate: Candidate;
  /** By publisher. */
  published: ReadonlyMap<string, Published>;
  /** Why a published commit can't be followed by the candidate's; null when it can. */
  ancestryOf: (commit: string) => HostFailure | null;
  force: boolean;
  /** Milliseconds since 1970. */
  now: number;
}

/**
 * Decides what a host is given. Whatever any publisher has counts: a host may have it already. Publishers whose state isn't
 * known are left out, and one that is left out gets, next time, what the others have now.
 */
export function decide({ candidate, published, ancestryOf, force, now }: Situation): Decision {
  const known = [...published].filter(([, { state }]) => state !== "unknown");
  const manifests = known.flatMap(([, one]) => (one.state === "present" ? [one] : []));
  const newest = manifests.reduce<(typeof manifests)[number] | undefined>(
    (best, one) => (best === undefined || one.manifest.sequence > best.manifest.sequence ? one : best),
    undefined,
  );
  const release = (): Decision => ({
    kind: "release",
    manifest: nextManifest(candidate, newest === undefined ? null : withHistoryOf(newest.manifest, manifests), now),
    to: known.map(([name]) => name),
  });
  if (force) return release();

  const isCurrent = (one: Published) =>
    newest !== undefined &&
    one.state === "present" &&
    !one.isIncomplete &&
    one.manifest.sequence === newest.manifest.sequence &&
    isSameRelease(one.manifest, candidate);
  const lacking = known.filter(([, one]) => !isCurrent(one));
  const current = manifests.find(isCurrent);
  if (lacking.length === 0 && current !== undefined) return { kind: "unchanged", manifest: current.manifest };
  for (const [, one] of lacking) {
    const error = refusal(one, ancestryOf, now);
    if (error !== null) return { kind: "refuse", error };
  }
  // An envelope stands for an archive's bytes, which are those packed now or not at hand; and to a host that has taken
  // something else of the same sequence it is nothing new.
  const isNewTo = (one: Published) =>
    one.state !== "present" || one.manifest.sequence < (newest?.manifest.sequence ?? 0);
  if (current === undefined || current.manifest.archive?.name !== candidate.archive?.name) return release();
  if (!lacking.every(([, one]) => isNewTo(one))) return release();
  const { manifest, envelope } = current;
  return { kind: "complete", manifest, envelope, to: lacking.map(([name]) => name) };
}

function refusal(one: Published, ancestryOf: Situation["ancestryOf"], now: number): HostFailure | null {
  if (one.state === "untrusted") {
    return {
      message: `what is published now can't be trusted: ${one.problem}`,
      hint: "if the signers were changed on purpose, publish over it with --force",
    };
  }
  if (one.state !== "present") return null;
  const problem = ancestryOf(one.manifest.commit);
  if (problem !== null || !isFarFuture(one.manifest, now)) return problem;
  return {
    message: `the published release is of ${one.manifest.issued}, far in the future`,
    hint: "check the clocks; --force publishes after it",
  };
}

/** The newest manifest, with the archives that any publisher has besides. */
function withHistoryOf(newest: Manifest, all: readonly { manifest: Manifest }[]): Manifest {
  const history = [newest, ...all.map((one) => one.manifest)].flatMap(archivesOf);
  return { ...newest, history: [...new Set(history)].filter((name) => name !== newest.archive?.name) };
}
