import { exec } from "./programs.ts";

/** What each of the derivations gives its builder: its environment. `env` is for a store that isn't this machine's. */
export async function environmentsOf(
  derivations: readonly string[],
  env: Record<string, string | undefined> = {},
): Promise<Record<string, string>[]> {
  const show = (...command: string[]) =>
    exec("nix", ["--extra-experimental-features", "nix-command", ...command, ...derivations], { env });
  // Its name until Nix 2.19.
  const old = await show("show-derivation");
  const { status, stdout, stderr } = old.status === 0 ? old : await show("derivation", "show");
  if (status !== 0) throw new Error(stderr);
  const parsed = JSON.parse(stdout);
  const shown = Object.values(parsed.derivations ?? parsed) as { env: Record<string, string> }[];
  return shown.map(({ env: given }) => given);
}
