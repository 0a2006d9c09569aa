import { fileURLToPath } from "node:url";
import type { Host } from "../fleet/fleet.ts";
import type { HostFailure } from "../results.ts";
import type { Job, JobLimits } from "./batch.ts";
import { type Nix, nixString } from "./nix.ts";
import { evaluateAll } from "./pool.ts";
import {
  defaultSearchPath,
  formatEntry,
  parseEntry,
  resolvedEntries,
  type SearchPathEntry,
  tarballOf,
} from "./search-path.ts";

/** Nix's search path for a host without a flake, as `-I` takes it; or why it has no nixpkgs. */
export type SearchPath = { entries: string[] } | { failure: HostFailure };

interface Tarball {
  url: string;
  /** Of what is in it; null for whatever it holds by now. */
  hash: string | null;
}

type Fetched = { path: string } | { said: string; trace: string };

/**
 * The search paths of hosts without flakes. Tarballs are fetched here, both those that fleet.yaml pins and those of the search path
 * itself (`nixpkgs=channel:nixos-26.05`): restricted evaluation lets nobody into the latter since Nix 2.19.
 */
export async function searchPaths(
  nix: Nix,
  hosts: readonly Pick<Host, "kind" | "nixpkgs">[],
  limits: JobLimits,
): Promise<(host: Pick<Host, "nixpkgs">) => SearchPath> {
  const channels = hosts.filter(({ kind }) => kind === "channel");
  const passed = nix.passthrough.searchPath.map(parseEntry).map(withTarball);
  const usual = defaultSearchPath(process.env).map(parseEntry).map(withTarball);
  const pins = channels.flatMap(({ nixpkgs }) => nixpkgs ?? []);
  const isElsewhere = passed.some(({ name }) => name === "nixpkgs") || pins.length === channels.length;
  const places = [...passed, ...usual.filter(({ name }) => name !== "nixpkgs" || !isElsewhere)];
  const tarballs = channels.length === 0 ? [] : [...pins, ...places.flatMap(({ tarball }) => tarball ?? [])];
  const fetched = await fetchTarballs(nix, tarballs, limits);

  return ({ nixpkgs }) => {
    const entries: string[] = [];
    let hasNixpkgs = false;
    const pinned = nixpkgs === null ? [] : [{ name: "nixpkgs", place: nixpkgs.url, tarball: nixpkgs }];
    for (const entry of [...passed, ...pinned, ...usual]) {
      const { name, tarball } = entry;
      const found = tarball === null ? { path: entry.place } : fetched.get(keyOf(tarball));
      if (found !== undefined && "path" in found) {
        entries.push(...resolvedEntries(formatEntry({ name, place: found.path })));
        hasNixpkgs ||= name === "nixpkgs";
      } else if (found !== undefined && tarball !== null && name === "nixpkgs" && !hasNixpkgs) {
        return { failure: unavailable(tarball, formatEntry(entry), found) };
      }
      // Otherwise it is left out, as Nix does: what isn't asked for needn't be there.
    }
    return { entries };
  };
}

function withTarball(entry: SearchPathEntry): SearchPathEntry & { tarball: Tarball | null } {
  const url = tarballOf(entry);
  return { ...entry, tarball: url === null ? null : { url, hash: null } };
}

function unavailable(
  { url, hash }: Tarball,
  entry: string,
  { said, trace }: { said: string; trace: string },
): HostFailure {
  if (hash === null) {
    return {
      message: `the nixpkgs of the search path, ${entry}, can't be had: ${said}`,
      hint: "NIX_PATH or -I says where it is; nixpkgs: { url, hash } in fleet.yaml pins one",
      trace,
    };
  }
  return {
    message: `the pinned nixpkgs ${url} can't be had: ${said}`,
    hint: "nixpkgs in fleet.yaml has its url and its hash",
    trace,
  };
}

/** Where unpacked tarballs are in the store, fetched where they aren't there yet; by `keyOf`. */
async function fetchTarballs(nix: Nix, wanted: readonly Tarball[], limits: JobLimits): Promise<Map<string, Fetched>> {
  const tarballs = new Map(wanted.map((tarball) => [keyOf(tarball), tarball]));
  const jobs = [...tarballs.values()].map(({ url, hash }): Job => {
    const sha256 = hash === null ? "" : `sha256 = ${nixString(hash)};`;
    const fetched = `builtins.fetchTarball { url = ${nixString(url)}; ${sha256} }`;
    const readable = /^file:\/\/\//.test(url) ? [fileURLToPath(url)] : [];
    return { kind: "expression", mode: "restricted", expression: `"\${${fetched}}"`, readable, searchPath: [] };
  });
  const results = await evaluateAll(nix, jobs, limits);
  return new Map(
    [...tarballs.keys()].map((key, index): [string, Fetched] => {
      const result = results[index];
      if (result?.ok) return [key, { path: String(result.value) }];
      const trace = result?.stderr ?? "";
      return [key, { said: trace.match(/^\s*error: *(.*\S)/m)?.[1] ?? "", trace }];
    }),
  );
}

function keyOf({ url, hash }: Tarball): string {
  return `${hash ?? ""} ${url}`;
}
