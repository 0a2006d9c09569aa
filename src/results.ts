/**
 * What commands give back and `--json` prints: the public documents, `version: 1`. Fields are only ever added within a
 * version. They stand in src/results/ as the commands do in src/cli/.
 */
import type { DiffDocument, FlakeUpdateDocument } from "./results/changes.ts";
import type { CheckDocument, PlanDocument } from "./results/check.ts";
import type { DeployDocument } from "./results/deploy.ts";
import type {
  HostEditDocument,
  HostListDocument,
  InitDocument,
  InitUpdateDocument,
  RenderDocument,
} from "./results/fleet.ts";
import type { BootstrapDocument, ServerCheckDocument } from "./results/machines.ts";
import type { PushDocument, SshConfigDocument, TriggerDocument } from "./results/reach.ts";
import type { KeygenDocument, SecretEditDocument, SecretListDocument } from "./results/secrets.ts";
import type { StatusDocument } from "./results/status.ts";

export type * from "./results/changes.ts";
export type * from "./results/check.ts";
export type * from "./results/deploy.ts";
export type * from "./results/failure.ts";
export type * from "./results/fleet.ts";
export type * from "./results/machines.ts";
export type * from "./results/reach.ts";
export type * from "./results/secrets.ts";
export * from "./results/status.ts";

export interface CompletionDocument {
  version: 1;
  command: "completion";
  shell: string;
  /** The script. */
  text: string;
}

export type ResultDocument =
  | CheckDocument
  | DeployDocument
  | StatusDocument
  | RenderDocument
  | PlanDocument
  | InitDocument
  | InitUpdateDocument
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

/** What a command's document means for its exit status: 1 when a host, or what stands for one there, failed; 3 when a cache has. */
export function exitStatus(document: ResultDocument): 0 | 1 | 3 {
  if (document.command === "server check") return document.findings.length === 0 ? 0 : 1;
  if (document.command === "flake-update") return document.flakes.some(({ status }) => status === "failed") ? 1 : 0;
  if (document.command === "init --update") return document.files.some(({ status }) => status === "kept") ? 1 : 0;
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
    case "init --update":
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
