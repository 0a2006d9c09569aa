import { BentoError, formatLocation, type Location } from "../errors.ts";
import { inert, inertLine } from "../inert.ts";
import type { HostFailure } from "../results.ts";
import type { Paint } from "./terminal.ts";

/** Where a failure is, or undefined where nobody knows. */
export function locationOf(failure: HostFailure): Location | undefined {
  const { file, line, column } = failure;
  if (file === undefined) return undefined;
  return {
    file: inertLine(file),
    ...(line === undefined ? {} : { line }),
    ...(column === undefined ? {} : { column }),
  };
}

/** A host's failure in lines: the place, the cause, what to do; with `trace` also all that the tool said. */
export function failureLines(failure: HostFailure, paint: Paint, trace: boolean): string[] {
  const at = locationOf(failure);
  return [
    at === undefined
      ? inertLine(failure.message)
      : `${paint("bold", formatLocation(at))}: ${inertLine(failure.message)}`,
    ...(failure.hint === undefined ? [] : [paint("dim", `→ ${inertLine(failure.hint)}`)]),
    ...(trace && failure.trace !== undefined
      ? inert(failure.trace)
          .trimEnd()
          .split("\n")
          .map((line) => paint("dim", line))
      : []),
  ];
}

/** What is thrown, as text for a person. What a user can cause has no stack trace; a bug has. */
export function describeError(error: unknown, paint: Paint): string {
  if (!(error instanceof BentoError)) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return `${paint("red", "error:")} this is a bug in Bento: ${inert(text)}`;
  }
  const place = error.at === undefined ? "" : `${formatLocation(error.at)}: `;
  const hint = error.hint === undefined ? "" : `\n${paint("dim", `→ ${inert(error.hint)}`)}`;
  return `${paint("red", "error:")} ${inert(place + error.message)}${hint}`;
}
