import { cp, lstat, readFile, realpath } from "node:fs/promises";
import path from "node:path";
import { FleetError } from "../errors.ts";
import type { Host } from "../fleet/fleet.ts";
import { flakesOf, loadFleet } from "../fleet/load.ts";
import { selectHosts } from "../fleet/select.ts";
import { nearest } from "../fleet/suggest.ts";
import { inputNames, lockChanges, parseLock, updateArguments } from "../nix/lock.ts";
import { Nix, type NixPassthrough } from "../nix/nix.ts";
import { writeFileAtomically } from "../platform/files.ts";
import { temporaryDirectory } from "../platform/temporary.ts";
import type { FlakeUpdate, FlakeUpdateDocument, HostFailure } from "../results.ts";
import type { Context } from "./context.ts";
import { type StagedHost, stageAll } from "./evaluation.ts";
import { type OpenFleet, openFleet } from "./open-fleet.ts";

export interface FlakeUpdateOptions {
  fleet: string;
  /** Globs; only the flakes of these hosts, none for all. */
  hosts: readonly string[];
  /** Which inputs of each flake, as it calls them; none for all. */
  inputs: readonly string[];
  /** Whether a fleet without any flake has nothing to do, instead of being a mistake of whoever asks. */
  mayHaveNone?: boolean;
  /** Say what would move, and write nothing. */
  dryRun: boolean;
  nix: NixPassthrough;
  /** Milliseconds for one flake. */
  timeout: number;
}

const LOCK = "flake.lock";

/**
 * Brings the locks of the fleet's flakes up to date, each once. Nix works on a copy of what a host would be sent, and only a lock
 * that came out well takes the place of the one before; a flake that fails keeps what it has, and costs the others nothing.
 * @throws FleetError when there is no flake, or an input that none of them has.
 */
export async function flakeUpdate(context: Context, options: FlakeUpdateOptions): Promise<FlakeUpdateDocument> {
  // 1. The flakes, and what they have.
  await using open = await openFleet(await loadFleet(options.fleet), { dirty: false });
  const nix = await Nix.find(options.nix, context.signal);
  const selected = options.hosts.length === 0 ? open.fleet.hosts : selectHosts(open.fleet.hosts, options.hosts);
  const flakes = flakesOf({ hosts: selected });
  if (flakes.length === 0 && !options.mayHaveNone)
    throw new FleetError("none of these hosts has a flake: there is no lock to update");
  const staged = await stageAll(open.stager, flakes);
  const locks = await Promise.all(flakes.map((flake) => readLock(open, flake)));
  requireInputs(options.inputs, locks);

  // 2. One after the other, since most of them fetch the same.
  const updates: FlakeUpdate[] = [];
  for (const [index, one] of staged.entries()) {
    const lock = locks[index];
    if (lock === undefined) continue;
    context.output.progress(`updating ${one.host.path} (${index} of ${staged.length} done)`);
    updates.push(await update(context, nix, one, lock, options));
  }
  context.output.done();
  return { version: 1, command: "flake-update", dryRun: options.dryRun, flakes: updates };
}

interface Lock {
  /** Relative to the fleet. */
  file: string;
  /** Where it is written, absolute: one that several flakes share is a link, and stays one. */
  target: string;
  /** Null where there is none yet. */
  text: string | null;
  /** Why it can't be updated; null when it can. */
  problem: string | null;
}

async function readLock({ fleet, repository }: OpenFleet, flake: Host): Promise<Lock> {
  const file = path.posix.join(flake.path, LOCK);
  const place = path.join(fleet.dir, file);
  const none = { file, target: place, text: null };
  try {
    const isLink = (await lstat(place).catch(() => null))?.isSymbolicLink() ?? false;
    const target = isLink ? await realpath(place) : place;
    if (isLink && !target.startsWith(`${repository.root}/`)) {
      return { ...none, problem: "it is a link that leads out of the repository" };
    }
    return { file, target, text: await readFile(target, "utf8"), problem: null };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const isThere = (await lstat(place).catch(() => null)) !== null;
    return { ...none, problem: isThere ? `it can't be read (${code})` : null };
  }
}

/** The names of a flake's own inputs, by its lock. */
function namesIn({ text }: Lock): string[] {
  const lock = text === null ? null : parseLock(text);
  return lock === null ? [] : inputNames(lock);
}

