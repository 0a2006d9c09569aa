import { readFileSync } from "node:fs";
import path from "node:path";
import type { Host } from "../fleet/fleet.ts";
import type { HostFailure } from "../results.ts";
import { narDigest } from "../tree/nar.ts";
import { type Job, type JobLimits, type JobResult, MAX_OUTPUT } from "./batch.ts";
import { explainFailure, warningsIn } from "./failure.ts";
import type { TreePlaces } from "./failure-place.ts";
import type { ExplainedHost } from "./failure-unreached.ts";
import { type Nix, nixString } from "./nix.ts";
import { searchPaths } from "./nixpkgs.ts";
import { evaluateAll } from "./pool.ts";
import { findInNixFiles } from "./search.ts";
import { resolvedEntries } from "./search-path.ts";
import { sourcePath } from "./store-path.ts";
import systemExpression from "./system.nix";

/** What is evaluated: a staged tree, and how its places are called in the fleet. */
export interface EvaluationSource {
  /** Absolute. */
  treeDir: string;
  /** From a path relative to the tree to one relative to the fleet. */
  origin(file: string): string;
}

/** What an evaluation says of a host's system; system.nix gives it. */
export interface System {
  drv: string;
  toplevel: string;
  /** Store paths, null where the system has none. */
  kernel: string | null;
  initrd: string | null;
  modules: string | null;
  /** Whether Bento's agent is in it. */
  agent: boolean;
  /** The name by which the agent asks for releases. */
  agentHost: string | null;
  /** Where the agent gets systems from: `services.bento.build`. */
  agentBuild: string | null;
  /** The names of `services.bento.secrets`. */
  secrets: string[] | null;
}

export type Evaluation = {
  warnings: string[];
  /** Seconds. */
  duration: number;
} & (({ ok: true } & System) | { ok: false; failure: HostFailure });

export type EvaluableHost = Pick<Host, "kind" | "config" | "attr" | "path" | "include" | "nixpkgs">;

export interface Evaluable {
  host: EvaluableHost;
  source: EvaluationSource;
}

/**
 * Evaluates hosts' systems without building anything, and never writes a lock file. A configuration that is wrong is a result,
 * not an error. Hosts that share much should follow one another.
 */
export async function evaluateHosts(
  nix: Nix,
  hosts: readonly Evaluable[],
  limits: JobLimits,
  onResult: (index: number) => void = () => {},
): Promise<Evaluation[]> {
  const searchPathOf = await searchPaths(
    nix,
    hosts.map(({ host }) => host),
    limits,
  );
  const results = new Array<Evaluation>(hosts.length);
  const evaluable: number[] = [];
  const jobs: Job[] = [];
  for (const [index, { host, source }] of hosts.entries()) {
    const searchPath = searchPathOf(host);
    if ("failure" in searchPath && host.kind === "channel") {
      results[index] = { ok: false, failure: searchPath.failure, warnings: [], duration: 0 };
      continue;
    }
    evaluable.push(index);
    jobs.push(await hostJob(nix, host, source, "failure" in searchPath ? [] : searchPath.entries));
  }
  const told = await evaluateAll(nix, jobs, limits, (position) => onResult(evaluable[position] ?? 0));
  const doubtful = [...told.keys()].filter((position) => {
    const item = hosts[evaluable[position] ?? -1];
    const result = told[position];
    return item !== undefined && result !== undefined && doubtsLock(result, item);
  });
  const again = doubtful.flatMap((position) => {
    const item = hosts[evaluable[position] ?? -1];
    return item === undefined ? [] : [lockCheckedJob(nix, item.host, item.source)];
  });
  (await evaluateAll(nix, again, limits)).forEach((result, n) => {
    told[doubtful[n] ?? 0] = result;
  });
  for (const [position, index] of evaluable.entries()) {
    const [item, result] = [hosts[index], told[position]];
    if (item !== undefined && result !== undefined) results[index] = await interpret(result, item, limits);
  }
  return results;
}

