import type { HostDiff } from "../../results.ts";
import type { EvaluatedHost } from "../evaluation.ts";

/** What is told of a host before it is compared with anything. */
export function nothing({ host, ...now }: EvaluatedHost): HostDiff {
  return {
    name: host.name,
    status: now.ok ? "unchanged" : "failed",
    from: null,
    to: now.ok ? now.toplevel : null,
    sequence: null,
    lastContact: null,
    packages: null,
    size: null,
    reason: null,
    error: now.ok ? null : now.failure,
  };
}
