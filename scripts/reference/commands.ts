import type { Command, Option } from "commander";
import { ENVIRONMENT } from "../../src/cli/environment.ts";
import { program } from "../../src/cli.ts";
import { code, page, table } from "./markdown.ts";

/** docs/reference/commands.md */
export function commandsReference(): string {
  const commands = leaves(program());
  const shared = sharedFlags(commands);
  return page(
    "Commands",
    "src/cli/",
    "Every command takes `--help`, and these:",
    options(commands[0]?.options.filter(({ flags }) => shared.includes(flags)) ?? []),
    "Exit status: 0 done; 1 a host failed, the others were processed; 2 the fleet or the arguments are wrong, and nothing was done;\n" +
      "3 a server or a tool could not be reached or run; 130 interrupted.",
    ...commands.map((command) => section(command, shared)),
    "## Environment",
    table(
      ["variable", ""],
      ENVIRONMENT.map(({ name, what }) => [code(name), what]),
    ),
    "Files are in [files.md](files.md).",
  );
}

/** What all of them take, which is told once. */
export function sharedFlags(commands: readonly Command[]): string[] {
  const [first, ...others] = commands.map((command) => command.options.map(({ flags }) => flags));
  return (first ?? []).filter((flags) => others.every((all) => all.includes(flags)));
}

/** Commands that do something themselves. */
export function leaves(command: Command): Command[] {
  return command.commands.length === 0 ? [command] : command.commands.flatMap(leaves);
}

function section(command: Command, shared: readonly string[]): string {
  const own = command.options.filter(({ flags }) => !shared.includes(flags));
  return [
    `## ${nameOf(command)}`,
    code(usageOf(command, shared)),
    sentence(command.description()),
    ...(own.length > 0 ? [options(own)] : []),
  ].join("\n\n");
}

/** `bento COMMAND <argument> [options]` */
export function usageOf(command: Command, shared: readonly string[]): string {
  const args = command.registeredArguments.map((argument) => {
    const text = argument.variadic ? `${argument.name()}...` : argument.name();
    return argument.required ? `<${text}>` : `[${text}]`;
  });
  const hasOwn = command.options.some(({ flags }) => !shared.includes(flags));
  return [nameOf(command), ...args, ...(hasOwn ? ["[options]"] : [])].join(" ");
}

export function nameOf(command: Command): string {
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
