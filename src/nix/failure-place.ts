import path from "node:path";
import { AT, assertionsIn, messageBlock, refusedPackage } from "./failure-message.ts";

export type FleetPosition = { file: string; line: number; column: number };

/** Where Nix says that a host's files are, and what they really are. */
export interface TreePlaces {
  /** Absolute: the staged tree, and its copies in the store. */
  dirs: readonly string[];
  /** From a path relative to the tree to one relative to the fleet. */
  origin(file: string): string;
  /** Where in the tree's Nix files a pattern is, as places in the fleet. */
  find(pattern: RegExp): readonly FleetPosition[];
}

/** A place in the fleet: of some things only the file is known. */
type Place = FleetPosition | { file: string };

export type ToFleet = (file: string) => string | undefined;
type Find = TreePlaces["find"];

export const PATH = /\/[^\s'"`:«»]+/g;

/** What a file is called in the fleet; undefined for one that isn't in the tree. */
export function inFleet(file: string, dirs: readonly string[], origin: TreePlaces["origin"]): string | undefined {
  const dir = dirs.find((dir) => file === dir || file.startsWith(`${dir}/`));
  return dir === undefined ? undefined : origin(path.relative(dir, file));
}

/** The error's own position, right behind its message, if it is in the tree. */
export function ownPosition(lines: readonly string[], at: number, toFleet: ToFleet): FleetPosition | undefined {
  const below = lines.slice(at + messageBlock(lines, at).split("\n").length).find((line) => line.trim() !== "");
  return positionIn(below ?? "", toFleet);
}

/** Where what is thrown, or asserted, is written in so many words. */
export function placeOfText(block: string, find: Find): FleetPosition | undefined {
  const assertions = assertionsIn(block);
  const written = assertions.map((text) => literally(asWritten(text)));
  // NixOS's own assertions speak of options that the configuration sets.
  const options = assertions
    .flatMap((text) => text.match(/(?<![\w./])[a-z]\w*(?:\.[\w-]+)+/g) ?? [])
    .map(optionPattern);
  for (const pattern of [...written, ...options]) {
    const place = find(pattern)[0];
    if (place) return place;
  }
  const first = /^\s*error:\s*(.+)/.exec(block)?.[1] ?? "";
  const thrown = /^evaluation aborted with the following error message: '(.*)'$/.exec(first)?.[1] ?? first;
  if (assertions.length > 0 || thrown === "") return undefined;
  // Written twice, it could be either.
  return only(find(new RegExp(`\\b(?:throw|abort)\\s*\\(?\\s*"${escaped(asWritten(thrown))}`, "g")));
}

/** Where the option that the message is about is set: NixOS knows the file, and now and then not even that. */
export function placeOfOption(block: string, toFleet: ToFleet, find: Find): Place | undefined {
  const option = /\boption(?: value)? `([^']+)'/.exec(block)?.[1]?.replace(/\.\[definition .*$/, "");
  if (option === undefined) return undefined;
  const named = fileNamedIn(block, toFleet);
  if (named !== undefined) return placeInFile(option, named.file, find) ?? named;
  const parts = partsOf(option);
  // A value that is missing belongs where its parent is.
  for (const some of [parts, parts.length > 2 ? parts.slice(0, -1) : []]) {
    const place = some.length === 0 ? undefined : find(pathPattern(some))[0];
    if (place) return place;
  }
  return undefined;
}

/** Where an option is in a file that sets it: its whole name, or as much of its end as there is one of. */
function placeInFile(option: string, file: string, find: Find): FleetPosition | undefined {
  const parts = partsOf(option);
  for (const start of parts.keys()) {
    const places = find(pathPattern(parts.slice(start))).filter((place) => place.file === file);
    const place = start === 0 ? places[0] : only(places);
    if (place) return place;
  }
  // What it is set in: services.nginx = { … }.
  for (let end = parts.length - 1; end > 1; end--) {
    const place = only(find(pathPattern(parts.slice(0, end))).filter((place) => place.file === file));
    if (place) return place;
  }
  return undefined;
}

/** Where a package that nixpkgs refuses is asked for. */
export function placeOfPackage(block: string, find: Find): FleetPosition | undefined {
  const name = refusedPackage(block);
  if (name === undefined) return undefined;
  // openssl-1.0.2u is pkgs.openssl_1_0_2.
  const base = name.replace(/-\d.*$/, "");
  return only(find(new RegExp(`(?<![\\w.'"-])(?:pkgs\\.)?${escaped(base)}(?:_[\\d_]+\\w?)?(?![\\w'-])`, "g")));
}

/** The frame of the trace that is nearest to the error and in the tree: a position, or a file that defines an option. */
export function placeInFrames(lines: readonly string[], at: number, toFleet: ToFleet, find: Find): Place | undefined {
  for (const frames of [lines.slice(at + 1), lines.slice(0, at).reverse()]) {
    for (const [index, line] of frames.entries()) {
      const position = positionIn(line, toFleet);
      if (position) return position;
      const [, definer, argument, user] =
        /^\s*… while evaluating (?:definitions from `(\/.*)'|the module argument `(.*)' in "(\/.*)"):?$/.exec(line) ??
        [];
      const file = toFleet(definer ?? user ?? "");
      if (file === undefined) continue;
      if (argument !== undefined) return placeInFile(argument, file, find) ?? { file };
      const option = frames.slice(index).find((frame) => /… while evaluating the option `/.test(frame));
      const name = /`(.*)'/.exec(option ?? "")?.[1];
      return (name && placeInFile(name, file, find)) || { file };
    }
  }
  return undefined;
}

function positionIn(line: string, toFleet: ToFleet): FleetPosition | undefined {
  const [, name, row, column] = AT.exec(line) ?? [];
  const file = name && toFleet(name);
  return file ? { file, line: Number(row), column: Number(column) } : undefined;
}

/** NixOS names the files of definitions: "- In `/…/configuration.nix'". */
export function fileNamedIn(text: string, toFleet: ToFleet): { file: string } | undefined {
  for (const [file] of text.matchAll(PATH)) {
    const known = toFleet(file);
    if (known !== undefined && /\.nix$/.test(known)) return { file: known };
  }
  return undefined;
}

/** `a."b.c".d` is a, b.c and d. */
function partsOf(option: string): string[] {
  return [...option.matchAll(/"([^"]*)"|[^."]+/g)].map((match) => match[1] ?? match[0]);
}

function optionPattern(option: string): RegExp {
  return pathPattern(partsOf(option));
}

/** An attribute path as it may be written. */
function pathPattern(parts: readonly string[]): RegExp {
  const names = parts.map((part) => `"?${escaped(part)}"?`).join("\\s*\\.\\s*");
  return new RegExp(`(?<![\\w.'"-])${names}(?![\\w'-])`, "g");
}

export function literally(text: string): RegExp {
  return new RegExp(escaped(text), "g");
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");
}

/** A text as it is written between quotes. */
function asWritten(text: string): string {
  return text.replace(/[\\"]/g, "\\$&");
}

function only<T>(found: readonly T[]): T | undefined {
  return found.length === 1 ? found[0] : undefined;
}
