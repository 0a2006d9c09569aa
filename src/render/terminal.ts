import { styleText } from "node:util";
import sliceAnsi from "slice-ansi";
import width from "string-width";
import { inertLine } from "../inert.ts";

export type Style = "bold" | "dim" | "red" | "green" | "yellow" | "cyan";

/** Colours text, or leaves it as it is. */
export type Paint = (style: Style, text: string) => string;

export function painter(colour: boolean): Paint {
  return (style, text) => (colour ? styleText(style, text, { validateStream: false }) : text);
}

/** Lines up the cells of each row by two spaces; the last cell of a row is as long as it likes. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    row.slice(0, -1).forEach((cell, column) => {
      widths[column] = Math.max(widths[column] ?? 0, width(cell));
    });
  }
  return rows.map((row) =>
    row
      .map((cell, column) =>
        column === row.length - 1 ? cell : cell + " ".repeat((widths[column] ?? 0) - width(cell)),
      )
      .join("  ")
      .trimEnd(),
  );
}

/** The beginning of a line, as much of it as there are columns for. */
export function cutTo(line: string, columns: number): string {
  return width(line) <= columns ? line : `${sliceAnsi(line, 0, columns - 1)}…`;
}

/** "1 host", "3 hosts". */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** "12 B", "3.4 MiB". */
export function size(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let amount = bytes;
  let unit = 0;
  while (amount >= 1024 && unit < units.length - 1) {
    amount /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? amount : amount.toFixed(1)} ${units[unit]}`;
}

/** How many hosts there are of each kind, in the order of `kinds`: "4 hosts: 3 ok, 1 failed". */
export function tally<T extends string>(found: readonly T[], kinds: readonly T[]): string {
  const parts = kinds
    .map((kind) => [found.filter((one) => one === kind).length, kind] as const)
    .filter(([number]) => number > 0)
    .map(([number, kind]) => `${number} ${kind}`);
  return `${count(found.length, "host")}: ${parts.join(", ")}`;
}

export function warnings(texts: readonly string[], paint: Paint): string[] {
  return texts.map((text) => `${paint("yellow", "warning:")} ${inertLine(text)}`);
}