/** Evaluates one host, telling of each file that is read; what was said, and where the tree's files are in it. */
export async function evaluateAloud(
  nix: Nix,
  host: EvaluableHost,
  source: EvaluationSource,
  limits: JobLimits,
): Promise<{ text: string; dirs: readonly string[] }> {
  const searchPath = (await searchPaths(nix, [host], limits))(host);
  const job = await hostJob(nix, host, source, "entries" in searchPath ? searchPath.entries : []);
  const [result] = await evaluateAll(nix, [{ ...job, aloud: true }], limits);
  return { text: result?.stderr ?? "", dirs: (await placesOf(source)).dirs };
}

/** What is known of a flake before any of its hosts is evaluated. */
export type InspectedFlake = { ok: true; hosts: string[] } | { ok: false; failure: HostFailure };

/** The names of the nixosConfigurations of staged flakes. */
export async function inspectFlakes(
  nix: Nix,
  sources: readonly EvaluationSource[],
  limits: JobLimits,
): Promise<InspectedFlake[]> {
  const jobs = await Promise.all(sources.map((source) => flakeNamesJob(nix, source)));
  const results = await evaluateAll(nix, jobs, limits);
  return Promise.all(
    sources.map(async (source, index): Promise<InspectedFlake> => {
      const result = results[index];
      if (result === undefined) throw new Error(`no result for ${source.treeDir}`);
      if (result.ok) return { ok: true, hosts: result.value as string[] };
      const host = { kind: "flake" as const, path: source.origin("."), include: null };
      return { ok: false, failure: await explain(result, host, source, limits) };
    }),
  );
}

async function flakeNamesJob(nix: Nix, source: EvaluationSource): Promise<Job> {
  const names = "flake: builtins.attrNames (flake.nixosConfigurations or { })";
  if (nix.passthrough.overrideInputs.length > 0) return flakeJob(nix, source, "", names);
  return pureJob(`(${names}) (${await getFlake(source)})`);
}

/** `searchPath` is for a host without a flake. */
async function hostJob(
  nix: Nix,
  host: EvaluableHost,
  source: EvaluationSource,
  searchPath: readonly string[],
): Promise<Job> {
  if (host.kind === "channel") return channelJob(host, source, searchPath);
  // With inputs overridden the lock file is none that could be taken as it is.
  if (nix.passthrough.overrideInputs.length > 0) return lockCheckedJob(nix, host, source);
  const system = `(${systemExpression}) flake.nixosConfigurations.${nixString(host.attr)}.config`;
  return pureJob(`let flake = ${await getFlake(source)}; in ${system} // { inputs = ${FLAKE_INPUTS}; }`);
}

/** The inputs that flake.nix names, also those that only `outputs` takes. The lock file has others when it is stale. */
const FLAKE_INPUTS = `let raw = import (flake.outPath + "/flake.nix");
  in builtins.attrNames (raw.inputs or { } // builtins.functionArgs raw.outputs)`;

/** `builtins.getFlake` of a staged tree, by its hash, as pure evaluation wants it. */
async function getFlake({ treeDir }: EvaluationSource): Promise<string> {
  const url = `path:${treeDir}?narHash=${encodeURIComponent(await narDigest(treeDir))}`;
  return `(builtins.getFlake ${nixString(url)})`;
}

function pureJob(expression: string): Job {
  return { kind: "expression", mode: "pure", expression, readable: [], searchPath: [] };
}

/** Evaluates one flake by itself, with all that `nix eval` has to say of its lock file. */
function lockCheckedJob(nix: Nix, host: EvaluableHost, source: EvaluationSource): Job {
  // The attribute is chosen in the expression rather than in the flake reference: there, a name with a quote or a dot in it
  // could name something else.
  const apply = `hosts: (${systemExpression}) hosts.${nixString(host.attr)}.config`;
  return flakeJob(nix, source, "nixosConfigurations", apply);
}

function flakeJob(nix: Nix, { treeDir }: EvaluationSource, output: string, apply: string): Job {
  return { kind: "flake", installable: `path:${treeDir}#${output}`, apply, arguments: flakeArguments(nix) };
}

