import { nixString } from "../../src/nix/nix.ts";
import { shellWord } from "../../src/platform/shell-word.ts";
import type { Machine } from "./machine.ts";

/**
 * Nix of a package with `bento-agent`, such as services.bento makes it: `program`, with the machine's settings and more of them. A
 * system that has it in environment.systemPackages proves itself by that, and not by the agent that has activated it.
 */
export function ownAgent(
  machine: Machine,
  settings: Readonly<Record<string, string>> = {},
  program = machine.agentFile,
): string {
  const environment = { ...machine.env, PATH: process.env.PATH ?? "", ...settings };
  const script = [
    "#!/bin/sh",
    ...Object.entries(environment).map(([name, value]) => `export ${name}=${shellWord(value)}`),
    `exec bash ${program} "$@"`,
  ];
  return `(derivation {
    name = "bento-agent"; system = builtins.currentSystem; builder = "/bin/sh";
    text = ${nixString(`${script.join("\n")}\n`)};
    args = [ "-c" "PATH=/run/current-system/sw/bin:/usr/bin:/bin; mkdir -p $out/bin; printf %s \\"$text\\" > $out/bin/bento-agent; chmod +x $out/bin/bento-agent" ];
  })`;
}
