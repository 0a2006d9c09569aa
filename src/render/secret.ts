import { inertLine } from "../inert.ts";
import type { SecretEditDocument, SecretListDocument, SecretResult } from "../results.ts";
import { failureLines } from "./failure.ts";
import { type Paint, table, warnings } from "./terminal.ts";

export function renderSecretEdit(document: SecretEditDocument, paint: Paint): string {
  const results = document.hosts.flatMap((host) => host.secrets);
  const changed = results.some(({ status }) => status === "written" || status === "removed");
  return [
    ...results.flatMap((result) => lines(result, paint)),
    ...warnings(document.warnings, paint),
    ...(changed ? [paint("dim", "→ git add secrets, commit, and bento deploy")] : []),
  ].join("\n");
}

function lines({ file, status, error }: SecretResult, paint: Paint): string[] {
  if (error !== null) {
    const [first = "", ...rest] = failureLines(error, paint, false);
    return [`${paint("red", "✗")} ${first}`, ...rest.map((line) => `  ${line}`)];
  }
  if (status === "unchanged") return [paint("dim", `· ${inertLine(file)} is as it was`)];
  return [`${paint("green", "✓")} ${inertLine(file)}${status === "removed" ? " removed" : ""}`];
}

export function renderSecretList(document: SecretListDocument, paint: Paint): string {
  const rows = document.hosts.flatMap((host) =>
    host.secrets.map(({ name, status, problem }) => [host.name, inertLine(name), state(status, problem, paint)]),
  );
  const heading = ["HOST", "SECRET", ""].map((text) => paint("dim", text));
  return [
    ...(rows.length === 0 ? ["There are no secrets."] : table([heading, ...rows])),
    ...warnings(document.warnings, paint),
  ].join("\n");
}

type Listed = SecretListDocument["hosts"][number]["secrets"][number];

function state(status: Listed["status"], problem: string | null, paint: Paint): string {
  switch (status) {
    case "ok":
      return "";
    case "stale":
      return paint("yellow", "encrypted to other keys than fleet.yaml has: bento secret rekey");
    case "untracked":
      return paint("yellow", "not in git yet: git add secrets");
    case "unusable":
      return paint("red", inertLine(problem ?? ""));
  }
}
