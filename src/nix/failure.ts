import type { Host } from "../fleet/fleet.ts";
import { clip } from "../inert.ts";
import type { HostFailure } from "../results.ts";
import {
  causeLine,
  frameAbove,
  lastWords,
  messageAt,
  messageBlock,
  refusedPackage,
  withoutColours,
  withoutOurs,
} from "./failure-message.ts";
import {
  fileNamedIn,
  inFleet,
  literally,
  ownPosition,
  PATH,
  placeInFrames,
  placeOfOption,
  placeOfPackage,
  placeOfText,
  type TreePlaces,
} from "./failure-place.ts";
import { type ExplainedHost, unreachedFile } from "./failure-unreached.ts";

/** The trace kept with a failure, in characters: its beginning, where Nix 2.8 puts the cause, and its end, where others do. */
const MAX_TRACE = 20_000;
const MAX_MESSAGE = 1_000;

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
  const trace = readable(clip(text, MAX_TRACE));
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
    /creating lock file|not writing modified lock file|Git tree .* is dirty|ignoring untrusted|unknown setting|the group 'nixbld'|error: SQLite database|Nix search path entry|you don't have Internet access|retrying in \d+ ms/;
  return [...new Set([...found].map((match) => match[1] ?? ""))]
    .filter((text) => text !== "" && !ours.test(text))
    .slice(0, 50)
    .map((text) => text.replace(PATH, (file) => inFleet(file, dirs, origin) ?? file));
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
  if (/unable to download '.*': .*(?:resolve host|connect to|timed? ?out)/i.test(text))
    return { hint: "it has to be fetched, and can't be from here: is there a network, and is the address right?" };
  const lock = `nix flake lock ./${host.path}`;
  if (
    /requires lock file changes|cannot update (?:unlocked|the lock|flake input)|is not locked|lock file .* (?:out of date|needs)/i.test(
      text,
    )
  ) {
    return { hint: `its flake.lock is missing or stale: run '${lock}' and commit it` };
  }
  if (/in pure eval(?:uation)? mode|unlocked/i.test(text) && host.kind === "flake") {
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
  const meant = /^\s*(Did you mean .*\?)$/m.exec(rest)?.[1];
  if (meant !== undefined && /The option `|attribute '.*' missing|undefined variable/.test(text))
    return { hint: meant };
  return undefined;
}
