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
  /** The whole text of the tool that failed, or the end of a build's log, for those who want it. */
  trace?: string;
  /** What didn't build. */
  derivation?: string;
  /** The file with the whole log of that, absolute. */
  log?: string;
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
  error: HostFailure | null;
}

export interface PrunedRoot {
  host: string;
  toplevel: string;
  /** The fleet has no such host. */
  hasLeft: boolean;
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
  command: "deploy" | "rollback";
  dryRun: boolean;
  warnings: string[];
  hosts: HostDeploy[];
}

/** What can become of one attempt on a host. */
export const OUTCOMES = [
  "success",
  "unchanged",
  "failed",
  "rolled-back",
  "inconclusive",
  "refused",
  "auto-updated",
] as const;

/** Every state there is, the worst first. */
export const FLEET_STATES = [
  "failed",
  "rolled-back",
  "refused",
  "unknown",
  "silent",
  "inconclusive",
  "drifted",
  "suspended",
  "reboot-pending",
  "applying",
  "pending",
  "new",
  "auto-updated",
  "up-to-date",
] as const;

export type FleetState = (typeof FLEET_STATES)[number];

/** How far what is published has got: put there, seen, attempted, applied. */
export type Sync =
  /** Nothing is published. */
  | "none"
  | "pending"
  | "applying"
  | "failed"
  | "rolled-back"
  | "inconclusive"
  | "refused"
  | "auto-updated"
  | "applied"
  | "unknown";

/** How a host is, whatever is published for it. `unheard`: it never said anything. */
export type Health = "ok" | "reboot-pending" | "drifted" | "suspended" | "silent" | "unheard" | "unknown";

/** One attempt of a host's, as it told it. Texts are one inert line each. */
export interface HostAttempt {
  sequence: number | null;
  /** 40 hex digits. */
  commit: string | null;
  /** The commit's, by what is published or the fleet's repository: hosts don't say it. */
  subject: string | null;
  outcome: "success" | "unchanged" | "failed" | "rolled-back" | "inconclusive" | "refused" | "auto-updated";
  reason: string | null;
  /** The systems that ran before and after. */
  from: string | null;
  to: string | null;
  /** By the host's clock, as it wrote it. */
  started: string | null;
  finished: string | null;
  /** Seconds between the two; null when they make no sense. */
  duration: number | null;
  /** ISO 8601, the server's clock: when the report came. */
  received: string;
}

export interface HostStatus {
  name: string;
  state: FleetState;
  /** What `state` is made of. */
  sync: Sync;
  health: Health;
  /** One line for people: why it is in this state. */
  reason: string | null;
  published: { sequence: number; commit: string; subject: string; toplevel: string | null; issued: string } | null;
  running: { toplevel: string; sequence: number | null } | null;
  /** ISO 8601, the server's clock, of the newest heartbeat or report. */
  lastContact: string | null;
  lastOutcome: string | null;
  /** The newest attempt; null when none is known. */
  attempted: HostAttempt | null;
  /** Its agent's version. */
  agent: string | null;
  /** Which wave of the rollout it is in, from 1; null in a fleet without one. */
  wave: number | null;
  groups: string[];
  /** Its attempts, newest first, with --host and --html; null where that wasn't asked for or isn't known. */
  history: HostAttempt[] | null;
  /** The end of the newest log, with --log and --html; null where that wasn't asked for or there is none. */
  log: string | null;
}

export interface StatusDocument {
  version: 1;
  command: "status";
  /** ISO 8601: when this was so. */
  time: string;
  /** The states of which one makes the exit status 1. */
  failOn: FleetState[];
  hosts: HostStatus[];
}

/** A file that a command made or left as it was; its path is relative to the fleet. */
export interface FileResult {
  file: string;
  status: "written" | "unchanged";
}

export interface RenderDocument {
  version: 1;
  command: "render";
  files: FileResult[];
}

export interface PlanDocument {
  version: 1;
  command: "plan";
  /** As `check --shard` takes them. */
  shards: { shard: string; hosts: string[] }[];
  /** As `deploy --wave` takes them, in their order: `all` alone in a fleet without a rollout. */
  waves: { wave: string; hosts: string[] }[];
}

export interface InitDocument {
  version: 1;
  command: "init";
  /** Absolute. */
  fleet: string;
  files: FileResult[];
  /** What is to be done next, one sentence or command each. */
  next: string[];
}

export interface CompletionDocument {
  version: 1;
  command: "completion";
  shell: string;
  /** The script. */
  text: string;
}

export interface KeygenDocument {
  version: 1;
  command: "keygen";
  keys: { name: "signing" | "publisher" | "cache"; file: string; publicKey: string }[];
}

