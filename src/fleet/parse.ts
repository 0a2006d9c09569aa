import { type Document, isMap, isScalar, isSeq, LineCounter, type Node, type Pair, parseDocument } from "yaml";
import type { z } from "zod";
import { FleetError, formatLocation, type Location } from "../errors.ts";
import { type FleetFile, fleetSchema, KNOWN_KEYS } from "./schema.ts";
import { nearest } from "./suggest.ts";

export const FLEET_FILE = "fleet.yaml";

/** fleet.yaml's content, and where in the file each of its values stands. */
export interface ParsedFleet {
  content: FleetFile;
  locate(path: readonly PropertyKey[]): Location;
}

interface Problem {
  at: Location;
  text: string;
}

/**
 * Reads the text of a fleet.yaml.
 * @throws FleetError that names file, line and column of the first problem, and lists the others.
 */
export function parseFleetFile(file: string): ParsedFleet {
  const text = file.replace(/^\ufeff/, "");
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, stringKeys: true, prettyErrors: false });
  const place = (offset: number): Location => {
    const { line, col } = lines.linePos(offset);
    return { file: FLEET_FILE, line, column: col };
  };
  const syntax = document.errors.map((error) => {
    if (error.code !== "DUPLICATE_KEY") return { at: place(error.pos[0]), text: firstLine(error.message) };
    // yaml gives where the one before it ends.
    const offset = skipBlanks(text, error.pos[0]);
    const [key = ""] = /^[^\s:]*/.exec(text.slice(offset)) ?? [];
    return { at: place(offset), text: `the key ${key} is there twice` };
  });
  if (syntax.length > 0) throw problemsError(syntax);

  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    throw new FleetError(`it can't be read: ${error instanceof Error ? error.message : error}`, {
      at: { file: FLEET_FILE },
      cause: error,
    });
  }
  const locate = (path: readonly PropertyKey[]) => place(offsetOf(document, path));
  const result = fleetSchema.safeParse(value ?? {});
  const found = result.success ? [] : result.error.issues.flatMap((issue) => problems(issue, locate));
  // zod passes over this one key of a record without a word.
  if (document.hasIn(["hosts", "__proto__"])) {
    found.push({ at: locate(["hosts", "__proto__"]), text: "hosts.__proto__ must be a host name" });
  }
  if (!result.success || found.length > 0) throw problemsError(found);
  return { content: result.data, locate };
}

/**
 * Looks at a text that is no fleet.yaml yet, but made of a command's options.
 * @throws FleetError that says what is wrong, and not where: that would help nobody.
 */
export function checkFleetText(text: string): void {
  try {
    parseFleetFile(text);
  } catch (error) {
    if (!(error instanceof FleetError)) throw error;
    throw new FleetError(error.message.replaceAll(new RegExp(`^${FLEET_FILE}:\\d+:\\d+: `, "gm"), ""), {
      cause: error,
    });
  }
}

/** More than these are one mistake's echo. */
const MAX_PROBLEMS = 20;

function problemsError(problems: Problem[]): FleetError {
  const sorted = problems.toSorted(({ at: a }, { at: b }) =>
    a.line === b.line ? (a.column ?? 0) - (b.column ?? 0) : (a.line ?? 0) - (b.line ?? 0),
  );
  const [first, ...others] = sorted;
  if (first === undefined) throw new Error("an error without a problem");
  const rest = others.slice(0, MAX_PROBLEMS).map((problem) => `\n${formatLocation(problem.at)}: ${problem.text}`);
  if (others.length > MAX_PROBLEMS) rest.push(`\n… and ${others.length - MAX_PROBLEMS} more`);
  return new FleetError(first.text + rest.join(""), { at: first.at });
}

function problems(issue: z.core.$ZodIssue, locate: (path: readonly PropertyKey[]) => Location): Problem[] {
  const where = keyPath(issue.path);
  if (issue.code === "unrecognized_keys") {
    const known = KNOWN_KEYS[issue.path.map((part, i) => (i === 1 ? "*" : part)).join(".")] ?? [];
    return issue.keys.map((key) => {
      const meant = nearest(key, known);
      const advice = meant ? `did you mean '${meant}'?` : `known keys: ${known.join(", ")}`;
      return {
        at: locate([...issue.path, key]),
        text: `${keyPath([...issue.path, key])} is not a known key; ${advice}`,
      };
    });
  }
  if (issue.code === "invalid_key") {
    return [{ at: locate(issue.path), text: `${where} ${issue.issues[0]?.message ?? "is not a valid name"}` }];
  }
  if (issue.code === "invalid_type") {
    const missing = issue.message.endsWith("received undefined");
    return [
      { at: locate(issue.path), text: `${where} ${missing ? "is missing" : `must be ${article(issue.expected)}`}` },
    ];
  }
  if (issue.code === "invalid_value") {
    return [{ at: locate(issue.path), text: `${where} must be one of: ${issue.values.join(", ")}` }];
  }
  if (issue.code === "too_big" && issue.message.startsWith("Too big")) {
    return [{ at: locate(issue.path), text: `${where} must be ${issue.maximum} at most` }];
  }
  if (issue.code === "too_small" && issue.message.startsWith("Too small")) {
    const least = issue.origin === "int" || issue.origin === "number" ? `be ${issue.minimum} at least` : "not be empty";
    return [{ at: locate(issue.path), text: `${where} must ${least}` }];
  }
  return [{ at: locate(issue.path), text: `${where} ${issue.message.replace(/^Invalid input: /, "")}` }];
}

function keyPath(path: readonly PropertyKey[]): string {
  return path.length === 0 ? "the file" : path.map(String).join(".");
}

function article(type: string): string {
  const names: Record<string, string> = {
    object: "a set of keys",
    record: "a set of keys",
    array: "a list",
    string: "text",
    int: "a whole number",
    number: "a number",
  };
  return names[type] ?? type;
}

/** Where the value at `path` stands; for a key that is missing, the nearest place around it. */
function offsetOf(document: Document, path: readonly PropertyKey[]): number {
  let node: unknown = document.contents;
  let offset = startOf(node);
  for (const part of path) {
    if (isMap(node)) {
      const pair: Pair | undefined = node.items.find(
        (item) => isScalar(item.key) && String(item.key.value) === String(part),
      );
      if (pair === undefined) break;
      offset = startOf(pair.key);
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(part)];
      offset = startOf(node) || offset;
    } else break;
  }
  return offset;
}

function startOf(node: unknown): number {
  return (node as Node | null | undefined)?.range?.[0] ?? 0;
}

/** The next offset that is neither white space nor in a comment. */
function skipBlanks(text: string, offset: number): number {
  const blanks = /(?:\s|#.*)*/y;
  blanks.lastIndex = offset;
  return offset + (blanks.exec(text)?.[0].length ?? 0);
}

function firstLine(text: string): string {
  return text.split("\n")[0] ?? text;
}
