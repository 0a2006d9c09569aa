import { z } from "zod";
import { canReceive, isAgeRecipient } from "../secrets/recipients.ts";
import { parseSshTarget } from "./ssh-target.ts";
import { holdsSecret, storeUrlProblem } from "./store-url.ts";

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
  address: oneLine
    .regex(/^[A-Za-z0-9.:_%-]+$/, "must be a host name or an address")
    .describe("Its name or address, as runners and hosts reach it."),
  port: z.int().min(1).max(65535).default(22).describe("Its ssh port."),
  user: loginName.default("bento").describe("The publisher's login there."),
  publishers: z.array(publicKey).default([]).describe("The ssh keys that may put releases there."),
  root: oneLine
    .regex(/^\/[^\s:]*[^\s:/]$/, "must be an absolute path without spaces")
    .default("/home/chroot")
    .describe("The directory of all chroots, and the publisher's own chroot."),
  hostKeys: z
    .array(publicKey)
    .min(1, "needs at least one pinned host key")
    .describe("Its ssh host keys. They are pinned: a server that shows another one is refused by runners and hosts."),
  loginPrefix: z
    .string()
    .regex(/^(?:[a-z_][a-z0-9_-]{0,15})?$/, "must begin a unix login")
    .default("")
    .describe("What hosts' logins begin with, where their names alone are taken by other logins of the server."),
  tree: z
    .boolean()
    .default(false)
    .describe("Whether each host's files are kept unpacked beside its releases, as hosts of the 2022 Bento read them."),
});

const gitRemote = z.strictObject({
  remote: oneLine
    .min(1)
    .refine((value) => !/^-|^[a-z0-9]+::/i.test(value), "must be the address of a git repository")
    .refine((value) => !/^[^/]+:\/\/[^/@:]*:[^/]*@/.test(value), "must not hold a password: this file is committed")
    .describe("The repository that gets the releases, as git takes it: the fleet's own, or another."),
  refs: oneLine
    .refine(
      (value) => value.startsWith("refs/") && value.includes("{host}"),
      "must begin with refs/ and contain {host}",
    )
    .regex(/^(?:\/?[A-Za-z0-9_{}-]+)+$/, "must be a ref's name: letters, digits, '-' and '_' between slashes")
    .default("refs/heads/bento/{host}")
    .describe("Each host's ref, with `{host}` for its name."),
  hostKeys: z.array(publicKey).default([]).describe("The remote's ssh host keys: hosts take no others."),
});

/** The address of a Nix store, in a file that everybody reads who may see the repository. */
const storeUrl = (whoReads: string) =>
  z
    .string()
    .superRefine((value, context) => {
      const secret = holdsSecret(value) ? `must not hold a password or a key: ${whoReads}` : null;
      const message = secret ?? storeUrlProblem(value);
      if (message !== null) context.addIssue({ code: "custom", message });
    })
    .meta({ format: "uri" });

const substituter = z.strictObject({
  url: storeUrl("this file is committed, and every host gets it; a netrc-file on hosts can have it").describe(
    "Where it is, as `substituters` of nix.conf has it.",
  ),
  key: z
    .string()
    .regex(/^[^\s:]+:[A-Za-z0-9+/]{43}=$/, "must be a public key as in nix.conf, 'name-1:base64'")
    .describe("The public key that its paths are signed with, `name-1:base64`."),
});

const cache = z.strictObject({
  push: storeUrl("this file is committed")
    .optional()
    .describe(
      "The Nix store that `bento build --push` copies systems to, such as `s3://bucket` or `file:///srv/cache`.",
    ),
  over: z
    .literal("ssh")
    .optional()
    .describe(
      "`ssh`: hosts reach the substituter that is `http://ADDRESS:PORT`, in numbers and as the server sees it, through the server's ssh.",
    ),
});

