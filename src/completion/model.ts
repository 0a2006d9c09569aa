import type { Command, Option } from "commander";

/** The command line as a shell's completion sees it. */
export interface CommandLine {
  program: string;
  commands: CommandWords[];
}

/** A command, or a group of commands; the first one is the program itself, without words. */
export interface CommandWords {
  words: readonly string[];
  description: string;
  options: readonly OptionWords[];
  /** What may follow it: the names of its commands, or a value. */
  next: readonly { name: string; description: string }[];
  argument: Values;
}

export interface OptionWords {
  /** As they are typed: `-I`, `--include`. */
  flags: readonly string[];
  description: string;
  /** What follows it; null for an option without a value. */
  value: Values | null;
}

/** Where values come from; `other` is known to nobody but the one who types. */
export type Values = "hosts" | "directories" | "files" | "shells" | "other";

export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof SHELLS)[number];

/** By what a value is called in the usage: `<directory>`. */
const VALUES: Record<string, Values> = {
  host: "hosts",
  globs: "hosts",
  directory: "directories",
  file: "files",
  files: "files",
  shell: "shells",
};

export function commandLine(program: Command): CommandLine {
  return { program: program.name(), commands: walk(program, []) };
}

function walk(command: Command, words: readonly string[]): CommandWords[] {
  const shown = command.commands.filter((sub) => sub.name() !== "help");
  const help: OptionWords = { flags: ["-h", "--help"], description: "how to use it", value: null };
  return [
    {
      words,
      description: command.description(),
      options: [...command.options.map(optionWords), help],
      next: shown.map((sub) => ({ name: sub.name(), description: sub.description() })),
      argument: valuesOf(command.registeredArguments[0]?.name() ?? ""),
    },
    ...shown.flatMap((sub) => walk(sub, [...words, sub.name()])),
  ];
}

function optionWords({ short, long, flags, description, required, optional }: Option): OptionWords {
  const [, placeholder = ""] = /[<[]([^>\]]+)/.exec(flags) ?? [];
  return {
    flags: [short, long].filter((flag) => flag !== undefined && flag !== null),
    description,
    value: required || optional ? valuesOf(placeholder) : null,
  };
}

function valuesOf(name: string): Values {
  return VALUES[name] ?? "other";
}

/** The options that take a value of each kind; what an option takes doesn't depend on the command. */
export function flagsByValues({ commands }: CommandLine): Map<Values, string[]> {
  const found = new Map<Values, Set<string>>();
  for (const { flags, value } of commands.flatMap(({ options }) => options)) {
    if (value === null) continue;
    const all = found.get(value) ?? new Set();
    for (const flag of flags) all.add(flag);
    found.set(value, all);
  }
  return new Map([...found].map(([value, flags]) => [value, [...flags].sort()]));
}
