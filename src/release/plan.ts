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