/** @throws FleetError for an input that is none, and for one that no flake has. */
function requireInputs(inputs: readonly string[], locks: readonly Lock[]): void {
  const known = [...new Set(locks.flatMap(namesIn))].sort();
  for (const input of inputs) {
    if (!/^[A-Za-z0-9_][A-Za-z0-9_'/-]*$/.test(input)) throw new FleetError(`'${input}' is no name of an input`);
    if (known.includes(rootOf(input))) continue;
    const meant = nearest(rootOf(input), known);
    throw new FleetError(`no flake has an input '${rootOf(input)}'`, {
      hint: meant ? `did you mean '${meant}'?` : `the inputs are: ${known.join(", ") || "none"}`,
    });
  }
}

/** `home-manager/nixpkgs` is an input of an input. */
function rootOf(input: string): string {
  return input.split("/")[0] ?? "";
}

async function update(
  context: Context,
  nix: Nix,
  one: StagedHost,
  lock: Lock,
  options: FlakeUpdateOptions,
): Promise<FlakeUpdate> {
  const { host } = one;
  const result = { path: host.path, file: lock.file, changes: [], reason: null, error: null };
  const failed = (error: HostFailure): FlakeUpdate => ({ ...result, status: "failed", error });
  if ("failure" in one) return failed(one.failure);
  if (lock.problem !== null) return failed({ message: lock.problem, file: lock.file });
  const inputs = options.inputs.filter((input) => namesIn(lock).includes(rootOf(input)));
  if (options.inputs.length > 0 && inputs.length === 0) {
    return { ...result, status: "unchanged", reason: `it has no input ${options.inputs.join(" or ")}` };
  }

  await using work = await temporaryDirectory();
  const dir = path.join(work.path, "tree");
  // A copy, since what is staged is what others are made of.
  await cp(one.release.treeDir, dir, { recursive: true, verbatimSymlinks: true });
  const before = lock.text === null ? null : parseLock(lock.text);
  if (lock.text !== null && before === null) return failed({ message: "it is no lock file", file: lock.file });
  // Also one that git doesn't track yet, and that is not staged: what isn't to be updated stays as it has it.
  if (lock.text !== null) await writeFileAtomically(path.join(dir, LOCK), lock.text);
  const ran = await nix.run("nix", updateArguments(nix, dir, inputs), { timeout: options.timeout });
  if (ran.timedOut) return failed({ message: `it took longer than ${options.timeout / 1000} s and was ended` });
  if (ran.status !== 0) return failed({ message: firstError(ran.stderr), trace: ran.stderr });
  const text = await readFile(path.join(dir, LOCK), "utf8").catch(() => null);
  const after = text === null ? null : parseLock(text);
  if (text === null || after === null) {
    // A flake without any inputs has no lock.
    return before === null && text === null
      ? { ...result, status: "unchanged", reason: "it has no inputs" }
      : failed({ message: "Nix wrote no lock file that can be read" });
  }
  const changes = lockChanges(before, after);
  if (changes.length === 0 && before !== null) return { ...result, status: "unchanged" };
  if (!options.dryRun) {
    try {
      await writeFileAtomically(lock.target, text);
    } catch (error) {
      return failed({ message: `it can't be written (${(error as NodeJS.ErrnoException).code})`, file: lock.file });
    }
    context.output.debug(`${lock.file} is written`);
  }
  return { ...result, status: before === null ? "created" : "updated", changes };
}

/**
 * What Nix says was wrong: old versions put the cause first, and all of them what it was the cause of after it. Where it was git that
 * failed, or ssh, the reason is what they had said before that.
 */
function firstError(stderr: string): string {
  const lines = stderr.split("\n").map((line) => line.trim());
  const error = lines.find((line) => /^error: ./.test(line)) ?? lines.findLast((line) => line !== "");
  const message = (error ?? "nix flake update failed").replace(/^error: /, "");
  if (!/^(?:program '\S*git' failed|resolving Git reference|Failed to fetch git)/.test(message)) return message;
  const said = lines.slice(0, lines.indexOf(error ?? "")).filter((line) => !/^(?:|warning: .*)$/.test(line));
  const why = said.find((line) => /^(?:fatal|ssh|error|remote): (?!Could not read from remote)/.test(line));
  return why === undefined ? message : `git: ${why.replace(/^(?:fatal|error): /, "")}`;
}
