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
  /** Where in the tree's Nix files a text stands first, as a place in the fleet. */
  find(text: string): FleetPosition | undefined;
}

interface Position {
  file: string;
  line: number;
  column: number;
}

/**
 * Makes what Nix printed into what a reviewer wants to know: the innermost cause in one line, and the place in the fleet
 * where it is. The versions of Nix say it in different orders: 2.8 puts the error first and then goes outwards, later ones
 * come inwards and put the error last; each time the error's own place stands right behind it, if it has one.
 */
export function explainFailure(
  run: { stderr: string; status: number },
  { dirs, origin, find }: TreePlaces,
  host: ExplainedHost,
): HostFailure {
  const text = withoutOurs(withoutColours(run.stderr));
  const toFleet = (file: string): string | undefined => {
    const dir = dirs.find((dir) => file === dir || file.startsWith(`${dir}/`));
    return dir === undefined ? undefined : origin(path.relative(dir, file));
  };
  const lines = text.split("\n");
  const at = causeLine(lines);
  const readable = (line: string) => line.replace(PATH, (file) => toFleet(file) ?? file);

  const unreached = unreachedFile(text, dirs, toFleet, host);
  const message = at === undefined ? lastWords(lines, run.status) : readable(messageAt(lines, at));
  const position = at === undefined ? undefined : findPosition(lines, at, toFleet);
  return {
    message: message.slice(0, MAX_MESSAGE),
    ...(position ??
      (unreached && find(unreached.written)) ??
      fileNamedIn(at === undefined ? "" : messageBlock(lines, at), toFleet)),
    ...(hintFor(text, host) ?? {}),
    ...(unreached && { message: unreached.message, hint: unreached.hint }),
    trace: readable(text.slice(-MAX_TRACE)),
  };
}

/** The warnings of an evaluation: `trace: warning: …` from NixOS, and Nix's own. */
export function warningsIn(stderr: string): string[] {
  const found = withoutColours(stderr).matchAll(/^(?:trace: |evaluation )?warning: (.*)$/gm);
  const ours =
    /creating lock file|not writing modified lock file|Git tree .* is dirty|ignoring untrusted|unknown setting|the group 'nixbld'|error: SQLite database|Nix search path entry/;
  return [...new Set([...found].map((match) => match[1] ?? ""))]
    .filter((text) => text !== "" && !ours.test(text))
    .slice(0, 50);
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
  // NixOS's failed assertions are a list below a heading that says nothing.
  const block = messageBlock(lines, at);
  if (/Failed assertions:/.test(block)) {
    const assertions = [...block.matchAll(/^\s*- (.*)$/gm)].map((match) => match[1]);
    if (assertions.length > 0) return assertions.join("; ");
  }
  const first = block.replace(/^\s*error:\s*/, "").split("\n")[0] ?? "";
  return first.replace(/ Definition values:$/, "");
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

function lastWords(lines: readonly string[], status: number): string {
  return lines.findLast((line) => line.trim() !== "")?.trim() ?? `Nix ended with status ${status} and said nothing`;
}

export type FleetPosition = { file: string; line: number; column: number };

/** The error's own position if it is in the tree, or else that of the frame of the trace that is nearest to the error and in it. */
function findPosition(
  lines: readonly string[],
  cause: number,
  toFleet: (file: string) => string | undefined,
): FleetPosition | undefined {
  const inTree = (line: string): FleetPosition | undefined => {
    const position = positionIn(line);
    const file = position && toFleet(position.file);
    return position && file !== undefined ? { ...position, file } : undefined;
  };
  for (const line of lines.slice(cause + 1)) {
    const position = inTree(line);
    if (position) return position;
  }
  for (const line of lines.slice(0, cause).reverse()) {
    const position = inTree(line);
    if (position) return position;
  }
  return undefined;
}

function positionIn(line: string): Position | undefined {
  const [, file, row, column] = AT.exec(line) ?? [];
  return file === undefined ? undefined : { file, line: Number(row), column: Number(column) };
}

/** A mistyped option has no position, but names its file: "- In `/…/configuration.nix'". */
function fileNamedIn(text: string, toFleet: (file: string) => string | undefined): { file: string } | undefined {
  for (const [file] of text.matchAll(PATH)) {
    const known = toFleet(file);
    if (known !== undefined && /\.nix$/.test(known)) return { file: known };
  }
  return undefined;
}

function hintFor(text: string, host: Pick<Host, "kind" | "path">): { hint: string } | undefined {
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
  /access to (?:absolute )?path '(?<forbidden>\/[^']+)' is forbidden|getting status of '(?<missing>\/[^']+)': No such file|path '(?<absent>\/[^']+)' does not exist/;

/**
 * A file that is used and isn't in the staged tree, which is only the host's, and only what git tracks of it: what is wrong
 * and what mends it. Undefined when it is something else.
 */
function unreachedFile(
  text: string,
  dirs: readonly string[],
  toFleet: (file: string) => string | undefined,
  host: ExplainedHost,
): { message: string; hint: string; written: string } | undefined {
  const { forbidden, missing, absent } = UNREACHED.exec(text)?.groups ?? {};
  const file = forbidden ?? missing ?? absent;
  if (file === undefined) return undefined;
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
