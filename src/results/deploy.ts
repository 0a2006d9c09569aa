import type { HostFailure } from "./failure.ts";

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
  command: "deploy" | "rollback";
  dryRun: boolean;
  warnings: string[];
  hosts: HostDeploy[];
}
