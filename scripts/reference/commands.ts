import type { Command, Option } from "commander";
import { program } from "../../src/cli.ts";
import { code, page, table } from "./markdown.ts";

/** docs/reference/commands.md */
export function commandsReference(): string {
  const commands = leaves(program());
  const [first, ...others] = commands.map((command) => command.options.map(({ flags }) => flags));
  // What all of them take is told once.
  const shared = (first ?? []).filter((flags) => others.every((all) => all.includes(flags)));
  return page(
    "Commands",
    "src/cli.ts",
    "Every command takes `--help`, and these:",
    options(commands[0]?.options.filter(({ flags }) => shared.includes(flags)) ?? []),
    "Exit status: 0 done; 1 a host failed, the others were processed; 2 the fleet or the arguments are wrong, and nothing was done;\n" +
      "3 a server or a tool could not be reached or run; 130 interrupted.",
    ...commands.map((command) => section(command, shared)),
  );
}

/** Commands that do something themselves. */
function leaves(command: Command): Command[] {
  return command.commands.length === 0 ? [command] : command.commands.flatMap(leaves);
}

function section(command: Command, shared: readonly string[]): string {
  const name = nameOf(command);
  const args = command.registeredArguments.map((argument) => {
    const text = argument.variadic ? `${argument.name()}...` : argument.name();
    return argument.required ? `<${text}>` : `[${text}]`;
  });
  const own = command.options.filter(({ flags }) => !shared.includes(flags));
  return [
    `## ${name}`,
    code([name, ...args, own.length > 0 ? "[options]" : ""].join(" ").trim()),
    sentence(command.description()),
    ...(own.length > 0 ? [options(own)] : []),
  ].join("\n\n");
}

function nameOf(command: Command): string {
  return command.parent === null ? command.name() : `${nameOf(command.parent)} ${command.name()}`;
}

function options(all: readonly Option[]): string {
  const rows = all.map(({ flags, description, defaultValue, negate }) => [
    code(flags),
    description,
    negate || defaultValue === false || (Array.isArray(defaultValue) && defaultValue.length === 0)
      ? ""
      : code(String(defaultValue ?? "")),
  ]);
  return table(["option", "", "default"], rows);
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}
