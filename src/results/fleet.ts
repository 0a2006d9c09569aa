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
