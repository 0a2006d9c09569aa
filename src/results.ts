/**
 * What commands give back and `--json` prints: the public documents, `version: 1`. Fields are only ever added within a
 * version.
 */
import type { Location } from "./errors.ts";

export interface HostFailure extends Partial<Location> {
  /** One line, the innermost cause. */
  message: string;
  /** What to do about it. */
  hint?: string;
  /** The whole text of the tool that failed, for those who want it. */
  trace?: string;
}

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

export interface HostCheck {
  name: string;
  status: CheckStatus;
  /** Store path of the system, null when it could not be evaluated. */
  toplevel: string | null;
  drv: string | null;
  /** The system's store path at the base that was compared with, null when there was none. */
  base: string | null;
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
}

export type DeployStatus = "published" | "unchanged" | "skipped" | "failed";

export interface HostDeploy {
  name: string;
  status: DeployStatus;
  /** SRI. */
  digest: string | null;
  sequence: number | null;
  commit: string | null;
  toplevel: string | null;
  error: HostFailure | null;
  /** Why it was skipped. */
  reason: string | null;
}

export interface DeployDocument {
  version: 1;
  command: "deploy";
  dryRun: boolean;
  warnings: string[];
  hosts: HostDeploy[];
}

export type FleetState =
  | "up-to-date"
  | "pending"
  | "applying"
  | "failed"
  | "rolled-back"
  | "inconclusive"
  | "refused"
  | "auto-updated"
  | "reboot-pending"
  | "drifted"
  | "suspended"
  | "silent"
  | "new"
  | "unknown";

export interface HostStatus {
  name: string;
  state: FleetState;
  /** One line for people: why it is in this state. */
  reason: string | null;
  published: { sequence: number; commit: string; subject: string; toplevel: string | null; issued: string } | null;
  running: { toplevel: string; sequence: number | null } | null;
  /** ISO 8601, the server's clock, of the newest heartbeat or report. */
  lastContact: string | null;
  lastOutcome: string | null;
}

export interface StatusDocument {
  version: 1;
  command: "status";
  hosts: HostStatus[];
}
