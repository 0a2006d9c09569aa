import type { HostFailure } from "./failure.ts";

export type CheckStatus = "ok" | "unchanged" | "changed" | "failed" | "skipped";

/** What realising a system would cost, from `nix-store --realise --dry-run`. */
export interface BuildPlan {
  /** Derivations that would be built. */
  build: number;
  /** Store paths that would be fetched. */
  fetch: number;
  /** Bytes; null where Nix did not say. */
  download: number | null;
  unpacked: number | null;
}

/** One package of a system's build closure that is another than at the base; `from` or `to` is null where it isn't there. */
export interface PackageChange {
  name: string;
  from: string | null;
  to: string | null;
}

export interface HostCheck {
  name: string;
  status: CheckStatus;
  /** Store path of the system, null when it could not be evaluated. */
  toplevel: string | null;
  drv: string | null;
  /** The system's store path at the base that was compared with, null when there was none. */
  base: string | null;
  /** What differs from the base, by name; null when there is nothing to compare. */
  packages: PackageChange[] | null;
  /** Whether a machine runs all of it only after a reboot, compared with the base; null when there is nothing to compare. */
  reboot: boolean | null;
  /** Whether the host will build the same: a flake, or a host with a pinned nixpkgs. */
  reproducible: boolean;
  /** Nothing was evaluated: the same files gave this result before. */
  remembered: boolean;
  /** Null also for what was only remembered, and is as it was. */
  plan: BuildPlan | null;
  warnings: string[];
  error: HostFailure | null;
  /** Seconds. */
  duration: number;
}

export interface CheckDocument {
  version: 1;
  command: "check" | "build";
  /** The ref compared with. */
  base: string | null;
  warnings: string[];
  hosts: HostCheck[];
  /** build --prune: the systems that aren't kept any more. */
  pruned?: PrunedRoot[];
  /** build --prune --push: what was removed from a cache in a directory: store paths, and bytes of files. */
  prunedCache?: { paths: number; bytes: number };
  /** build: the public half of the key that signed what was built. */
  signedBy?: string;
  /** build --push: what became of it. */
  push?: PushResult;
}

export interface PushResult {
  /** Without a password. */
  url: string;
  /** Store paths that were copied; those that were there already aren't counted. */
  paths: number;
  /** Unpacked. */
  bytes: number;
  /** Store paths that were there without a signature of this key, and have one now. */
  signed: number;
  error: HostFailure | null;
}

export interface PrunedRoot {
  host: string;
  toplevel: string;
  /** The fleet has no such host. */
  hasLeft: boolean;
}

export interface PlanDocument {
  version: 1;
  command: "plan";
  /** As `check --shard` takes them. */
  shards: { shard: string; hosts: string[] }[];
  /** As `deploy --wave` takes them, in their order: `all` alone in a fleet without a rollout. */
  waves: { wave: string; hosts: string[] }[];
}
