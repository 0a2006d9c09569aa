import { type CommandLine, type CommandWords, flagsByValues, SHELLS, type Values } from "./model.ts";

/** Commands for fish: in ~/.config/fish/completions/bento.fish, or sourced. */
export function fishCompletion(line: CommandLine): string {
  const { program, commands } = line;
  const valued = [...flagsByValues(line).values()].flat();
  const lines = commands.flatMap((command) => [
    ...command.next.map(({ name, description }) => complete(program, command, `-a ${name} -d ${quoted(description)}`)),
    ...command.options.map(({ flags, description, value }) => {
      const names = flags.map((flag) => (flag.startsWith("--") ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
      const takes = value === null ? "" : ` -x${source(value, program)}`;
      return complete(program, command, `${names.join(" ")}${takes} -d ${quoted(description)}`);
    }),
    ...(command.next.length > 0 || command.argument === "other"
      ? []
      : [complete(program, command, source(command.argument, program).trim())]),
  ]);
  return `# fish completion for ${program}, made by: ${program} completion fish
# Whether the words on the line, without options and what they take, begin with these commands.
function __${program}_at
    set -l given
    set -l before ''
    for word in (commandline -opc)[2..]
        if contains -- $before ${valued.join(" ")}
            set before ''
            continue
        end
        set before $word
        string match -q -- '-*' $word; or set -a given $word
    end
    set -l wanted $argv
    set -l count (count $wanted)
    test (count $given) -ge $count; or return 1
    test $count -eq 0; and test (count $given) -gt 0; and return 1
    test $count -eq 0; or test "$given[1..$count]" = "$wanted"
end
complete -c ${program} -f
${lines.join("\n")}
`;
}

function complete(program: string, { words }: CommandWords, what: string): string {
  return `complete -c ${program} -n ${quoted([`__${program}_at`, ...words].join(" "))} ${what}`;
}

function source(values: Values, program: string): string {
  switch (values) {
    case "hosts":
      return ` -a '(${program} completion hosts 2> /dev/null)'`;
    case "directories":
      return " -a '(__fish_complete_directories)'";
    case "files":
      return " -a '(__fish_complete_path)'";
    case "shells":
      return ` -a '${SHELLS.join(" ")}'`;
    case "other":
      return "";
  }
}

function quoted(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