export interface HostListDocument {
  version: 1;
  command: "host list";
  hosts: {
    name: string;
    /** `found` is a configuration without an entry in fleet.yaml: it is checked, and never deployed. */
    status: "declared" | "found";
    kind: "flake" | "channel";
    path: string;
    groups: string[];
    key: string | null;
    ssh: string | null;
  }[];
}

export interface HostEditDocument {
  version: 1;
  command: "host add" | "host remove";
  hosts: { name: string; status: "added" | "removed" }[];
  files: FileResult[];
  warnings: string[];
}

export interface SecretResult {
  name: string;
  /** Relative to the fleet. */
  file: string;
  status: "written" | "unchanged" | "removed" | "failed";
  error: HostFailure | null;
}

export interface SecretEditDocument {
  version: 1;
  command: "secret set" | "secret edit" | "secret remove" | "secret rekey";
  hosts: { name: string; status: "ok" | "failed"; secrets: SecretResult[] }[];
  warnings: string[];
}

export interface SecretListDocument {
  version: 1;
  command: "secret list";
  hosts: {
    name: string;
    secrets: {
      name: string;
      file: string;
      /** `stale`: encrypted to others than fleet.yaml says; `untracked`: not in git, so it isn't shipped. */
      status: "ok" | "stale" | "untracked" | "unusable";
      /** Why it is unusable. */
      problem: string | null;
    }[];
  }[];
  warnings: string[];
}

export interface BootstrapDocument {
  version: 1;
  command: "bootstrap";
  hosts: { name: string; status: "ok"; script: string }[];
}

/** One thing that is wrong with a server. */
export interface ServerFinding {
  /** Whose it is; null where it concerns them all. */
  host: string | null;
  /** The directory, as the publisher sees it; null where it is none. */
  path: string | null;
  message: string;
  /** What to do about it. */
  hint: string;
}

export interface ServerCheckDocument {
  version: 1;
  command: "server check";
  findings: ServerFinding[];
  /** Those that have a key in fleet.yaml; `failed` are those with a finding of their own. */
  hosts: { name: string; status: "ok" | "failed" }[];
}

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
  outcome: "success" | "unchanged" | "failed" | "rolled-back" | "inconclusive" | "refused" | "auto-updated" | null;
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

export type ResultDocument =
  | CheckDocument
  | DeployDocument
  | StatusDocument
  | RenderDocument
  | PlanDocument
  | InitDocument
  | KeygenDocument
  | HostListDocument
  | HostEditDocument
  | ServerCheckDocument
  | SecretEditDocument
  | SecretListDocument
  | BootstrapDocument
  | CompletionDocument
  | SshConfigDocument
  | TriggerDocument
  | PushDocument
  | DiffDocument
  | FlakeUpdateDocument;

/** What a command's document means for its exit status: 1 when a host failed, or the server has a fault, 3 when a cache has. */
export function exitStatus(document: ResultDocument): 0 | 1 | 3 {
  if (document.command === "server check") return document.findings.length === 0 ? 0 : 1;
  if (document.command === "flake-update") return document.flakes.some(({ status }) => status === "failed") ? 1 : 0;
  if (failedHosts(document).length > 0) return 1;
  return document.command === "build" && document.push?.error ? 3 : 0;
}

/** The hosts that make a run red, by name. */
export function failedHosts(document: ResultDocument): string[] {
  switch (document.command) {
    case "check":
    case "build":
    case "deploy":
    case "rollback":
    case "server check":
    case "secret set":
    case "secret edit":
    case "secret remove":
    case "secret rekey":
    case "trigger":
    case "push":
    case "diff":
      return document.hosts.filter((host) => host.status === "failed").map((host) => host.name);
    case "status":
      return document.hosts.filter((host) => document.failOn.includes(host.state)).map((host) => host.name);
    case "completion":
    case "render":
    case "plan":
    case "init":
    case "keygen":
    case "host list":
    case "host add":
    case "host remove":
    case "secret list":
    case "bootstrap":
    case "ssh-config":
    // What fails there is a flake, which may have several hosts.
    case "flake-update":
      return [];
  }
}

/** The states in which somebody has to look at a host. */
export function needsAttention(state: FleetState): boolean {
  switch (state) {
    case "failed":
    case "rolled-back":
    case "inconclusive":
    case "refused":
    case "drifted":
    case "silent":
    case "unknown":
      return true;
    case "up-to-date":
    case "pending":
    case "applying":
    case "auto-updated":
    case "reboot-pending":
    case "suspended":
    case "new":
      return false;
  }
}
