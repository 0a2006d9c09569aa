import { z } from "zod";
import { canReceive, isAgeRecipient } from "../secrets/recipients.ts";

/**
 * fleet.yaml, as the design's section 2 lays it down. Strict: a key that isn't known is an error, since a misspelt one that is
 * passed over in silence costs somebody a machine.
 */

const KEY_TYPES = ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"];

/** The first field inside an ssh key's base64 is its type again (RFC 4253, section 6.6). */
function isPublicKey(text: string): boolean {
  const [type = "", body = ""] = text.split(" ");
  if (!KEY_TYPES.includes(type) || !/^[A-Za-z0-9+/]+={0,2}$/.test(body) || body.length % 4 !== 0) return false;
  const blob = Buffer.from(body, "base64");
  if (blob.length < 4) return false;
  const length = blob.readUInt32BE(0);
  return blob.length > 4 + length && blob.subarray(4, 4 + length).toString("latin1") === type;
}

const oneLine = z.string().regex(/^[^\p{Cc}]*$/u, "must be one line without control characters");

const publicKey = oneLine.refine(isPublicKey, "is not an ssh public key such as 'ssh-ed25519 AAAA… comment'");

/** An ssh key of a kind that age can encrypt to, or a recipient of age's own. A name may follow, as in public keys. */
const ageRecipient = oneLine.refine(
  (value) => (/^age1/.test(value) ? isAgeRecipient(value) : isPublicKey(value) && canReceive(value)),
  "is no recipient that age knows: 'ssh-ed25519 AAAA… name', an ssh-rsa key, or 'age1… name'",
);

/** Also a unix login's name, the name of a chroot, and a part of file names; so nothing in it is special anywhere. */
export const hostName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,62}$/, "must be a host name: lower-case letters, digits and '-', at most 63");

const loginName = z
  .string()
  .regex(/^[a-z_][a-z0-9_-]{0,31}$/, "must be a unix login: lower-case letters, digits, '_' and '-', at most 32");

const relativePath = oneLine.refine(
  (value) =>
    value === "." || (!value.startsWith("/") && value.split("/").every((part) => !["", ".", ".."].includes(part))),
  "must be a path inside the fleet, without '..', '.' or a slash at its ends",
);

const server = z.strictObject({
  address: oneLine.regex(/^[A-Za-z0-9.:_%-]+$/, "must be a host name or an address"),
  port: z.int().min(1).max(65535).default(22),
  user: loginName.default("bento"),
  publishers: z.array(publicKey).default([]),
  root: oneLine.regex(/^\/[^\s:]*[^\s:/]$/, "must be an absolute path without spaces").default("/home/chroot"),
  hostKeys: z.array(publicKey).min(1, "needs at least one pinned host key"),
  loginPrefix: z
    .string()
    .regex(/^(?:[a-z_][a-z0-9_-]{0,15})?$/, "must begin a unix login")
    .default(""),
  tree: z.boolean().default(false),
});

const gitRemote = z.strictObject({
  remote: oneLine
    .min(1)
    .refine((value) => !/^-|^[a-z0-9]+::/i.test(value), "must be the address of a git repository")
    .refine((value) => !/^[^/]+:\/\/[^/@]*:[^/@]*@/.test(value), "must not hold a password: this file is committed"),
  refs: oneLine
    .refine(
      (value) => value.startsWith("refs/") && value.includes("{host}"),
      "must begin with refs/ and contain {host}",
    )
    .regex(/^(?:\/?[A-Za-z0-9_{}-]+)+$/, "must be a ref's name: letters, digits, '-' and '_' between slashes")
    .default("refs/heads/bento/{host}"),
  hostKeys: z.array(publicKey).default([]),
});

const substituter = z.strictObject({
  url: z.url(),
  key: z.string().regex(/^[^\s:]+:[A-Za-z0-9+/]{43}=$/, "must be a public key as in nix.conf, 'name-1:base64'"),
});

/** A nixpkgs for hosts without flakes: a tarball, and its hash as `nix-prefetch-url --unpack` or a flake.lock has it. */
const nixpkgsPin = z.strictObject({
  url: z.url(),
  hash: z.string().regex(/^sha256-[A-Za-z0-9+/]{43}=$/, "must be an SRI hash, 'sha256-…='"),
});

const host = z.strictObject({
  key: publicKey.optional(),
  path: relativePath.optional(),
  config: relativePath.optional(),
  attr: oneLine.min(1).optional(),
  deliver: z.enum(["tree", "system"]).default("tree"),
  include: z.array(relativePath).min(1).optional(),
  nixpkgs: nixpkgsPin.optional(),
  agent: z.boolean().default(true),
  groups: z.array(z.string().regex(/^[a-z0-9][a-z0-9-]*$/, "must be lower-case letters, digits and '-'")).default([]),
  ssh: oneLine.regex(/^[^\s-]\S*$/, "must be user@address").optional(),
});

export const fleetSchema = z.strictObject({
  server: server.optional(),
  git: gitRemote.optional(),
  signers: z.array(publicKey).default([]),
  administrators: z.array(ageRecipient).default([]),
  substituters: z.array(substituter).default([]),
  nixpkgs: nixpkgsPin.optional(),
  /** Waves, each a list of groups and hosts. */
  rollout: z
    .array(z.array(oneLine.min(1)).min(1))
    .min(1)
    .optional(),
  // A host with nothing to say about it is written `nas:` and is null in YAML, and so are hosts that are all taken out.
  hosts: z
    .record(
      hostName,
      host.nullable().transform((value) => value ?? host.parse({})),
    )
    .nullable()
    .transform((value) => value ?? {})
    .default({}),
});

export type FleetFile = z.infer<typeof fleetSchema>;

/** The keys that may stand at each place, for suggestions; `*` is any host's name or a position in a list. */
export const KNOWN_KEYS: Readonly<Record<string, readonly string[]>> = {
  "": Object.keys(fleetSchema.shape),
  server: Object.keys(server.shape),
  git: Object.keys(gitRemote.shape),
  "substituters.*": Object.keys(substituter.shape),
  nixpkgs: Object.keys(nixpkgsPin.shape),
  "hosts.*": Object.keys(host.shape),
  "hosts.*.nixpkgs": Object.keys(nixpkgsPin.shape),
};
