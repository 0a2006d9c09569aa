import { bashCompletion } from "../completion/bash.ts";
import { fishCompletion } from "../completion/fish.ts";
import { type CommandLine, SHELLS, type Shell } from "../completion/model.ts";
import { zshCompletion } from "../completion/zsh.ts";
import { FleetError } from "../errors.ts";
import { loadFleet } from "../fleet/load.ts";
import type { CompletionDocument } from "../results.ts";

const SCRIPTS: Record<Shell, (line: CommandLine) => string> = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
};

/** What is asked for besides a shell: by the scripts, for what only the fleet knows. */
const HOSTS = "hosts";

/**
 * The script that completes the command line in a shell, or, for `hosts`, the names that it completes.
 * @throws FleetError for a shell that isn't known.
 */
export async function completion(options: {
  shell: string;
  line: CommandLine;
  fleet(): string;
}): Promise<CompletionDocument> {
  const { shell, line } = options;
  const known = SHELLS.find((name) => name === shell);
  if (known === undefined && shell !== HOSTS)
    throw new FleetError(`there is no completion for '${shell}'`, { hint: `there is one for ${SHELLS.join(", ")}` });
  const text = known === undefined ? await hosts(options.fleet()) : SCRIPTS[known](line);
  return { version: 1, command: "completion", shell, text };
}

async function hosts(fleet: string): Promise<string> {
  return (await loadFleet(fleet)).hosts.map(({ name }) => `${name}\n`).join("");
}
