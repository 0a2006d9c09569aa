import { Command, type Help } from "commander";
import { addChangeCommands } from "./cli/changes.ts";
import { addCheckCommands } from "./cli/check.ts";
import { addDeployCommands } from "./cli/deploy.ts";
import { environmentHelp } from "./cli/environment.ts";
import { addFleetCommands } from "./cli/fleet.ts";
import { addMachineCommands } from "./cli/machines.ts";
import { common } from "./cli/options.ts";
import { addReachCommands } from "./cli/reach.ts";
import { addKeygenCommand, addSecretCommands } from "./cli/secrets.ts";
import { show } from "./cli/session.ts";
import { addStatusCommand } from "./cli/status.ts";
import { completion } from "./commands/completion.ts";
import { commandLine } from "./completion/model.ts";
import { packageVersion } from "./platform/package.ts";

/** The command line: every command, in the order in which help and the reference list them; their options stand in src/cli/. */
export function program(): Command {
  const bento = new Command("bento")
    .description("Keeps a fleet of NixOS machines up to date from one git repository.")
    .version(packageVersion())
    .exitOverride()
    .addHelpText(
      "after",
      ({ command }) => `
Exit status: 0 done; 1 a host failed, the others were processed; 2 the fleet or the arguments are wrong, nothing was
done; 3 a server or a tool could not be reached or run; 130 interrupted.

Environment:
${environmentHelp(helpOf(command))}`,
    );

  addFleetCommands(bento);
  addReachCommands(bento);
  addSecretCommands(bento);
  addKeygenCommand(bento);
  addCheckCommands(bento);
  addDeployCommands(bento);
  addChangeCommands(bento);
  addStatusCommand(bento);
  addMachineCommands(bento);

  common(bento.command("completion <shell>"))
    .description("print what completes this command line in bash, zsh or fish: source <(bento completion bash)")
    .action((shell: string, options) =>
      show(
        options,
        ({ fleet }) => completion({ shell, line: commandLine(bento), fleet }),
        ({ text }) => text,
      ),
    );
  return bento;
}

/** How help is laid out for who reads it. */
function helpOf(command: Command): Help {
  const help = command.createHelp();
  help.prepareContext({ helpWidth: process.stdout.columns ?? 80 });
  return help;
}
