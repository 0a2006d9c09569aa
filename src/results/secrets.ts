import type { HostFailure } from "./failure.ts";

export interface KeygenDocument {
  version: 1;
  command: "keygen";
  keys: { name: "signing" | "publisher" | "cache"; file: string; publicKey: string }[];
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
