import path from "node:path";
import { HostError } from "../errors.ts";
import type { NarEntry } from "./nar-entries.ts";

/** A file or directory; `path` is relative. */
export type PlainEntry =
  | { kind: "directory"; path: string }
  | { kind: "file"; path: string; executable: boolean; contents: Buffer };

/** Symlinks to directories can make very much of very little. */
const MAX_ENTRIES = 100_000;

/**
 * A release's `tree/` without symlinks: each is replaced by what it leads to, since sftp's `get -R` leaves symlinks out and says
 * nothing. One that leads nowhere is left out. Directories come before what is in them.
 * @throws HostError when that would have no end.
 */
export function plainTree(release: readonly NarEntry[]): PlainEntry[] {
  const entries = new Map(release.map((entry) => [entry.path.toString("utf8"), entry]));
  const children = new Map<string, string[]>();
  for (const name of entries.keys()) {
    if (name === "") continue;
    const parent = parentOf(name);
    children.set(parent, [...(children.get(parent) ?? []), path.posix.basename(name)]);
  }
  const plain: PlainEntry[] = [];

  function add(source: string, target: string, through: readonly string[]): void {
    const place = resolve(entries, source);
    const entry = place === undefined ? undefined : entries.get(place);
    if (place === undefined || entry === undefined || entry.kind === "link") return;
    if (plain.length >= MAX_ENTRIES) throw new HostError("its symlinks make too large a tree of it");
    if (entry.kind === "file") {
      plain.push({ kind: "file", path: target, executable: entry.executable, contents: entry.contents });
      return;
    }
    if (through.includes(place)) throw new HostError(`${source} leads back to a directory that it is in`);
    if (target !== "") plain.push({ kind: "directory", path: target });
    for (const name of children.get(place) ?? []) {
      add(`${place}/${name}`, target === "" ? name : `${target}/${name}`, [...through, place]);
    }
  }
  add("tree", "", []);
  return plain;
}

/** Where a path ends after all symlinks on it, within the release's `tree/`; undefined when that is nowhere. */
function resolve(entries: ReadonlyMap<string, NarEntry>, file: string): string | undefined {
  let rest = file.split("/");
  let place = "";
  for (let hops = 0; rest.length > 0; ) {
    const [part = "", ...others] = rest;
    rest = others;
    if (part === "." || part === "") continue;
    const next = part === ".." ? parentOf(place) : place === "" ? part : `${place}/${part}`;
    const entry = entries.get(next);
    if (entry?.kind === "link") {
      hops += 1;
      const target = entry.target.toString("utf8");
      if (hops > 40 || target.startsWith("/")) return undefined;
      rest = [...target.split("/"), ...rest];
    } else {
      place = next;
    }
  }
  return place === "tree" || place.startsWith("tree/") ? place : undefined;
}

function parentOf(file: string): string {
  const parent = path.posix.dirname(file);
  return parent === "." ? "" : parent;
}
