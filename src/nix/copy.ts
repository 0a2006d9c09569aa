import { FleetError } from "../errors.ts";
import type { SshTarget } from "../fleet/ssh-target.ts";
import type { HostFailure } from "../results.ts";
import type { Nix } from "./nix.ts";

export interface CopyOptions {
  /** What ssh is given before the address. */
  sshOptions: readonly string[];
  /** Whether it takes sudo there to add to the store. */
  sudo: boolean;
  /** Told what Nix says meanwhile. */
  onOutput(text: string): void;
}

/**
 * Copies a closure to the store of a machine, over ssh; what its own substituters have it gets from there. Gives null when it is
 * there.
 * @throws FleetError when an option of ssh's can't be passed on.
 */
export async function copyClosure(
  nix: Nix,
  storePath: string,
  target: SshTarget,
  { sshOptions, sudo, onOutput }: CopyOptions,
): Promise<HostFailure | null> {
  const odd = sshOptions.find((option) => /\s/.test(option));
  // Old versions split at blanks, whatever stands around them.
  if (odd !== undefined) throw new FleetError(`Nix can't pass on to ssh what has blanks in it: '${odd}'`);
  const inherited = process.env.NIX_SSHOPTS ?? "";
  const run = await nix.run(
    "nix",
    ["copy", "--no-check-sigs", "--substitute-on-destination", "--to", storeUrl(target, sudo), storePath],
    { env: { NIX_SSHOPTS: [inherited, ...sshOptions].join(" ").trim() }, onStderr: onOutput },
  );
  if (run.status === 0) return null;
  const lines = run.stderr.split("\n").filter((line) => line.trim() !== "");
  const last = lines.findLast((line) => line.startsWith("error:")) ?? lines.at(-1) ?? `status ${run.status}`;
  return { message: `its system could not be copied there: ${last.replace(/^error: */, "")}`, trace: run.stderr };
}

/** As Nix's legacy ssh store has it, which is the one that needs no trusted user on a machine without a daemon. */
export function storeUrl({ user, address }: SshTarget, sudo: boolean): string {
  const host = address.includes(":") ? `[${encodeURIComponent(address).replaceAll("%3A", ":")}]` : address;
  const program = sudo ? "?remote-program=sudo%20-n%20nix-store" : "";
  return `ssh://${user === null ? "" : `${user}@`}${host}${program}`;
}
