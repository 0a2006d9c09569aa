import type { PackageChange } from "./check.ts";
import type { HostFailure } from "./failure.ts";

/** What a host would get, compared with what it runs or with what it had at a commit. */
export interface HostDiff {
  name: string;
  /** `skipped`: it hasn't said yet what it runs; `failed`: it can't be evaluated, or compared. */
  status: "changed" | "unchanged" | "skipped" | "failed";
  /** Store paths of the systems; null where there is none. */
  from: string | null;
  to: string | null;
  /** The release that it runs, and when it was heard of, ISO 8601; null with a base, and where it isn't known. */
  sequence: number | null;
  lastContact: string | null;
  /** Null where nothing is compared. Of systems that aren't built, or not at hand, it is what it takes to build them. */
  packages: PackageChange[] | null;
  /** Bytes of the closures, unpacked; null where they aren't known. */
  size: { from: number; to: number } | null;
  reason: string | null;
  error: HostFailure | null;
}

export interface DiffDocument {
  version: 1;
  command: "diff";
  /** The ref compared with; null for what runs. */
  base: string | null;
  warnings: string[];
  hosts: HostDiff[];
}

/** What an input is locked to. */
export interface LockedInput {
  /** Such as `github:NixOS/nixpkgs`, without what it is locked to. */
  source: string;
  /** Null for what has none, such as a directory. */
  rev: string | null;
  /** ISO 8601, of the day; null where it isn't known. */
  date: string | null;
  narHash: string | null;
}

export interface InputChange {
  /** From the flake down, with slashes between: `home-manager/nixpkgs`. */
  input: string;
  from: LockedInput | null;
  to: LockedInput | null;
}

export interface FlakeUpdate {
  /** The flake's directory, relative to the fleet. */
  path: string;
  /** Its lock file, relative to the fleet. */
  file: string;
  /** `created`: it had no lock before, which git has to be told of. */
  status: "updated" | "created" | "unchanged" | "failed";
  /** What its inputs were locked to before, and are now. */
  changes: InputChange[];
  /** Why nothing was to be done. */
  reason: string | null;
  error: HostFailure | null;
}

export interface FlakeUpdateDocument {
  version: 1;
  command: "flake-update";
  dryRun: boolean;
  flakes: FlakeUpdate[];
}
