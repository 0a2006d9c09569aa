import path from "node:path";
import type { Context } from "../commands/context.ts";
import { SECRETS } from "../commands/keys.ts";
import { BentoError, machineError } from "../errors.ts";
import { findFleet } from "../fleet/load.ts";
import { splitPatterns } from "../fleet/select.ts";
import { onInterrupt } from "../platform/interrupt.ts";
import { terminalOutput } from "../platform/output.ts";
import { describeError } from "../render/failure.ts";
import { type Paint, painter } from "../render/terminal.ts";
import { exitStatus, type ResultDocument } from "../results.ts";
import type { CommonOptions } from "./options.ts";

/** One run of a command. */
export interface Session {
  context: Context;
  options: CommonOptions;
  paint: Paint;
  verbose: boolean;
  /** The fleet's directory. */
  fleet(): string;
  hosts: readonly string[];
}

function session(options: CommonOptions): Session {
  const verbose = options.verbose === true;
  const env = { ...process.env };
  // What is started (Nix, and with it the fleet's own code) inherits this process's environment, and has no use for the keys.
  for (const name of SECRETS) delete process.env[name];
  // `host add` has groups of its own, one option each.
  const group = typeof options.group === "string" ? options.group : undefined;
  return {
    context: { output: terminalOutput({ verbose }), signal: onInterrupt(), env, cwd: process.cwd() },
    options,
    paint: painterFor(process.stdout, options),
    verbose,
    fleet: () => (options.fleet === undefined ? findFleet(process.cwd()) : path.resolve(options.fleet)),
    hosts: [
      ...splitPatterns(options.hosts ?? (group === undefined ? env.NAME : undefined)),
      ...splitPatterns(group).map((group) => `@${group}`),
    ],
  };
}

/** Colours are for a terminal, and for somebody who doesn't mind them. */
function painterFor(stream: NodeJS.WriteStream, { color }: CommonOptions): Paint {
  return painter(color && !process.env.NO_COLOR && stream.isTTY === true);
}

/** Runs a command, prints its document, and sets the exit status; the one place where errors are printed. */
export async function show<T extends ResultDocument>(
  options: CommonOptions,
  work: (session: Session) => Promise<T>,
  text: (document: T, session: Session) => string,
): Promise<void> {
  const run = session(options);
  try {
    const document = await work(run);
    run.context.output.done();
    const printed = options.json === true ? JSON.stringify(document, null, 2) : text(document, run);
    process.stdout.write(printed === "" || printed.endsWith("\n") ? printed : `${printed}\n`);
    process.exitCode = exitStatus(document);
  } catch (thrown) {
    run.context.output.done();
    const error = machineError(thrown);
    process.stderr.write(`${describeError(error, painterFor(process.stderr, options))}\n`);
    process.exitCode = error instanceof BentoError ? error.exitStatus : 70;
  }
}
