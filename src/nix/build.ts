import { UnavailableError } from "../errors.ts";
import { BUILD, eventReader, type NixEvent } from "./activity.ts";
import { type BuildError, type Platform, parseBuildError } from "./build-errors.ts";
import { DerivationGraph, UnreadableDerivation } from "./derivation.ts";
import { lastSaid } from "./failure-message.ts";
import { COLLISIONS, collided, type Nix } from "./nix.ts";

/** A derivation, and the output of it that is wanted. */
export interface Buildable {
  drv: string;
  output: string;
}

/** A derivation that was tried and didn't build. */
export interface FailedDerivation {
  drv: string;
  /** In Nix's words: "builder failed with exit code 1". */
  reason: string;
  /** The last lines of its log, as it printed them. */
  tail: readonly string[];
}

export type BuildOutcome =
  | { kind: "built" }
  | { kind: "failed"; culprits: readonly FailedDerivation[]; message: string }
  /** Neither this machine nor a remote builder of its own builds `drv`. */
  | { kind: "unbuildable"; drv: string; needs: Platform };

/** Lines of each build's log that are kept in memory, and characters of each line. */
const TAIL_LINES = 40;
const TAIL_WIDTH = 2_000;

/**
 * Builds (or fetches) derivations with one call of Nix's, which builds what they have in common once and as much at a time as
 * it is set up for. What fails stops only what needs it. Outcomes are in the order of `wanted`.
 */
export async function buildAll(
  nix: Nix,
  wanted: readonly Buildable[],
  onEvent: (event: NixEvent) => void = () => {},
): Promise<BuildOutcome[]> {
  const outcomes = new Map<Buildable, BuildOutcome>();
  const graph = new DerivationGraph();
  const found = new Errors();
  let pending = [...wanted];
  let collisions = 0;
  while (pending.length > 0) {
    const said = await realise(nix, pending, found, onEvent);
    if (said.status === 0) break;
    const invalid = await invalidPaths(
      nix,
      pending.map(({ output }) => output),
    );
    const missing = pending.filter(({ output }) => invalid.has(output));
    if (missing.length === 0) break;
    if (collisions < COLLISIONS && collided(said.status, said.text)) {
      collisions += 1;
      pending = missing;
      continue;
    }
    const reasons = attribute(graph, missing, found);
    for (const [one, reason] of reasons) outcomes.set(one, reason);
    const rest = missing.filter((one) => !reasons.has(one));
    // Up to 2.28, Nix gives up all of them when there is one that nothing here builds: the others are tried without it.
    if (reasons.size > 0) {
      pending = rest;
      continue;
    }
    const message = lastSaid(said.text) || `nix-store --realise ended with status ${said.status}`;
    for (const one of rest) outcomes.set(one, { kind: "failed", culprits: [], message });
    break;
  }
  return wanted.map((one) => outcomes.get(one) ?? { kind: "built" });
}

/** One run of Nix's. What it says of derivations is added to `found`; `text` are its other errors. */
async function realise(
  nix: Nix,
  wanted: readonly Buildable[],
  found: Errors,
  onEvent: (event: NixEvent) => void,
): Promise<{ status: number; text: string }> {
  const others: string[] = [];
  const read = eventReader((event) => {
    const other = found.see(event);
    if (other !== undefined) others.push(`error: ${other}`);
    onEvent(event);
  });
  const drvs = [...new Set(wanted.map(({ drv }) => drv))];
  const args = ["--realise", "--keep-going", "--log-format", "internal-json", ...drvs];
  const { status } = await nix.run("nix-store", args, { onStderr: read, keepNothing: true });
  read("\n");
  return { status, text: others.slice(-100).join("\n") };
}

/**
 * Those of `paths` that aren't in the store.
 * @throws UnavailableError when the store can't be read.
 */
export async function invalidPaths(nix: Nix, paths: readonly string[]): Promise<Set<string>> {
  if (paths.length === 0) return new Set();
  const run = await nix.run("nix-store", ["--check-validity", "--print-invalid", ...new Set(paths)]);
  if (run.status !== 0) {
    throw new UnavailableError(`the store can't be read: ${lastSaid(run.stderr)}`);
  }
  return new Set(run.stdout.split("\n").filter((line) => line !== ""));
}

