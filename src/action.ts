// GitHub has Node 24; another server's runner has what its image has, and Node 22 has no AsyncDisposableStack.
import "core-js/actual/async-disposable-stack/index.js";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { commentOn, trackStatus } from "./action/github.ts";
import { type Inputs, missingInputs, readInputs } from "./action/inputs.ts";
import { build } from "./commands/build.ts";
import { check } from "./commands/check.ts";
import type { Context } from "./commands/context.ts";
import { deploy } from "./commands/deploy.ts";
import { flakeUpdate } from "./commands/flake-update.ts";
import { MissingKeysError } from "./commands/keys.ts";
import { plan } from "./commands/plan.ts";
import { report } from "./commands/report.ts";
import { deliverStatus } from "./commands/status/outlets.ts";
import { EACH, status } from "./commands/status.ts";
import { machineError } from "./errors.ts";
import { actionsOutput, addSummary, annotate, fail, printForeign, setOutput } from "./platform/actions.ts";
import { onInterrupt } from "./platform/interrupt.ts";
import { annotations } from "./render/annotations.ts";
import { renderCheck } from "./render/check.ts";
import { renderDeploy } from "./render/deploy.ts";
import { describeError } from "./render/failure.ts";
import { flakeUpdateMarkdown, renderFlakeUpdate } from "./render/flake-update.ts";
import { renderPlan } from "./render/lists.ts";
import { renderStatus } from "./render/status.ts";
import { summary } from "./render/summary.ts";
import { painter } from "./render/terminal.ts";
import {
  type CheckDocument,
  type DeployDocument,
  type FlakeUpdateDocument,
  failedHosts,
  type StatusDocument,
} from "./results.ts";

type ActionDocument = CheckDocument | DeployDocument | StatusDocument;

function runCommand(
  context: Context,
  inputs: Inputs & { command: Exclude<Inputs["command"], "plan" | "flake-update"> },
): Promise<ActionDocument> {
  switch (inputs.command) {
    case "check":
      return check(context, inputs);
    case "report":
      return report(context, { files: inputs.documents });
    case "build":
      return build(context, {
        ...inputs,
        roots: null,
        logs: null,
        signKey: null,
        isUnmerged: inputs.event.isUnmerged,
      });
    case "deploy":
      return deploy(context, inputs);
    case "status":
      return status(context, { ...inputs, attempts: inputs.html === "" ? null : EACH });
  }
}

function text(document: ActionDocument): string {
  const paint = painter(false);
  switch (document.command) {
    case "check":
    case "build":
      return renderCheck(document, paint, false);
    case "deploy":
    case "rollback":
      return renderDeploy(document, paint, false);
    case "status":
      return renderStatus(document, paint, Date.now());
  }
}

function changedHosts(document: ActionDocument): string[] {
  if (document.command === "status") return [];
  return document.hosts.filter(({ status }) => status === "changed" || status === "published").map((host) => host.name);
}

/** What the matrices of later jobs are made of. */
async function makePlan(context: Context, inputs: Inputs): Promise<void> {
  const document = await plan(context, inputs);
  printForeign(renderPlan(document, painter(false)));
  setOutput("shards", JSON.stringify(document.shards.map(({ shard }) => shard)));
  setOutput("waves", JSON.stringify(document.waves.map(({ wave }) => wave)));
}

/** Brings the locks up to date; what is to become of the changed files is for the steps after it. */
async function updateFlakes(context: Context, inputs: Inputs): Promise<void> {
  // A clock starts it, also in a fleet that has no flake (yet).
  const document = await flakeUpdate(context, { ...inputs, inputs: [], mayHaveNone: inputs.hosts.length === 0 });
  printForeign(renderFlakeUpdate(document, painter(false), false));
  await addSummary(flakeUpdateMarkdown(document));
  const failed = document.flakes.filter(({ status }) => status === "failed").map(({ file }) => file);
  await leaveDocument(document);
  setOutput("result", failed.length === 0 ? "success" : "failure");
  if (failed.length > 0) fail(`bento flake-update: ${failed.length} failed: ${failed.join(", ")}`);
}

/** For later steps. */
async function leaveDocument(document: ActionDocument | FlakeUpdateDocument, command: string = document.command) {
  const file = path.join(process.env.RUNNER_TEMP ?? tmpdir(), `bento-${command}.json`);
  await writeFile(file, JSON.stringify(document, null, 2));
  setOutput("document", file);
}

async function main(): Promise<void> {
  const inputs = readInputs();
  const context = { output: actionsOutput(), signal: onInterrupt(), env: inputs.env, cwd: process.cwd() };
  const { command } = inputs;
  if (command === "plan") return makePlan(context, inputs);
  if (command === "flake-update") return updateFlakes(context, inputs);
  const document = await runCommand(context, { ...inputs, command });
  const failed = failedHosts(document);

  printForeign(text(document));
  for (const annotation of annotations(document, inputs.place)) annotate(annotation);
  await addSummary(summary(document, Date.now()));
  if (document.command === "check") await commentOn(document, inputs, context.signal);
  if (document.command === "status") {
    const cwd = process.env.GITHUB_WORKSPACE ?? context.cwd;
    const outlets = inputs.html === "" ? {} : { html: inputs.html };
    await deliverStatus({ ...context, cwd }, document, inputs.fleet, outlets);
    await trackStatus(document, inputs, context.signal);
  }
  await leaveDocument(document, inputs.command);
  const pushError = (document.command === "build" && document.push?.error) || null;
  setOutput("result", failed.length === 0 && pushError === null ? "success" : "failure");
  setOutput("failed-hosts", JSON.stringify(failed));
  setOutput("changed-hosts", JSON.stringify(changedHosts(document)));
  if (pushError !== null) fail(`bento build: ${pushError.message}`);
  if (failed.length > 0) {
    const what = inputs.command === "status" ? "to look at" : "failed";
    fail(`bento ${inputs.command}: ${failed.length} ${what}: ${failed.join(", ")}`);
  }
}

try {
  await main();
} catch (thrown) {
  const error = thrown instanceof MissingKeysError ? missingInputs(thrown) : machineError(thrown);
  // Whatever was thrown, the run is red.
  fail(describeError(error, painter(false)).replace(/^error: /, ""));
}
