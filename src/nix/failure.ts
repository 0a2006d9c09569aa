import path from "node:path";
import type { Host } from "../fleet/fleet.ts";
import type { HostFailure } from "../results.ts";

/** The trace kept with a failure, in characters: the end of it, where all versions of Nix but the oldest put the cause. */
const MAX_TRACE = 20_000;
const MAX_MESSAGE = 1_000;

export type ExplainedHost = Pick<Host, "kind" | "path" | "include">;

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

/**
 * Makes what Nix printed into what a reviewer wants to know: the innermost cause in one line, and the place in the fleet
 * where it is. The versions of Nix say it in different orders: 2.8 puts the error first and then goes outwards, later ones
 * come inwards and put the error last; each time the error's own place stands right behind it, if it has one. Of what is
 * thrown, and so of all that NixOS complains of, 2.8 tells no place at all: then it is looked for in the fleet's own files.
 */
export function explainFailure(
  run: { stderr: string; status: number },
  { dirs, origin, find }: TreePlaces,
  host: ExplainedHost,
): HostFailure {
  const text = withoutOurs(withoutColours(run.stderr));
  const toFleet = (file: string) => inFleet(file, dirs, origin);
  const lines = text.split("\n");
  const readable = (line: string) => line.replace(PATH, (file) => toFleet(file) ?? file);
  const at = causeLine(lines);
  const trace = readable(text.slice(-MAX_TRACE));
  if (at === undefined) return { message: lastWords(lines, run.status).slice(0, MAX_MESSAGE), trace };

  const block = messageBlock(lines, at);
  const unreached = unreachedFile(block, frameAbove(lines, at), dirs, toFleet, host);
  const place =
    ownPosition(lines, at, toFleet) ??
    placeOfText(block, find) ??
    placeOfOption(block, toFleet, find) ??
    placeOfPackage(block, find) ??
    placeInFrames(lines, at, toFleet, find) ??
    (unreached && find(literally(unreached.written))[0]) ??
    fileNamedIn(block, toFleet);
  return {
    message: (unreached?.message ?? readable(messageAt(lines, at))).slice(0, MAX_MESSAGE),
    ...place,
    ...(unreached ? { hint: unreached.hint } : hintFor(lines.slice(at).join("\n"), block, host)),
    trace,
  };
}

/** The warnings of an evaluation: `trace: warning: …` from NixOS, and Nix's own. */
export function warningsIn(stderr: string, { dirs, origin }: Pick<TreePlaces, "dirs" | "origin">): string[] {
  const found = withoutColours(stderr).matchAll(/^(?:trace: |evaluation )?warning: (.*)$/gm);
  const ours =
    /creating lock file|not writing modified lock file|Git tree .* is dirty|ignoring untrusted|unknown setting|the group 'nixbld'|error: SQLite database|Nix search path entry/;
  return [...new Set([...found].map((match) => match[1] ?? ""))]
    .filter((text) => text !== "" && !ours.test(text))
    .slice(0, 50)
    .map((text) => text.replace(PATH, (file) => inFleet(file, dirs, origin) ?? file));
}

/** What a file is called in the fleet; undefined for one that isn't in the tree. */
function inFleet(file: string, dirs: readonly string[], origin: TreePlaces["origin"]): string | undefined {
  const dir = dirs.find((dir) => file === dir || file.startsWith(`${dir}/`));
  return dir === undefined ? undefined : origin(path.relative(dir, file));
}

