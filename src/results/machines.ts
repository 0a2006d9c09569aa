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
