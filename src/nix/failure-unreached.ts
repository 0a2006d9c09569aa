import path from "node:path";
import type { Host } from "../fleet/fleet.ts";
import type { ToFleet } from "./failure-place.ts";

export type ExplainedHost = Pick<Host, "kind" | "path" | "include">;

/** The file that Nix could not reach, whatever it says of the reason. */
const UNREACHED =
  /access to (?:absolute )?path '(?<forbidden>\/[^']+)' is forbidden|(?:getting status of|opening file) '(?<missing>\/[^']+)': No such file|path '(?<absent>\/[^']+)' does not exist/;

/**
 * A file that is used and isn't in the staged tree, which is only the host's, and only what git tracks of it: what is wrong
 * and what mends it. Undefined when it is something else.
 */
export function unreachedFile(
  text: string,
  frame: readonly string[],
  dirs: readonly string[],
  toFleet: ToFleet,
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
  // From the tree's copy in the store to another store path is none.
  const ways = dirs
    .map((dir) => path.posix.relative(dir, file))
    .filter((way) => way.startsWith("../") && !/^(?:\.\.\/)+[0-9a-z]{32}-/.test(way));
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
