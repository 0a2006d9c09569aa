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

export interface InitDocument {
  version: 1;
  command: "init";
  /** Absolute. */
  fleet: string;
  files: FileResult[];
  /** What is to be done next, one sentence or command each. */
  next: string[];
}

/**
 * What an update does to a file of Bento's. `kept`: somebody has changed it, or taken it away, and it stays so; `held`: it belongs to one
 * that is kept; `left-out`: this fleet does without it.
 */
export type UpdatedFileStatus = "unchanged" | "updated" | "added" | "removed" | "kept" | "held" | "left-out";

export interface InitUpdateDocument {
  version: 1;
  command: "init --update";
  /** Absolute. */
  fleet: string;
  dryRun: boolean;
  /** The version of the Bento that wrote what is there, null where that is not recorded. */
  from: string | null;
  to: string;
  files: {
    file: string;
    /** The file or directory of Bento's that it belongs to, such as `utils/agent`. */
    place: string;
    status: UpdatedFileStatus;
    /** Of a file that is kept, as a unified diff: what was changed in it, or, where that isn't known, what is different in Bento's. */
    change: { of: "yours" | "bento"; diff: string } | null;
  }[];
  next: string[];
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
