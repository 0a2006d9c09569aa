import { inert } from "../inert.ts";
import type { InitUpdateDocument, UpdatedFileStatus } from "../results.ts";
import { count, type Paint } from "./terminal.ts";

type UpdatedFile = InitUpdateDocument["files"][number];

/** What became of the files; those that are as they were are not listed, since most are. */
export function renderInitUpdate(document: InitUpdateDocument, paint: Paint, verbose: boolean): string {
  const of = (...statuses: UpdatedFileStatus[]) => document.files.filter(({ status }) => statuses.includes(status));
  const kept = of("kept");
  const held = of("held");
  return [
    heading(document),
    ...of("updated").map(({ file }) => `${paint("green", "✓")} ${file}`),
    ...of("added").map(({ file }) => `${paint("green", "✓")} ${file} is new`),
    ...of("removed").map(({ file }) => `${paint("green", "✓")} ${file} is gone: Bento has it no more`),
    ...[...Map.groupBy(kept, ({ change, file, place }) => (change?.of === "yours" ? file : place))].flatMap(
      ([place, files]) => keptLines(place, files, paint, verbose),
    ),
    ...(held.length === 0
      ? []
      : [paint("dim", `· ${count(held.length, "more file")} left, since they have to be of one version with that`)]),
    ...(document.next.length === 0 ? [] : ["", "Next:", ...document.next.map((step) => `  ${step}`)]),
  ].join("\n");
}

function heading({ files, from, to, dryRun }: InitUpdateDocument): string {
  if (files.some(({ status }) => status === "updated" || status === "added" || status === "removed")) {
    return `${dryRun ? "To be brought" : "Brought"} ${from === null || from === to ? "" : `from Bento ${from} `}to Bento ${to}:`;
  }
  return files.some(({ status }) => status === "kept")
    ? `Nothing ${dryRun ? "would be" : "was"} brought to Bento ${to}:`
    : `All that bento init copied is of Bento ${to}.`;
}

/** Somebody's own change is shown whole, to be made again; what is different in Bento's may be a version's work. */
function keptLines(place: string, kept: readonly UpdatedFile[], paint: Paint, verbose: boolean): string[] {
  const areTheirs = kept.every(({ change }) => change?.of === "yours");
  const what = kept.length === 1 ? kept.map(({ file }) => file).join("") : `${place} (${count(kept.length, "file")})`;
  const why = areTheirs ? "it was changed here" : "whether it was changed here isn't known, and Bento's is another";
  const diffs = kept.map(({ change }) => (areTheirs || verbose ? inert(change?.diff ?? "").trimEnd() : ""));
  return [
    `${paint("yellow", "✗")} ${what} is left: ${why}`,
    ...diffs.filter((diff) => diff !== "").flatMap((diff) => diff.split("\n").map((line) => `    ${line}`)),
  ];
}
