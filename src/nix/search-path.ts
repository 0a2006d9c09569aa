import { existsSync, readdirSync, realpathSync, statSync } from "node:fs";
import path from "node:path";

/** An entry of Nix's search path, as `-I` and NIX_PATH have it: `name=place`, or a place alone. */
export interface SearchPathEntry {
  /** Empty for a place alone. */
  name: string;
  place: string;
}

export function parseEntry(text: string): SearchPathEntry {
  const [, name, place] = /^([^=/:]+)=(.*)$/s.exec(text) ?? [];
  return name === undefined || place === undefined ? { name: "", place: text } : { name, place };
}

export function formatEntry({ name, place }: SearchPathEntry): string {
  return name === "" ? place : `${name}=${place}`;
}

/** Entries of NIX_PATH, or what stands for it where it isn't set (Nix manual, "nix-path"). */
export function defaultSearchPath({ NIX_PATH, HOME }: NodeJS.ProcessEnv): string[] {
  if (NIX_PATH !== undefined) return splitSearchPath(NIX_PATH);
  const channels = "/nix/var/nix/profiles/per-user/root/channels";
  return [`${HOME ?? "/root"}/.nix-defexpr/channels`, `nixpkgs=${channels}/nixpkgs`, channels];
}

/** Splits at colons as Nix does: that of a URL, `channel:` or `flake:` at the beginning of a place belongs to it. */
export function splitSearchPath(text: string): string[] {
  return [...text.matchAll(/(?:[^:=]*=)*(?:(?:channel|flake):|(?:https?|file|git|s3|ssh):\/\/)?[^:]*/g)]
    .map(([entry]) => entry)
    .filter((entry) => entry !== "");
}

/** The URL of the tarball that a place stands for, or null where it is none (Nix manual, "nix-path"). */
export function tarballOf({ place }: SearchPathEntry): string | null {
  const channel = /^channel:(.+)$/.exec(place)?.[1];
  if (channel !== undefined) return `https://channels.nixos.org/${channel}/nixexprs.tar.xz`;
  return /^(?:https?|file):\/\//.test(place) ? place : null;
}

/** Restricted evaluation allows what an entry leads to only when that is what it says, and channels are symlinks. */
export function resolvedEntries(entry: string): string[] {
  const { name, place } = parseEntry(entry);
  if (!place.startsWith("/") || !existsSync(place)) return [entry];
  const real = realpathSync(place);
  if (name !== "" || !statSync(real).isDirectory()) return [formatEntry({ name, place: real })];
  // A directory of channels: what is in it is found by its name.
  const links = readdirSync(real, { withFileTypes: true }).filter((one) => one.isSymbolicLink());
  const channels = links.map((link) => [link.name, path.join(real, link.name)] as const);
  return [...channels.filter(([, at]) => existsSync(at)).map(([name, at]) => `${name}=${realpathSync(at)}`), real];
}
