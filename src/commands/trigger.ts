import { FleetError } from "../errors.ts";
import type { Fleet, Host } from "../fleet/fleet.ts";
import { loadFleet } from "../fleet/load.ts";
import { selectHosts } from "../fleet/select.ts";
import { parseSshTarget } from "../fleet/ssh-target.ts";
import { parallel } from "../platform/parallel.ts";
import type { SshOptions } from "../reach/ssh.ts";
import { type ReachableHost, upgradeThere } from "../reach/upgrade.ts";
import type { TriggerDocument } from "../results.ts";
import type { Context } from "./context.ts";

export interface TriggerOptions {
  fleet: string;
  hosts: readonly string[];
  ssh: SshOptions;
  /** Milliseconds for which a connection that broke is tried to be made again. */
  patience: number;
}

/** Hosts that are upgraded at the same time. */
const AT_ONCE = 16;

/**
 * Has hosts upgrade now, over ssh, and follows each to its end: what they take is what is published for them, as ever.
 * @throws FleetError before anything is done when fleet.yaml doesn't say how one of them is reached.
 */
export async function trigger(context: Context, options: TriggerOptions): Promise<TriggerDocument> {
  const hosts = reachable(await loadFleet(options.fleet), options.hosts);
  const [only] = hosts.length === 1 ? hosts : [];
  // Who is asked by several at once can't know what the answer is for.
  const ssh = { ...options.ssh, interactive: options.ssh.interactive && only !== undefined };
  const upgrades = await parallel(hosts, AT_ONCE, (host) =>
    upgradeThere(host, {
      ssh,
      signal: context.signal,
      patience: options.patience,
      onLine: (line) => context.output.info(only === undefined ? `${host.name}: ${line}` : line),
    }),
  );
  return { version: 1, command: "trigger", hosts: upgrades.map(({ result }) => result) };
}

/**
 * Hosts, and how they are reached.
 * @throws FleetError when fleet.yaml doesn't say so of one of them.
 */
export function reachable(fleet: Fleet, patterns: readonly string[]): ReachableHost[] {
  const selected = selectHosts(
    fleet.hosts.filter((host) => host.declared),
    patterns,
  );
  return selected.map(reachableHost);
}

export function reachableHost({ name, ssh }: Host): ReachableHost {
  const target = ssh === null ? null : parseSshTarget(ssh);
  if (target === null) {
    throw new FleetError(`fleet.yaml doesn't say how ${name} is reached`, {
      hint: "ssh: root@ADDRESS, in its entry",
    });
  }
  return { name, target };
}
