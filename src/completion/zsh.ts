import { type CommandLine, flagsByValues, SHELLS, type Values } from "./model.ts";

/** A function for zsh: in a directory of $fpath as `_bento`, or sourced after compinit. */
export function zshCompletion(line: CommandLine): string {
  const { program, commands } = line;
  const flags = flagsByValues(line);
  const valued = [...flags.values()].flat();
  return `#compdef ${program}
# zsh completion for ${program}, made by: ${program} completion zsh
_${program}() {
  local before='' command='' argument=other word i
  local -a options next
  for ((i = 2; i < CURRENT; i++)); do
    word=$words[i]
    case $before in
      (${valued.join("|")}) before=''; continue ;;
    esac
    before=$word
    case $command:$word in
${commands
  .filter(({ words }) => words.length > 0)
  .map(({ words }) => `      ('${words.slice(0, -1).join(" ")}:${words.at(-1)}') command='${words.join(" ")}' ;;`)
  .join("\n")}
    esac
  done
  case $command in
${commands
  .map(
    ({ words, options, next, argument }) => `    ('${words.join(" ")}')
      options=(${options.flatMap((option) => option.flags.map((flag) => quoted(`${flag}:${option.description}`))).join(" ")})
      next=(${next.map(({ name, description }) => quoted(`${name}:${description}`)).join(" ")}) argument=${argument} ;;`,
  )
  .join("\n")}
  esac
  case $before in
${[...flags].map(([values, all]) => `    (${all.join("|")}) argument=${values} next=() ;;`).join("\n")}
    (*) if [[ $PREFIX == -* ]]; then _describe option options; return; fi ;;
  esac
  if (( $#next )); then _describe command next; return; fi
  case $argument in
${(["hosts", "directories", "files", "shells"] satisfies Values[]).map((values) => `    (${values}) ${fill(values, program)} ;;`).join("\n")}
  esac
}
# As a file of $fpath this is the function; sourced, it makes it.
if [[ $funcstack[1] == _${program} ]]; then _${program} "$@"; else compdef _${program} ${program}; fi
`;
}

function fill(values: Exclude<Values, "other">, program: string): string {
  switch (values) {
    case "hosts":
      return `_values -s , host \${(f)"$(${program} completion hosts 2> /dev/null)"}`;
    case "directories":
      return "_files -/";
    case "files":
      return "_files";
    case "shells":
      return `compadd ${SHELLS.join(" ")}`;
  }
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
