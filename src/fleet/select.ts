import { FleetError } from "../errors.ts";
import type { Host } from "./fleet.ts";
import { nearest } from "./suggest.ts";

/**
 * The hosts that `patterns` name: shell globs (`web-*`), and groups (`@canary`); all of them for no pattern at all.
 * @throws FleetError when a pattern matches no host, or there is no host to choose from.
 */
export function selectHosts(hosts: readonly Host[], patterns: readonly string[]): Host[] {
  if (hosts.length === 0) {
    throw new FleetError("the fleet has no hosts", { hint: "bento host add NAME --key 'ssh-ed25519 …'" });
  }
  if (patterns.length === 0) return [...hosts];
  const chosen = new Set<Host>();
  for (const pattern of patterns) {
    const matching = hosts.filter((host) =>
      pattern.startsWith("@") ? host.groups.includes(pattern.slice(1)) : glob(pattern).test(host.name),
    );
    if (matching.length === 0 && pattern.startsWith("@")) throw noGroup(pattern.slice(1), hosts);
    if (matching.length === 0) {
      const names = hosts.map((host) => host.name);
      const meant = nearest(pattern, names);
      throw new FleetError(`no host is called '${pattern}'`, {
        hint: meant ? `did you mean '${meant}'?` : `the hosts are: ${names.join(", ")}`,
      });
    }
    for (const host of matching) chosen.add(host);
  }
  return hosts.filter((host) => chosen.has(host));
}

function noGroup(name: string, hosts: readonly Host[]): FleetError {
  const groups = [...new Set(hosts.flatMap((host) => host.groups))].sort();
  const meant = nearest(name, groups);
  const known = groups.length === 0 ? "fleet.yaml gives no host any groups" : `the groups are: ${groups.join(", ")}`;
  return new FleetError(`no host is in a group '${name}'`, { hint: meant ? `did you mean '${meant}'?` : known });
}

/** A shell's pattern as a regular expression: `*` any letters, `?` one; host names have no others to be special about. */
export function glob(pattern: string): RegExp {
  const body = pattern.replace(/[^a-zA-Z0-9]/g, (letter) =>
    letter === "*" ? ".*" : letter === "?" ? "." : `\\${letter}`,
  );
  return new RegExp(`^${body}$`);
}

/** What `--hosts` and NAME hold: patterns with commas or spaces between. */
export function splitPatterns(text: string | undefined): string[] {
  return (text ?? "").split(/[\s,]+/).filter((pattern) => pattern !== "");
}

/** The `index`th of `count` parts, counted from 1. */
export interface Shard {
  index: number;
  count: number;
}

/** @throws FleetError for what isn't I/N. */
export function parseShard(text: string): Shard {
  const [, index, count] = (/^([1-9]\d{0,3})\/([1-9]\d{0,3})$/.exec(text) ?? []).map(Number);
  if (index === undefined || count === undefined || index > count)
    throw new FleetError(`a shard is I/N, such as 2/4, and not '${text}'`);
  return { index, count };
}

/** One part of the hosts. Those of one directory share much, and stay together as far as parts of the same size allow. */
export function shardOf(hosts: readonly Host[], shard: Shard | null): Host[] {
  if (shard === null) return [...hosts];
  const { index, count } = shard;
  const byPath = [...hosts].sort((a, b) => compare(a.path, b.path) || compare(a.name, b.name));
  const from = Math.floor(((index - 1) * hosts.length) / count);
  const chosen = new Set(byPath.slice(from, Math.floor((index * hosts.length) / count)));
  return hosts.filter((host) => chosen.has(host));
}

function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
