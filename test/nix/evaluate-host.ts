import type { JobLimits } from "../../src/nix/batch.ts";
import { type Evaluable, type Evaluation, evaluateHosts } from "../../src/nix/evaluate.ts";
import type { Nix } from "../../src/nix/nix.ts";

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
