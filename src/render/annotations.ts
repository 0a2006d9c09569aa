import type { Annotation } from "../platform/actions.ts";
import type { CheckDocument, DeployDocument, HostFailure, StatusDocument } from "../results.ts";
import { locationOf } from "./failure.ts";
import { count } from "./terminal.ts";

/** GitHub shows no more of one level for a step. */
const MAX = 10;

/** What stands beside the code of a pull request: each failed host's cause at its file and line, and warnings. */
export function annotations(document: CheckDocument | DeployDocument | StatusDocument, fleet: string): Annotation[] {
  if (document.command === "status") return [];
  const failures = document.hosts.flatMap(({ name, error }) => (error === null ? [] : [failure(name, error, fleet)]));
  const warnings = document.warnings.map((message): Annotation => ({ level: "warning", title: "Bento", message }));
  return [...capped(failures, "error", "failed host"), ...capped(warnings, "warning", "warning")];
}

function failure(name: string, error: HostFailure, fleet: string): Annotation {
  const at = locationOf(error);
  const message = error.hint === undefined ? error.message : `${error.message}\n→ ${error.hint}`;
  if (at === undefined) return { level: "error", title: name, message };
  const { file, ...place } = at;
  return { level: "error", title: name, message, file: fleet === "." ? file : `${fleet}/${file}`, ...place };
}

/** The last one that is shown counts those that aren't. */
function capped(all: readonly Annotation[], level: Annotation["level"], noun: string): Annotation[] {
  if (all.length <= MAX) return [...all];
  const rest = all.length - (MAX - 1);
  return [
    ...all.slice(0, MAX - 1),
    { level, title: "Bento", message: `${count(rest, `more ${noun}`)}: see the summary` },
  ];
}
