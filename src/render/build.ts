import { inertLine } from "../inert.ts";
import type { BuildState } from "../nix/build-progress.ts";
import { size } from "./terminal.ts";

/** "2 of 4 hosts; 3 of 12 derivations: nginx-1.29.3, linux-6.18; fetched 1.2 MiB of 3.4 MiB", for one line of a terminal. */
export function buildProgress(done: number, hosts: number, state: BuildState): string {
  const { building, built, toBuild, fetched, toFetch } = state;
  const names = building.length === 0 ? "" : `: ${inertLine(building.join(", "))}`;
  return [
    `building: ${done} of ${hosts} hosts`,
    ...(toBuild > 0 ? [`${built} of ${toBuild} derivations${names}`] : []),
    ...(toFetch > 0 ? [`fetched ${size(fetched)} of ${size(toFetch)}`] : []),
  ].join("; ");
}
