/** The fleet as the rest of the program sees it: checked, with every default filled in. `load.ts` makes it. */

export interface Server {
  address: string;
  port: number;
  /** The publisher's login. */
  user: string;
  /** The publisher's public keys, `ssh-ed25519 AAAA… comment`. */
  publishers: string[];
  /** Where the chroots are on the server; the publisher's own chroot. */
  root: string;
  /** Pinned host keys, `ssh-ed25519 AAAA…`. Nothing ever asks the network for one. */
  hostKeys: string[];
  /** Put before a host's name to make its login at the server, e.g. where hosts share a machine with people. */
  loginPrefix: string;
  /** Whether each host's tree is there unpacked as well, as hosts of the 2022 Bento read it. */
  tree: boolean;
}

export interface Substituter {
  url: string;
  /** `name-1:base64`, as in nix.conf's trusted-public-keys. */
  key: string;
}

/** How the fleet's own binary cache is filled, and reached. */
export interface Cache {
  /** A Nix store's URL; null for none. */
  push: string | null;
  /** Whether hosts reach it through the server's ssh. */
  over: "ssh" | null;
}

export interface GitRemote {
  remote: string;
  /** A ref pattern with `{host}` in it. */
  refs: string;
  /** Pinned ssh host keys of the remote. Hosts take no others; with none, they can't use an ssh remote. */
  hostKeys: string[];
}

/** A nixpkgs by its hash: what hosts without a flake are evaluated and built with. */
export interface NixpkgsPin {
  /** Of a tarball. */
  url: string;
  /** SRI, of its content. */
  hash: string;
}

/** `channel`: configuration.nix evaluated as <nixpkgs/nixos>. `flake`: a nixosConfigurations attribute. */
export type HostKind = "flake" | "channel";

export interface Host {
  name: string;
  /** The directory whose content is the tree, relative to the fleet, `.` for the root. */
  path: string;
  /** Detected from whether `path` has a flake.nix; never configured. */
  kind: HostKind;
  /** Entry within the tree, for `channel`. */
  config: string;
  /** Attribute of nixosConfigurations, for `flake`. */
  attr: string;
  deliver: "tree" | "system";
  /** The host's public ssh key: its login at the server, and its secrets' recipient. */
  key: string | null;
  groups: string[];
  /** How an administrator reaches it, `user@address`. */
  ssh: string | null;
  /** What of `path` is in the tree, relative to `path`; null for all that git tracks. */
  include: string[] | null;
  /** For `channel`; null for whatever NIX_PATH holds, here and on the host. */
  nixpkgs: NixpkgsPin | null;
  /** Whether its configuration must have Bento's agent in it. */
  agent: boolean;
  /** Whether fleet.yaml has an entry for it. One that was only found is checked, and never deployed. */
  declared: boolean;
}

export interface Fleet {
  /** Absolute. */
  dir: string;
  /** Relative path of fleet.yaml, or null where the fleet has none. */
  file: string | null;
  server: Server | null;
  git: GitRemote | null;
  /** Public keys that may sign releases. */
  signers: string[];
  /** Who can read every host's secrets: recipients of age's, such as `ssh-ed25519 AAAA… name` or `age1… name`. */
  administrators: string[];
  substituters: Substituter[];
  cache: Cache | null;
  /** The names of the hosts of each wave of a rollout; null where all go at once. */
  waves: string[][] | null;
  /** Sorted by name. */
  hosts: Host[];
  /** For people: what was found and is probably not meant so. */
  warnings: string[];
}

/** A host's login at the server. */
export function loginOf(host: Pick<Host, "name">, server: Pick<Server, "loginPrefix">): string {
  return server.loginPrefix + host.name;
}

/** The ref that a host's releases are at, by `git.refs`. */
export function refOf(pattern: string, host: string): string {
  return pattern.replaceAll("{host}", host);
}
