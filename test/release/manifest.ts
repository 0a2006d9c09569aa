import fc from "fast-check";
import type { Manifest } from "../../src/release/manifest.ts";

export const hex = (digit: string) => digit.repeat(64);
export const nameOf = (digit: string) => `${hex(digit)}.nar.gz`;

/** A manifest that is right, with these fields another. */
export function manifest(more: Partial<Manifest> = {}): Manifest {
  return {
    version: 1,
    host: "web",
    sequence: 1_795_430_400_000,
    issued: "2026-11-23T12:00:00.000Z",
    commit: "a".repeat(40),
    subject: "Give the web a server",
    digest: `sha256-${"A".repeat(43)}=`,
    archive: { name: nameOf("1"), size: 20_480, sha256: hex("1") },
    kind: "channel",
    attr: "configuration.nix",
    toplevel: `/nix/store/${"0".repeat(32)}-nixos-system-web-26.05`,
    history: [],
    ...more,
  };
}

export const archiveName = fc.constantFrom(..."0123456789abcdef").map(nameOf);
