/**
 * What Nix says while it works, with `--log-format internal-json`: lines of `@nix {…}` on stderr, alike in all versions (Nix's
 * logging.hh). Activities are begun and ended, and meanwhile have results.
 */

/** Kinds of activities (`ActivityType`). */
export const COPY_PATH = 100;
export const FILE_TRANSFER = 101;
export const BUILDS = 104;
export const BUILD = 105;

/** Kinds of results (`ResultType`). */
const LOG_LINE = 101;
const PROGRESS = 105;
const SET_EXPECTED = 106;

export type NixEvent =
  /** `path` is the derivation that is built, or the store path that is copied; "" for others. */
  | { kind: "start"; id: number; type: number; path: string }
  | { kind: "stop"; id: number }
  | { kind: "log"; id: number; line: string }
  /** Of files and paths in bytes, of builds in derivations. */
  | { kind: "progress"; id: number; done: number; expected: number }
  /** How much an activity expects of another kind, `type`. */
  | { kind: "expected"; id: number; type: number; expected: number }
  /** `level` 0 is an error, 1 a warning. */
  | { kind: "message"; level: number; text: string };

/** A line that is longer is nobody's log, and is left out. */
const MAX_LINE = 1024 * 1024;

/** Gives a function that takes pieces of stderr, and calls `onEvent` for each whole line that says something. */
export function eventReader(onEvent: (event: NixEvent) => void): (piece: string) => void {
  let rest = "";
  let isTooLong = false;
  return (piece) => {
    const lines = (rest + piece).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const event = isTooLong ? undefined : parseEvent(line);
      isTooLong = false;
      if (event !== undefined) onEvent(event);
    }
    if (rest.length > MAX_LINE) {
      rest = "";
      isTooLong = true;
    }
  };
}

/** One line; what is no event, as a warning from before Nix has read its options, is a message. */
export function parseEvent(line: string): NixEvent | undefined {
  if (line === "") return undefined;
  if (!line.startsWith("@nix ")) return { kind: "message", level: /^error:/.test(line) ? 0 : 1, text: line };
  let said: Said;
  try {
    said = JSON.parse(line.slice("@nix ".length)) ?? {};
  } catch {
    return undefined;
  }
  const { action, id, type, level } = said;
  const fields = Array.isArray(said.fields) ? said.fields : [];
  if (action === "msg" && typeof said.msg === "string" && typeof level === "number") {
    return { kind: "message", level, text: said.msg };
  }
  if (typeof id !== "number") return undefined;
  if (action === "stop") return { kind: "stop", id };
  if (typeof type !== "number") return undefined;
  const [first, second] = fields;
  if (action === "start") return { kind: "start", id, type, path: typeof first === "string" ? first : "" };
  if (action !== "result") return undefined;
  if (type === LOG_LINE && typeof first === "string") return { kind: "log", id, line: first };
  if (typeof first !== "number" || typeof second !== "number") return undefined;
  if (type === PROGRESS) return { kind: "progress", id, done: first, expected: second };
  if (type === SET_EXPECTED) return { kind: "expected", id, type: first, expected: second };
  return undefined;
}

interface Said {
  action?: unknown;
  id?: unknown;
  type?: unknown;
  level?: unknown;
  fields?: unknown;
  msg?: unknown;
}
