#!/usr/bin/env node
// What `bento` runs.
// Node 22 has no AsyncDisposableStack.
import "core-js/actual/async-disposable-stack/index.js";
import { CommanderError } from "commander";
import { withPairs } from "./cli/pairs.ts";
import { program } from "./cli.ts";
import type { ExitStatus } from "./errors.ts";

const USAGE_ERROR: ExitStatus = 2;
/** As package.json says. What an older one lacks it would say in the middle of something. */
const OLDEST_NODE = 22;

// Whoever reads it may have seen enough (`bento status | head`); what is under way is done to its end all the same.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });
}
if (Number.parseInt(process.versions.node, 10) < OLDEST_NODE) {
  process.stderr.write(`error: bento needs Node ${OLDEST_NODE} or later, and this is ${process.versions.node}\n`);
  process.exit(3);
}
try {
  await program().parseAsync(withPairs(process.argv.slice(2)), { from: "user" });
} catch (error) {
  if (!(error instanceof CommanderError)) throw error;
  // Help and version were printed; anything else commander has said already.
  process.exitCode = error.exitCode === 0 ? 0 : USAGE_ERROR;
}
