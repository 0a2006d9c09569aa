import { inertLine } from "../inert.ts";
import type { FlakeUpdate, FlakeUpdateDocument, LockedInput } from "../results.ts";
import { failureLines } from "./failure.ts";
import { code, markdownTable } from "./markdown.ts";
import { count, type Paint, type Style, table } from "./terminal.ts";

const MARKS: Readonly<Record<FlakeUpdate["status"], readonly [string, Style]>> = {
  updated: ["~", "cyan"],
  created: ["+", "green"],
  unchanged: ["·", "dim"],
  failed: ["✗", "red"],
};

export function renderFlakeUpdate(document: FlakeUpdateDocument, paint: Paint, verbose: boolean): string {
  const lines = document.flakes.flatMap((flake) => {
    const [mark, style] = MARKS[flake.status];
    const detail = flake.reason === null ? "" : ` (${inertLine(flake.reason)})`;
    const rows = flake.changes.map(({ input, from, to }) => [inertLine(input), lockedText(from), "→", lockedText(to)]);
    const error = flake.error === null ? [] : failureLines(flake.error, paint, verbose);
    return [
      `${paint(style, mark)} ${flake.file}: ${paint(style, flake.status)}${detail}`,
      ...[...table(rows), ...error].map((line) => `    ${line}`),
    ];
  });
  return [...lines, "", summaryOf(document)].join("\n");
}

/** For the body of a pull request, or a job's summary. */
export function flakeUpdateMarkdown(document: FlakeUpdateDocument): string {
  const parts = document.flakes.flatMap((flake) => {
    if (flake.status === "unchanged") return [];
    if (flake.error !== null) return [`### ${code(flake.file)}\n\nfailed: ${code(flake.error.message)}`];
    const rows = flake.changes.map(({ input, from, to }) =>
      [input, lockedText(from), lockedText(to)].map((text) => code(text)),
    );
    return [`### ${code(flake.file)}\n\n${markdownTable(["input", "from", "to"], rows)}`];
  });
  return `${[...parts, summaryOf(document)].join("\n\n")}\n`;
}

/** `github:NixOS/nixpkgs 4c1018dae018 (2024-03-01)`. */
function lockedText(locked: LockedInput | null): string {
  if (locked === null) return "nothing";
  const { source, rev, date, narHash } = locked;
  const what = rev === null ? (narHash?.slice(0, 19) ?? "") : rev.slice(0, 12);
  return inertLine([source, what, date === null ? "" : `(${date})`].filter((text) => text !== "").join(" "));
}

function summaryOf({ flakes, dryRun }: FlakeUpdateDocument): string {
  const moved = flakes.filter(({ changes }) => changes.length > 0).length;
  const failures = flakes.filter(({ status }) => status === "failed").length;
  const failed = failures === 0 ? "" : `, ${failures} failed`;
  return `${count(flakes.length, "flake")}: ${moved} with newer inputs${failed}${dryRun ? " (dry run: nothing was written)" : ""}`;
}
