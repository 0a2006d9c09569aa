import path from "node:path";
import type { JobLimits } from "../../src/nix/batch.ts";
import { type Evaluable, type Evaluation, evaluateHosts } from "../../src/nix/evaluate.ts";
import type { Nix } from "../../src/nix/nix.ts";
import { hostNamed } from "../fleet/host.ts";
import type { Entry } from "../platform/scratch.ts";
import type { Store } from "./store.ts";

/** Evaluates one host's staged tree. */
export async function evaluateHost(
  nix: Nix,
  host: Evaluable["host"],
  source: Evaluable["source"],
  limits: JobLimits,
): Promise<Evaluation> {
  const [evaluation] = await evaluateHosts(nix, [{ host, source }], limits);
  if (evaluation === undefined) throw new Error("nothing was evaluated");
  return evaluation;
}

/** Long enough for anything that isn't meant to take long. */
export const LIMITS = { timeout: 60_000 };

/** A configuration that builds something in order to be evaluated. */
export const IMPORT_FROM_DERIVATION = `{ pkgs, ... }:
{
  imports = [
    (import (derivation { name = "x"; system = pkgs.system; builder = "/bin/sh"; args = [ "-c" "echo '{ }' > $out" ]; }))
  ];
}
`;

/** A tree's files, by their place in it. */
export type Files = Readonly<Record<string, Entry>>;

export interface EvaluateOptions {
  /** Of a flake, `web` unless told otherwise. */
  attr?: string;
  /** False leaves a flake without the lock that it is otherwise given. */
  lock?: boolean;
  nixWith?: Nix;
  inDir?: string;
}

/** Evaluates a host whose tree has these files, at its places as if it were hosts/web. */
export async function evaluateTree(
  store: Store,
  nix: Nix,
  name: string,
  files: Files,
  { attr, lock = true, nixWith = nix, inDir = name }: EvaluateOptions = {},
) {
  const treeDir = await store.tree(path.join(inDir, "tree"), files);
  const kind = "flake.nix" in files ? "flake" : "channel";
  if (kind === "flake" && lock && !("flake.lock" in files)) await store.lock(treeDir);
  const host = hostNamed("web", { kind, attr: attr ?? "web" });
  const source = { treeDir, origin: (file: string) => path.join("hosts/web", file) };
  return { treeDir, host, source, result: await evaluateHost(nixWith, host, source, LIMITS) };
}

/** What is told of an evaluation that failed, without Nix's own words. */
export function failureOf(result: Evaluation) {
  if (result.ok) throw new Error("it should have failed");
  const { trace: _, ...failure } = result.failure;
  return failure;
}
