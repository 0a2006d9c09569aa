import type { FleetState, HostStatus } from "../results.ts";

/** What a host of an earlier wave says of the next one: go on, wait and see, or don't. */
export type Gate = "open" | "wait" | "closed";

export function gateOf(state: FleetState): Gate {
  switch (state) {
    case "up-to-date":
    case "auto-updated":
    case "reboot-pending":
      return "open";
    // It may still come: it has not polled yet, or tries again by itself.
    case "pending":
    case "applying":
    case "new":
    case "silent":
    case "suspended":
    case "inconclusive":
      return "wait";
    case "failed":
    case "rolled-back":
    case "refused":
    case "drifted":
    case "unknown":
    // Nobody will ever say.
    case "unreported":
      return "closed";
  }
}

/** For people: why the next wave isn't published because of this host. */
export function gateReason({ state, reason, published }: HostStatus): string {
  const release = published === null ? "" : ` release ${published.sequence} of ${published.commit.slice(0, 12)}`;
  const why = reason === null ? "" : `: ${reason}`;
  switch (state) {
    case "pending":
    case "applying":
    case "new":
      return `it has not reported yet what became of${release || " its release"}${why}`;
    case "failed":
      return `it failed with${release}${why}`;
    case "rolled-back":
      return `it rolled${release} back${why}`;
    case "refused":
      return `it refused${release || " what was published"}${why}`;
    default:
      return `it is ${state.replaceAll("-", " ")}${release && `, with${release}`}${why}`;
  }
}