function channelJob(host: EvaluableHost, { treeDir }: EvaluationSource, searchPath: readonly string[]): Job {
  const configuration = path.join(treeDir, host.config);
  // A path, so that what is relative in it stays so.
  const expression = `(${systemExpression}) (import <nixpkgs/nixos> { configuration = /. + ${nixString(configuration)}; }).config`;
  return {
    kind: "expression",
    mode: "restricted",
    expression,
    readable: [treeDir],
    searchPath: [
      // Configurations may import <nixos-config> themselves, which is another for each host.
      ...(findInNixFiles(treeDir, /nixos-config/g).length > 0 ? resolvedEntries(`nixos-config=${configuration}`) : []),
      ...searchPath,
    ],
  };
}

async function interpret(result: JobResult, { host, source }: Evaluable, limits: JobLimits): Promise<Evaluation> {
  const { duration } = result;
  const warnings = /warning: /.test(result.stderr) ? warningsIn(result.stderr, await placesOf(source)) : [];
  if (!result.ok) return { ok: false, failure: await explain(result, host, source, limits), warnings, duration };
  const { inputs: _, ...system } = result.value as System & { inputs?: string[] };
  return { ok: true, ...system, warnings, duration };
}

/** Whether a flake has to be evaluated by itself for the truth of its lock file, which a batch doesn't check. */
function doubtsLock(result: JobResult, { host, source }: Evaluable): boolean {
  if (host.kind !== "flake") return false;
  // An input without an entry needs no second look, which would go to the network for it.
  if (!result.ok)
    return (
      result.reason === "failed" &&
      /lock/.test(result.stderr) &&
      !/cannot update (?:unlocked )?flake input/.test(result.stderr)
    );
  const { inputs } = result.value as { inputs?: string[] };
  return inputs !== undefined && lockedInputs(source.treeDir).some((name) => !inputs.includes(name));
}

/** The inputs of the root node of a flake.lock; none when there is no such file, or it is malformed. */
function lockedInputs(treeDir: string): string[] {
  try {
    const lock = JSON.parse(readFileSync(path.join(treeDir, "flake.lock"), "utf8"));
    return Object.keys(lock.nodes[lock.root].inputs ?? {});
  } catch {
    return [];
  }
}

type FailedJob = Extract<JobResult, { ok: false }>;

async function explain(
  { reason, status, stderr }: FailedJob,
  host: ExplainedHost,
  source: EvaluationSource,
  { timeout }: JobLimits,
): Promise<HostFailure> {
  switch (reason) {
    case "timed-out":
      return {
        message: `the evaluation took longer than ${timeout / 1000} s and was ended`,
        trace: stderr.slice(-20_000),
      };
    case "overflowed":
      return { message: `the evaluation printed more than ${MAX_OUTPUT / 1024 ** 2} MiB and was ended` };
    case "killed":
      return {
        message: "the evaluation was killed, also with nothing else running: this machine has too little memory for it",
        hint: "evaluate it on a machine with more memory; NixOS systems take 1 to 5 GB",
      };
    case "failed":
      return explainFailure({ status, stderr }, await placesOf(source), host);
  }
}

/** Where Nix may say that the tree is, and how its files are called in the fleet. */
async function placesOf({ treeDir, origin }: EvaluationSource): Promise<TreePlaces> {
  const digest = await narDigest(treeDir);
  const dirs = [treeDir, sourcePath(digest, process.env.NIX_STORE_DIR ?? "/nix/store")];
  const find = (pattern: RegExp) =>
    findInNixFiles(treeDir, pattern).map(({ file, ...place }) => ({ file: origin(file), ...place }));
  return { dirs, origin, find };
}

/** Options of every `nix` command on a flake. `path:` sees exactly the staged files, whatever git thinks of them. */
function flakeArguments({ passthrough }: Nix): string[] {
  const { overrideInputs } = passthrough;
  return [
    // The first refuses a lock that is missing or stale, and so writes none either; beside the second Nix would not look. With
    // an input overridden the lock can't be as it was.
    overrideInputs.length === 0 ? "--no-update-lock-file" : "--no-write-lock-file",
    ...overrideInputs.flatMap(([name, url]) => ["--override-input", name, url]),
  ];
}