const PATH = /\/[^\s'"`:«»]+/g;
const AT = /^\s*(?:at|… .* located at|whose name attribute is located at) (\/.+?):(\d+):(\d+):?$/;

function withoutColours(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: an escape character is what colours begin with.
  return text.replace(/\x1b\[[0-9;]*m/g, "");
}

/** The text without the frames of what Bento itself gave to Nix to evaluate: an expression, which Nix calls «string». */
function withoutOurs(text: string): string {
  const kept: string[] = [];
  let ours = false;
  for (const line of text.split("\n")) {
    if (/^\s*at «string»:\d+:\d+:?$/.test(line)) {
      ours = true;
      // What the frame is, stands above its place.
      while (kept.at(-1)?.trim() === "") kept.pop();
      if (/^\s*…/.test(kept.at(-1) ?? "")) kept.pop();
    } else if (!ours || !/^\s*(?:$|\||\d+\|)/.test(line)) {
      ours = false;
      kept.push(line);
    }
  }
  return kept.join("\n");
}

/** The line with the innermost error's message. */
function causeLine(lines: readonly string[]): number | undefined {
  let found: number | undefined;
  lines.forEach((line, index) => {
    // A message that begins with a line end, as NixOS's failed assertions do, stands below its heading.
    const below = lines[index + 1] ?? "";
    if (/^\s*error: *\S/.test(line) || (/^\s*error: *$/.test(line) && /^\s*[^\s…]/.test(below))) found = index;
  });
  return found;
}

function messageAt(lines: readonly string[], at: number): string {
  const block = messageBlock(lines, at);
  // NixOS's failed assertions are a list below a heading that says nothing.
  const assertions = assertionsIn(block);
  if (assertions.length > 0) return assertions.join("; ");
  const first = (block.replace(/^\s*error:\s*/, "").split("\n")[0] ?? "")
    .replace(/ Definition values:$/, "")
    // The package's own file says nothing to who uses it.
    .replace(/^(Package ‘[^’]+’|Refusing to evaluate package '[^']+') in \S+/, "$1")
    .replace(/\.drv\^\w+'/, ".drv'");
  // Only 2.8 says in the message that it was an assertion.
  const asserted = /^\s*… while evaluating the condition of the (assertion '.*')$/.exec(frameAbove(lines, at)[0] ?? "");
  if (asserted) return `${asserted[1]} failed: ${first}`;
  const conflicting = /^(.*has conflicting definition values):$/.exec(first);
  if (conflicting) return `${conflicting[1]}: ${definitionsIn(block).join(", ")}`;
  const issues = /marked as insecure/.test(first) ? knownIssues(lines, at) : [];
  return issues.length === 0 ? first : `${first.replace(/\.$/, "")}: ${issues.join("; ")}`;
}

function assertionsIn(block: string): string[] {
  if (!/Failed assertions:/.test(block)) return [];
  return [...block.matchAll(/^\s*- (.*)$/gm)].map((match) => match[1] ?? "");
}

/** The values that a message lists, each with its file: "- In `/…/configuration.nix': true". */
function definitionsIn(block: string): string[] {
  return [...block.matchAll(/^\s*- In `(.*)': ?(.*)$/gm)].map(([, file, value]) =>
    value === "" ? `in ${file}` : `${value} in ${file}`,
  );
}

function knownIssues(lines: readonly string[], at: number): string[] {
  const heading = lines.findIndex((line, index) => index > at && /^\s*Known issues:$/.test(line));
  if (heading < 0) return [];
  const rest = lines.slice(heading + 1);
  const end = rest.findIndex((line) => !/^\s*- /.test(line));
  return rest.slice(0, end < 0 ? undefined : end).map((line) => line.replace(/^\s*- /, ""));
}

/** The message and what belongs to it: up to an empty line, a position or the next frame of the trace. */
function messageBlock(lines: readonly string[], at: number): string {
  const block = [lines[at] ?? ""];
  for (const line of lines.slice(at + 1)) {
    if (AT.test(line) || /^\s*…/.test(line) || (line.trim() === "" && !/assertions/.test(block.join("")))) break;
    block.push(line);
  }
  return block.join("\n");
}

/** The lines of the frame that leads to the error, in the versions that put the error last; none in 2.8. */
function frameAbove(lines: readonly string[], at: number): string[] {
  let start = at - 1;
  while (start >= 0 && !/^\s*(?:…|error:)/.test(lines[start] ?? "")) start -= 1;
  return start >= 0 && /^\s*…/.test(lines[start] ?? "") ? lines.slice(start, at) : [];
}

function lastWords(lines: readonly string[], status: number): string {
  return lines.findLast((line) => line.trim() !== "")?.trim() ?? `Nix ended with status ${status} and said nothing`;
}

export type FleetPosition = { file: string; line: number; column: number };

type ToFleet = (file: string) => string | undefined;
type Find = TreePlaces["find"];

/** The error's own position, right behind its message, if it is in the tree. */
function ownPosition(lines: readonly string[], at: number, toFleet: ToFleet): FleetPosition | undefined {
  const below = lines.slice(at + messageBlock(lines, at).split("\n").length).find((line) => line.trim() !== "");
  return positionIn(below ?? "", toFleet);
}

/** Where what is thrown, or asserted, is written in so many words. */
function placeOfText(block: string, find: Find): FleetPosition | undefined {
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
function placeOfOption(block: string, toFleet: ToFleet, find: Find): Place | undefined {
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
function placeOfPackage(block: string, find: Find): FleetPosition | undefined {
  const name = refusedPackage(block);
  if (name === undefined) return undefined;
  // openssl-1.0.2u is pkgs.openssl_1_0_2.
  const base = name.replace(/-\d.*$/, "");
  return only(find(new RegExp(`(?<![\\w.'"-])(?:pkgs\\.)?${escaped(base)}(?:_[\\d_]+\\w?)?(?![\\w'-])`, "g")));
}

function refusedPackage(block: string): string | undefined {
  const [, older, newer] =
    /Package ‘([^’]+)’ in .*refusing to evaluate|Refusing to evaluate package '([^']+)'/.exec(block) ?? [];
  return older ?? newer;
}

/** The frame of the trace that is nearest to the error and in the tree: a position, or a file that defines an option. */
function placeInFrames(lines: readonly string[], at: number, toFleet: ToFleet, find: Find): Place | undefined {
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
function fileNamedIn(text: string, toFleet: ToFleet): { file: string } | undefined {
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

function literally(text: string): RegExp {
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

function hintFor(rest: string, text: string, host: Pick<Host, "kind" | "path">): { hint: string } | undefined {
  const refused = refusedPackage(text);
  if (refused !== undefined && /unfree license/.test(text)) {
    const name = refused.replace(/-\d.*$/, "");
    return {
      hint: `nixpkgs.config.allowUnfreePredicate = pkg: builtins.elem (lib.getName pkg) [ "${name}" ]; would allow it`,
    };
  }
  if (refused !== undefined && /marked as insecure/.test(text)) {
    return { hint: `nixpkgs.config.permittedInsecurePackages = [ "${refused}" ]; would allow it` };
  }
  const meant = /^\s*(Did you mean .*\?)$/m.exec(rest)?.[1];
  if (/The option `/.test(text) && meant !== undefined) return { hint: meant };
  const lock = `nix flake lock ./${host.path}`;
  if (
    /requires lock file changes|cannot update (?:unlocked|the lock)|is not locked|lock file .* (?:out of date|needs)/i.test(
      text,
    )
  ) {
    return { hint: `its flake.lock is missing or stale: run '${lock}' and commit it` };
  }
  if (
    /in pure eval(?:uation)? mode|cannot update flake input .* in pure mode|unlocked/i.test(text) &&
    host.kind === "flake"
  ) {
    return {
      hint: `a flake sees only its locked inputs: run '${lock}' and commit it`,
    };
  }
  if (/attribute '(?:getFlake|fetchTree)' missing|experimental Nix feature 'flakes' is disabled/.test(text)) {
    return {
      hint: "a host without a flake.nix can't use flakes in a check, where they could read any file of this machine; fetchTarball and fetchGit can be used, or --option experimental-features 'nix-command flakes' allows it",
    };
  }
  if (/allow-import-from-derivation/.test(text)) {
    return { hint: "it builds something in order to evaluate (import-from-derivation), which a check doesn't allow" };
  }
  if (/file 'nixpkgs(?:\/nixos)?' was not found in the Nix search path/.test(text)) {
    return { hint: "a host without a flake needs a nixpkgs: set NIX_PATH=nixpkgs=… or pass -I nixpkgs=…" };
  }
  return undefined;
}

/** The file that Nix could not reach, whatever it says of the reason. */
const UNREACHED =
  /access to (?:absolute )?path '(?<forbidden>\/[^']+)' is forbidden|(?:getting status of|opening file) '(?<missing>\/[^']+)': No such file|path '(?<absent>\/[^']+)' does not exist/;

/**
 * A file that is used and isn't in the staged tree, which is only the host's, and only what git tracks of it: what is wrong
 * and what mends it. Undefined when it is something else.
 */
function unreachedFile(
  text: string,
  frame: readonly string[],
  dirs: readonly string[],
  toFleet: (file: string) => string | undefined,
  host: ExplainedHost,
): { message: string; hint: string; written: string } | undefined {
  const { forbidden, missing, absent } = UNREACHED.exec(text)?.groups ?? {};
  const reached = forbidden ?? missing ?? absent;
  if (reached === undefined) return undefined;
  // 2.26 names only the first directory on the way that is forbidden, and the file above it.
  const meant = /path '(\/[^']+)'/.exec(frame.join("\n"))?.[1];
  const file = meant?.startsWith(`${reached}/`) ? meant : reached;
  const place = toFleet(file);
  if (place !== undefined) {
    const written = path.posix.basename(place);
    if (host.include !== null)
      return {
        message: `${place} is not in what the host gets`,
        hint: `add it to the host's include: ${place}`,
        written,
      };
    const message = `there is no ${place}, or git doesn't track it`;
    return { message, hint: `if it is there: git add ${place}`, written };
  }
  // What is missing beyond the tree, where reading is allowed, is nixpkgs' own affair, or another input's.
  if (forbidden === undefined) return undefined;
  // A way out of the tree leads to the same place in the fleet from the host's own directory.
  const ways = dirs.map((dir) => path.posix.relative(dir, file)).filter((way) => way.startsWith("../"));
  const way = ways.find((way) => !path.posix.join(host.path, way).startsWith(".."));
  if (way === undefined || file.startsWith("/etc/")) {
    return {
      message: `it uses ${file}, which a host does not have`,
      hint: "a host has only its own directory, and what is linked into it (ln -s) or named in its include",
      written: file,
    };
  }
  const name = path.posix.basename(way);
  return {
    message: `it uses ${way}, which is outside of ${host.path}: it would be missing on the host`,
    hint: `link it in: ln -s ${way} ${host.path}/${name} && git add ${host.path}/${name}; then use ./${name}`,
    written: way,
  };
}
