import type { Fleet, Host } from "../../fleet/fleet.ts";
import type { SecretEditDocument, SecretResult } from "../../results.ts";
import { secretFile } from "../../secrets/files.ts";

/** What became of one secret of a host. */
export function result(host: Host, name: string, status: SecretResult["status"]): SecretResult {
  return { name, file: secretFile(host.name, name), status, error: null };
}

/** What became of all of them, with what is to be said of that. */
export function edited(
  command: SecretEditDocument["command"],
  fleet: Fleet,
  hosts: readonly (readonly [Host, SecretResult[]])[],
): SecretEditDocument {
  const written = hosts.some(([, secrets]) => secrets.some(({ status }) => status === "written"));
  return {
    version: 1,
    command,
    hosts: hosts.map(([{ name }, secrets]) => ({
      name,
      status: secrets.some(({ status }) => status === "failed") ? "failed" : "ok",
      secrets,
    })),
    warnings:
      written && fleet.administrators.length === 0
        ? ["fleet.yaml has no administrators: nobody but the host itself can read this, to edit or to rekey it"]
        : [],
  };
}
