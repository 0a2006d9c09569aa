import type { DeployStatus } from "./deploy.ts";
import type { HostFailure } from "./failure.ts";
import type { FileResult } from "./fleet.ts";
import type { Outcome } from "./status.ts";

/** How a host is reached by ssh. `skipped`: fleet.yaml doesn't say, and all of it is null. */
export interface SshHost {
  name: string;
  status: "ok" | "skipped";
  user: string | null;
  address: string | null;
  port: number | null;
  /** The host's public key in fleet.yaml. */
  key: string | null;
}

export interface SshConfigDocument {
  version: 1;
  command: "ssh-config";
  hosts: SshHost[];
  /** The ssh_config(5). */
  text: string;
  /** What was written; absolute paths. */
  files: FileResult[];
}

/** What became of an upgrade that was started over ssh. */
export interface HostTrigger {
  name: string;
  /** `ok`: the host has what is published for it. */
  status: "ok" | "failed";
  /** Of the attempt, as the host reports it; null where there was none that came to anything. */
  outcome: Outcome | null;
  /** One line for people, the host's own. */
  reason: string | null;
  /** The release, and the store path, that it runs now, as far as it is known. */
  sequence: number | null;
  running: string | null;
  /** An upgrade was running there already, and this is what became of that one. */
  joined: boolean;
  error: HostFailure | null;
}

export interface TriggerDocument {
  version: 1;
  command: "trigger";
  hosts: HostTrigger[];
}

export interface HostPush {
  name: string;
  /** `ok`: the host runs, and boots, the release. */
  status: "ok" | "failed";
  /** The system that was built, or published. */
  toplevel: string | null;
  /** Whether its release was published, or was there already; null where it came to neither. */
  published: DeployStatus | null;
  sequence: number | null;
  /** What became of the upgrade, as in a trigger's document. */
  outcome: HostTrigger["outcome"];
  reason: string | null;
  running: string | null;
  error: HostFailure | null;
}

export interface PushDocument {
  version: 1;
  command: "push";
  hosts: HostPush[];
}
