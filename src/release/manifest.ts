import { z } from "zod";

/** A store path in any store directory: `<dir>/<32 characters>-<name>`. */
export const storePath = z
  .string()
  .regex(/^(\/[^/\s]+)+\/[0-9a-df-np-sv-z]{32}-[0-9a-zA-Z+\-._?=]+$/, "not a store path");

/** An SRI sha256, as Nix prints NAR hashes. */
export const sri = z.string().regex(/^sha256-[A-Za-z0-9+/]{43}=$/, "not an SRI sha256");

/** `SHA256HEX.nar.gz`, the sha256 of the archive's own bytes, so that a name never stands for other bytes. */
export const archiveName = z.string().regex(/^[0-9a-f]{64}\.nar\.gz$/, "not an archive name");

/** Schema version 1 of the manifest (the design's section 4): what one host should run, and where its tree is. */
export const manifestSchema = z.strictObject({
  version: z.literal(1),
  host: z.string().min(1),
  /** Rises with every release of a host: max(milliseconds since 1970, last + 1). */
  sequence: z.int().positive(),
  issued: z.iso.datetime(),
  commit: z.string().regex(/^[0-9a-f]{40}$/),
  subject: z.string(),
  /** NAR hash of the release directory (`tree/`, and `secrets/` where the host has any). */
  digest: sri,
  /** `size` in bytes, `sha256` in hex, both of the compressed file; null where the publisher ships no archive. */
  archive: z
    .strictObject({ name: archiveName, size: z.int().positive(), sha256: z.string().regex(/^[0-9a-f]{64}$/) })
    .nullable(),
  kind: z.enum(["flake", "channel"]),
  /** For `flake` the attribute of nixosConfigurations; for `channel` the entry within `tree/`, e.g. configuration.nix. */
  attr: z.string().min(1),
  toplevel: storePath.nullable(),
  /** Archives kept on the server, newest first, this one not among them. */
  history: z.array(archiveName),
});

export type Manifest = z.infer<typeof manifestSchema>;
