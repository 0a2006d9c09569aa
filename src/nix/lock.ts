import type { InputChange, LockedInput } from "../results.ts";
import type { Nix } from "./nix.ts";

/** A flake.lock, as far as what moved in it is concerned (Nix manual, "nix flake", lock files; versions 5 to 7). */
export interface LockFile {
  root: string;
  nodes: Readonly<Record<string, LockNode>>;
}

interface LockNode {
  /** The name of a node, or, for an input that follows another, the path to that one. */
  inputs?: Readonly<Record<string, string | readonly string[]>>;
  locked?: Locked;
}

type Locked = Readonly<Record<string, unknown>>;

/** Null for what is no lock file of a known form. */
export function parseLock(text: string): LockFile | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isRecord(value) || !isRecord(value.nodes) || typeof value.root !== "string") return null;
  const nodes: Record<string, LockNode> = {};
  for (const [name, node] of Object.entries(value.nodes)) {
    if (!isRecord(node)) return null;
    nodes[name] = {
      ...(isRecord(node.inputs) ? { inputs: node.inputs as NonNullable<LockNode["inputs"]> } : {}),
      ...(isRecord(node.locked) ? { locked: node.locked } : {}),
    };
  }
  return { root: value.root, nodes };
}

/** The inputs that differ, by name; null stands for a flake without a lock file. */
export function lockChanges(before: LockFile | null, after: LockFile): InputChange[] {
  const [from, to] = [before === null ? new Map<string, Locked>() : lockedInputs(before), lockedInputs(after)];
  const changes: InputChange[] = [];
  for (const input of [...new Set([...from.keys(), ...to.keys()])].sort()) {
    const [old, now] = [from.get(input), to.get(input)];
    if (identity(old) === identity(now)) continue;
    changes.push({
      input,
      from: old === undefined ? null : describe(old),
      to: now === undefined ? null : describe(now),
    });
  }
  return changes;
}

/** The names of a flake's own inputs. */
export function inputNames({ root, nodes }: LockFile): string[] {
  return Object.keys(nodes[root]?.inputs ?? {}).sort();
}

/** Inputs of one lock file that are looked at, counted by the paths that lead to them. */
const MAX_INPUTS = 10_000;

/** What each input is locked to, by its path; those that follow another one are that one. */
function lockedInputs({ root, nodes }: LockFile): Map<string, Locked> {
  const found = new Map<string, Locked>();
  let visits = 0;
  const visit = (name: string, at: readonly string[]) => {
    for (const [input, node] of Object.entries(nodes[name]?.inputs ?? {})) {
      // Nothing keeps a lock file that somebody wrote from going in circles, of nodes that are locked to nothing, too.
      if (typeof node !== "string" || at.length > 20 || visits >= MAX_INPUTS) continue;
      visits += 1;
      const path = [...at, input];
      const { locked } = nodes[node] ?? {};
      if (locked !== undefined) found.set(path.join("/"), locked);
      visit(node, path);
    }
  };
  visit(root, []);
  return found;
}

function identity(locked: Locked | undefined): string {
  return locked === undefined ? "" : JSON.stringify(Object.entries(locked).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function describe(locked: Locked): LockedInput {
  const text = (name: string) => (typeof locked[name] === "string" ? locked[name] : null);
  const [type, owner, repo, url, path] = ["type", "owner", "repo", "url", "path"].map(text);
  const source =
    owner !== null && repo !== null
      ? `${type}:${owner}/${repo}`
      : type === "path"
        ? `path:${path}`
        : (url ?? type ?? "?");
  const { lastModified } = locked;
  const date =
    typeof lastModified === "number" && Math.abs(lastModified) < 1e11
      ? new Date(lastModified * 1000).toISOString().slice(0, 10)
      : null;
  return { source, rev: text("rev"), date, narHash: text("narHash") };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The arguments of `nix` that bring inputs of the flake in `dir` up to date, all of them for none; 2.19 changed how that is said. */
export function updateArguments({ version }: Pick<Nix, "version">, dir: string, inputs: readonly string[]): string[] {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const flake = `path:${dir}`;
  if (major > 2 || minor >= 19) return ["flake", "update", ...inputs, "--flake", flake];
  if (inputs.length === 0) return ["flake", "update", flake];
  return ["flake", "lock", ...inputs.flatMap((input) => ["--update-input", input]), flake];
}
