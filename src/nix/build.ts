import type { HostFailure } from "../results.ts";
import type { Nix } from "./nix.ts";

/**
 * Builds (or fetches) a derivation's outputs and keeps them alive with a gc root at `root`. Gives null when it is there.
 * `onLine` is given what Nix says while it works.
 */
export async function realise(
  nix: Nix,
  drv: string,
  root: string,
  onLine: (text: string) => void,
): Promise<HostFailure | null> {
  const run = await nix.run("nix-store", ["--realise", drv, "--add-root", root, "--indirect"], { onStderr: onLine });
  if (run.status === 0) return null;
  const failed = /builder for '([^']+\.drv)'|Cannot build '([^']+\.drv)'/.exec(run.stderr);
  const culprit = failed?.[1] ?? failed?.[2];
  const log = culprit === undefined ? "" : (await nix.run("nix-store", ["--read-log", culprit])).stdout;
  const last = run.stderr
    .trim()
    .split("\n")
    .findLast((line) => line.startsWith("error:"));
  return {
    message:
      culprit === undefined
        ? (last ?? `nix-store --realise ended with status ${run.status}`)
        : `${culprit} failed to build`,
    trace: (log || run.stderr).split("\n").slice(-40).join("\n"),
  };
}