/** Why each of `missing` isn't there, of those of which that is known. */
function attribute(
  graph: DerivationGraph,
  missing: readonly Buildable[],
  found: Errors,
): Map<Buildable, Exclude<BuildOutcome, { kind: "built" }>> {
  const reasons = new Map<Buildable, Exclude<BuildOutcome, { kind: "built" }>>();
  for (const one of missing) {
    const needed = neededBy(graph, one.drv);
    const isNeeded = (drv: string) => needed?.has(drv) ?? true;
    // First what failed: a build can print what looks like Nix's own message, but not keep Nix from saying that it failed.
    const culprits = [...found.failed.values()].filter(({ drv }) => isNeeded(drv));
    const [first] = culprits;
    if (first !== undefined) {
      reasons.set(one, { kind: "failed", culprits, message: "" });
      continue;
    }
    const unbuildable = [...found.unbuildable].find(([drv]) => isNeeded(drv)) ?? likeIt(graph, one, found);
    if (unbuildable !== undefined) {
      reasons.set(one, { kind: "unbuildable", drv: unbuildable[0], needs: unbuildable[1] });
    }
  }
  return reasons;
}

/** A system that is itself of a kind that isn't built here needs no try of its own. */
function likeIt(graph: DerivationGraph, { drv }: Buildable, found: Errors): [string, Platform] | undefined {
  try {
    const system = graph.systemOf(drv);
    const same = [...found.unbuildable.values()].find((one) => one.features.length === 0 && one.system === system);
    return same && [drv, same];
  } catch (error) {
    if (error instanceof UnreadableDerivation) return undefined;
    throw error;
  }
}

/** The derivations that `drv` is built from, and it itself; undefined when they can't be read. */
function neededBy(graph: DerivationGraph, drv: string): Set<string> | undefined {
  try {
    return new Set(graph.reachable(drv, () => true));
  } catch (error) {
    if (error instanceof UnreadableDerivation) return undefined;
    throw error;
  }
}

/** What was said of derivations, with the ends of their logs. */
class Errors {
  readonly failed = new Map<string, FailedDerivation>();
  readonly unbuildable = new Map<string, Platform>();
  readonly #running = new Map<number, { drv: string; lines: string[] }>();
  /** Of those that ended last: some versions say why only afterwards. */
  readonly #ended = new Map<string, readonly string[]>();

  /** Gives an error that is of no derivation. */
  see(event: NixEvent): string | undefined {
    switch (event.kind) {
      case "start":
        if (event.type === BUILD) this.#running.set(event.id, { drv: event.path, lines: [] });
        return undefined;
      case "log": {
        const lines = this.#running.get(event.id)?.lines;
        lines?.push(event.line.slice(0, TAIL_WIDTH));
        if (lines !== undefined && lines.length > TAIL_LINES) lines.shift();
        return undefined;
      }
      case "stop":
        this.#end(event.id);
        return undefined;
      case "message":
        return event.level === 0 ? this.#error(parseBuildError(event.text)) : undefined;
      default:
        return undefined;
    }
  }

  #end(id: number): void {
    const build = this.#running.get(id);
    this.#running.delete(id);
    if (build === undefined) return;
    this.#ended.set(build.drv, build.lines);
    const [oldest] = this.#ended.keys();
    if (oldest !== undefined && this.#ended.size > 200) this.#ended.delete(oldest);
  }

  #error(error: BuildError): string | undefined {
    switch (error.kind) {
      case "failed": {
        const running = [...this.#running.values()].find(({ drv }) => drv === error.drv);
        const tail = running?.lines ?? this.#ended.get(error.drv) ?? [];
        if (!this.failed.has(error.drv)) this.failed.set(error.drv, { drv: error.drv, reason: error.reason, tail });
        return undefined;
      }
      case "unbuildable":
        this.unbuildable.set(error.drv, error.needs);
        return undefined;
      case "dependent":
        return undefined;
      case "other":
        return error.text;
    }
  }
}
