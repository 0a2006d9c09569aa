import { randomUUID } from "node:crypto";
import * as core from "@actions/core";
import { inert, inertLine } from "../inert.ts";
import type { Output } from "./output.ts";

export interface Annotation {
  level: "error" | "warning" | "notice";
  title: string;
  message: string;
  file?: string;
  line?: number;
  column?: number;
}

/** The edge to GitHub's runner, and to others that do the same (Forgejo's). */

/** What an input holds, "" when it isn't set. */
export function input(name: string): string {
  return core.getInput(name);
}

/** @throws TypeError when it is neither true nor false. */
export function booleanInput(name: string): boolean {
  return core.getBooleanInput(name);
}

/** Each line of an input, without empty ones. */
export function lines(name: string): string[] {
  return core.getMultilineInput(name).filter((line) => line !== "");
}

/** An input that is kept out of the log (line by line, as the runner masks lines) and of the programs that are started. */
export function secretInput(name: string): string {
  const secret = core.getInput(name);
  for (const line of secret.split(/\r?\n/)) if (line.trim().length > 8) core.setSecret(line.trim());
  delete process.env[`INPUT_${name.toUpperCase()}`];
  return secret;
}

export function setOutput(name: string, value: string): void {
  core.setOutput(name, value);
}

export function annotate({ level, message, title, file, line, column }: Annotation): void {
  const write = { error: core.error, warning: core.warning, notice: core.notice }[level];
  write(inert(message), {
    title: inert(title),
    ...(file === undefined ? {} : { file }),
    ...(line === undefined ? {} : { startLine: line }),
    ...(column === undefined ? {} : { startColumn: column }),
  });
}

/** Adds markdown to the step's summary; a runner that has none is left alone. */
export async function addSummary(markdown: string): Promise<void> {
  if (process.env.GITHUB_STEP_SUMMARY) await core.summary.addRaw(markdown).write();
}

/** Turns the run red, and says why. */
export function fail(message: string): void {
  core.setFailed(inert(message));
}

/**
 * Prints text that nobody vouches for. A line on stdout that begins with `::` is a command to the runner; between these guards
 * it is not (docs: "stopping and starting workflow commands").
 */
export function printForeign(text: string): void {
  const token = randomUUID();
  process.stdout.write(`::stop-commands::${token}\n${inert(text)}\n::${token}::\n`);
}

/** Progress is for terminals: in a log that is read later, each step is a line. */
export function actionsOutput(): Output {
  return {
    info: printForeign,
    // The runner would leave them out, and builds can say a lot.
    debug: (line) => {
      if (core.isDebug()) core.debug(inert(line));
    },
    warning: (line) => core.warning(inert(line)),
    progress: () => {},
    done: () => {},
    group: (title) => {
      core.startGroup(inertLine(title));
      return { line: printForeign, end: () => core.endGroup() };
    },
    folded: (title, text) => {
      core.startGroup(inertLine(title));
      printForeign(text);
      core.endGroup();
    },
  };
}
