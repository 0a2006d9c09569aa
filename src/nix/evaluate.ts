import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { HostError } from "../errors.ts";
import type { Host } from "../fleet/fleet.ts";
import type { RunResult } from "../platform/process.ts";
import { temporaryDirectory } from "../platform/temporary.ts";
import type { HostFailure } from "../results.ts";
import channelExpression from "./channel.nix";
import { explainFailure, warningsIn } from "./failure.ts";
import type { Nix } from "./nix.ts";

/** What is evaluated: a staged tree, and how its places are called in the fleet. */
export interface EvaluationSource {
  /** Absolute. */
  treeDir: string;
  /** From a path relative to the tree to one relative to the fleet. */
  origin(file: string): string;
}

export type Evaluation =
  | { ok: true; drv: string; toplevel: string; warnings: string[] }
  | { ok: false; failure: HostFailure; warnings: string[] };

export interface EvaluationLimits {
  /** Milliseconds. */
  timeout: number;
}

/** An evaluation that prints more than this is out of order. */
const MAX_OUTPUT = 16 * 1024 * 1024;

/**
 * Evaluates a host's system without building anything, and never writes a lock file. A configuration that is wrong is a
 * result, not an error.
 */
export async function evaluateHost(
  nix: Nix,
  host: Pick<Host, "kind" | "config" | "attr" | "path">,
  source: EvaluationSource,
  limits: EvaluationLimits,
): Promise<Evaluation> {
  const run =
    host.kind === "flake"
      ? await evaluateFlake(nix, host.attr, source, limits)
      : await evaluateChannel(nix, host, source, limits);
  const warnings = warningsIn(run.stderr);
  const fail = (failure: HostFailure): Evaluation => ({ ok: false, failure, warnings });
  if (run.timedOut)
    return fail({
      message: `the evaluation took longer than ${limits.timeout / 1000} s and was ended`,
      trace: run.stderr,
    });
  if (run.overflowed) return fail({ message: "the evaluation printed more than 16 MiB and was ended" });
  if (run.status !== 0) return fail(explainFailure(run, source, host));
  const result: { drv: string; toplevel: string } = JSON.parse(run.stdout);
  return { ok: true, ...result, warnings };
}

/**
 * The names of the nixosConfigurations of a staged flake.
 * @throws HostError when the flake can't be evaluated.
 */
export async function listFlakeHosts(nix: Nix, source: EvaluationSource, limits: EvaluationLimits): Promise<string[]> {
  const run = await nix.run(
    "nix",
    [
      "eval",
      "--json",
      ...flakeArguments(nix),
      `path:${source.treeDir}#nixosConfigurations`,
      "--apply",
      "builtins.attrNames",
    ],
    { timeout: limits.timeout, maxOutput: MAX_OUTPUT },
  );
  if (run.status === 0) return JSON.parse(run.stdout);
  if (/does not provide attribute .*'nixosConfigurations'/.test(run.stderr)) return [];
  const failure = explainFailure(run, source, { kind: "flake", path: source.origin(".") });
  const { message, file, line, column, hint } = failure;
  throw new HostError(message, {
    ...(file === undefined
      ? {}
      : { at: { file, ...(line === undefined ? {} : { line }), ...(column === undefined ? {} : { column }) } }),
    ...(hint === undefined ? {} : { hint }),
  });
}

function evaluateFlake(nix: Nix, attr: string, source: EvaluationSource, limits: EvaluationLimits): Promise<RunResult> {
  // The attribute is chosen in the expression rather than in the flake reference: there, a name with a quote or a dot in it
  // could name something else.
  const apply = `hosts: let system = hosts.${nixString(attr)}.config.system.build.toplevel; in { drv = system.drvPath; toplevel = system.outPath; }`;
  return nix.run(
    "nix",
    [
      "eval",
      "--json",
      "--show-trace",
      ...flakeArguments(nix),
      `path:${source.treeDir}#nixosConfigurations`,
      "--apply",
      apply,
    ],
    { timeout: limits.timeout, maxOutput: MAX_OUTPUT },
  );
}

async function evaluateChannel(
  nix: Nix,
  host: Pick<Host, "config">,
  source: EvaluationSource,
  limits: EvaluationLimits,
): Promise<RunResult> {
  await using dir = await temporaryDirectory();
  const expression = path.join(dir.path, "channel.nix");
  await writeFile(expression, channelExpression);
  const configuration = path.join(source.treeDir, host.config);
  return await nix.run(
    "nix-instantiate",
    [
      ...["--eval", "--strict", "--json", "--read-write-mode", "--show-trace"],
      ...["--option", "allow-import-from-derivation", "false"],
      ...nix.passthrough.searchPath.flatMap((entry) => ["-I", entry]),
      // Configurations may import <nixos-config> themselves. Not by NIX_PATH, which takes Nix's defaults away when it is set.
      ...["-I", `nixos-config=${configuration}`],
      expression,
      // An argument of type path, so that what is relative in it stays so.
      ...["--arg", "configuration", `/. + ${nixString(configuration)}`],
    ],
    { timeout: limits.timeout, maxOutput: MAX_OUTPUT },
  );
}

/** Options of every `nix` command on a flake. `path:` sees exactly the staged files, whatever git thinks of them. */
export function flakeArguments(nix: Nix): string[] {
  return [
    // The first refuses a lock that is missing or stale, and so writes none either; beside the second Nix would not look. With
    // an input overridden the lock can't be as it was.
    nix.passthrough.overrideInputs.length === 0 ? "--no-update-lock-file" : "--no-write-lock-file",
    ...["--option", "allow-import-from-derivation", "false"],
    ...nix.passthrough.overrideInputs.flatMap(([name, url]) => ["--override-input", name, url]),
  ];
}

/** A Nix string literal. */
export function nixString(text: string): string {
  // A carriage return as itself would be read as a line end.
  return `"${text.replace(/[\\"]/g, "\\$&").replaceAll("\r", "\\r").replaceAll("${", "\\${")}"`;
}

export function hasLockFile(treeDir: string): boolean {
  return existsSync(path.join(treeDir, "flake.lock"));
}