/** A nixpkgs for hosts without flakes: a tarball, and its hash as `nix-prefetch-url --unpack` or a flake.lock has it. */
const nixpkgsPin = z.strictObject({
  url: z.url("must be a URL, https://…").describe("A tarball's."),
  hash: z
    .string()
    .regex(/^sha256-[A-Za-z0-9+/]{43}=$/, "must be an SRI hash, 'sha256-…='")
    .describe("What is in it, `sha256-…=`, as `nix-prefetch-url --unpack` or a flake.lock has it."),
});

const host = z.strictObject({
  key: publicKey
    .optional()
    .describe("Its public ssh host key: its login at the server, and what its secrets are encrypted to."),
  path: relativePath
    .optional()
    .describe("The directory whose content it gets, relative to the fleet; `hosts/NAME` unless it is said."),
  config: relativePath
    .optional()
    .describe("Its entry within that directory, without a flake; `configuration.nix` unless it is said."),
  attr: oneLine
    .min(1)
    .optional()
    .describe("Its attribute of the flake's `nixosConfigurations`; NAME unless it is said."),
  deliver: z
    .enum(["tree", "system"])
    .default("tree")
    .describe("What it is sent: its files, or only the store path of its system, which it gets from a substituter."),
  include: z
    .array(relativePath)
    .min(1)
    .optional()
    .describe("Where `path` is more than it may see: the files and directories of it that it gets, at their places."),
  nixpkgs: nixpkgsPin.optional().describe("The nixpkgs it is evaluated and built with, without a flake."),
  agent: z.boolean().default(true).describe("Whether its configuration must have services.bento enabled."),
  groups: z
    .array(z.string().regex(/^[a-z0-9][a-z0-9-]*$/, "must be lower-case letters, digits and '-'"))
    .default([])
    .describe("The groups it is in, for `--group` and for `rollout`."),
  ssh: oneLine
    .refine((value) => parseSshTarget(value) !== null, "must be user@address, with :port where that isn't 22")
    .optional()
    .describe("How an administrator reaches it, `user@address`, or `user@address:port`."),
});

export const fleetSchema = z.strictObject({
  server: server.optional().describe("The server that releases are published to, and that hosts poll and report to."),
  git: gitRemote
    .optional()
    .describe("A git repository that releases are published to, instead of a server or beside it."),
  signers: z.array(publicKey).default([]).describe("The ssh keys whose releases hosts accept."),
  administrators: z
    .array(ageRecipient)
    .default([])
    .describe("Who can read every host's secrets: ssh keys, or recipients of age's own."),
  substituters: z.array(substituter).default([]).describe("The fleet's binary caches, which every host uses."),
  cache: cache.optional().describe("How the fleet's own binary cache is filled, and reached."),
  nixpkgs: nixpkgsPin.optional().describe("The nixpkgs that hosts without a flake are evaluated and built with."),
  rollout: z
    .array(z.array(oneLine.min(1)).min(1))
    .min(1)
    .optional()
    .describe("The waves of a deploy, in their order: each a list of groups and globs of host names."),
  // A host with nothing to say about it is written `nas:` and is null in YAML, and so are hosts that are all taken out.
  hosts: z
    .record(
      hostName,
      host.nullable().transform((value) => value ?? host.parse({})),
    )
    .nullable()
    .transform((value) => value ?? {})
    .default({})
    .describe("The fleet's hosts, by name."),
});

export type FleetFile = z.infer<typeof fleetSchema>;

/** The keys that may stand at each place, for suggestions; `*` is any host's name or a position in a list. */
export const KNOWN_KEYS: Readonly<Record<string, readonly string[]>> = {
  "": Object.keys(fleetSchema.shape),
  server: Object.keys(server.shape),
  git: Object.keys(gitRemote.shape),
  cache: Object.keys(cache.shape),
  "substituters.*": Object.keys(substituter.shape),
  nixpkgs: Object.keys(nixpkgsPin.shape),
  "hosts.*": Object.keys(host.shape),
  "hosts.*.nixpkgs": Object.keys(nixpkgsPin.shape),
};
