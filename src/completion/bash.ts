import { type CommandLine, flagsByValues, SHELLS, type Values } from "./model.ts";

/** A script for bash 4 and later, without bash-completion's own functions. */
export function bashCompletion(line: CommandLine): string {
  const { program, commands } = line;
  const flags = flagsByValues(line);
  const valued = [...flags.values()].flat();
  return `# bash completion for ${program}, made by: ${program} completion bash
_${program}() {
  local current=\${COMP_WORDS[COMP_CWORD]} before='' command='' options='' next='' argument=other word i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    case $before in
      ${valued.join("|")}) before=''; continue ;;
    esac
    before=$word
    case $command:$word in
${commands
  .filter(({ words }) => words.length > 0)
  .map(({ words }) => `      '${words.slice(0, -1).join(" ")}:${words.at(-1)}') command='${words.join(" ")}' ;;`)
  .join("\n")}
    esac
  done
  case $command in
${commands
  .map(
    ({ words, options, next, argument }) =>
      `    '${words.join(" ")}') options='${options.flatMap((option) => option.flags).join(" ")}' next='${next.map(({ name }) => name).join(" ")}' argument=${argument} ;;`,
  )
  .join("\n")}
  esac
  case $before in
${[...flags].map(([values, all]) => `    ${all.join("|")}) argument=${values} next='' ;;`).join("\n")}
    *) if [[ $current == -* ]]; then next=$options argument=other; fi ;;
  esac
  if [[ -n $next ]]; then mapfile -t COMPREPLY < <(compgen -W "$next" -- "$current"); return; fi
  case $argument in
${(["hosts", "directories", "files", "shells"] satisfies Values[]).map((values) => `    ${values}) ${fill(values, program)} ;;`).join("\n")}
  esac
}
complete -F _${program} ${program}
`;
}

function fill(values: Exclude<Values, "other">, program: string): string {
  switch (values) {
    case "hosts":
      // Of a list with commas, the last one.
      return `word=\${current##*,}; mapfile -t COMPREPLY < <(compgen -P "\${current%"$word"}" -W "$(${program} completion hosts 2> /dev/null)" -- "$word")`;
    case "directories":
      return `compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$current")`;
    case "files":
      return `compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$current")`;
    case "shells":
      return `mapfile -t COMPREPLY < <(compgen -W '${SHELLS.join(" ")}' -- "$current")`;
  }
}
