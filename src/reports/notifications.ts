import type { FleetState, HostStatus } from "../results.ts";
import { gateOf } from "./gate.ts";

/** Of each host that somebody was told of, the state that they were told: all is well with the others. */
export type Told = Readonly<Record<string, FleetState>>;

export interface Notification {
  host: HostStatus;
  event: "trouble" | "recovered";
  /** What was told before; null for a host that was well. */
  before: FleetState | null;
}

/**
 * What there is to tell now that wasn't told before: each trouble once, and that it is over. A host that failed, and waits for
 * what shall mend it, has not recovered yet; one that was only not heard of has, as soon as it is.
 */
export function notificationsOf(
  hosts: readonly HostStatus[],
  told: Told,
  troubles: readonly FleetState[],
): Notification[] {
  return hosts.flatMap((host): Notification[] => {
    const before = told[host.name] ?? null;
    if (troubles.includes(host.state)) return before === host.state ? [] : [{ host, event: "trouble", before }];
    if (before === null) return [];
    const isOver = gateOf(host.state) === "open" || before === "silent" || before === "unknown";
    return isOver ? [{ host, event: "recovered", before }] : [];
  });
}

/** What is known to be told once this was. */
export function toldAfter(told: Told, { host, event }: Notification): Told {
  const { [host.name]: _, ...others } = told;
  return event === "trouble" ? { ...others, [host.name]: host.state } : others;
}
