import { InvalidArgumentError, Option } from "commander";

/** An option that takes two values each time, which commander has no form for: it is given one, and the next by `withPairs`. */
export function pair(flags: string, description: string): Option {
  const [long = "", ...names] = flags.split(" ");
  const option = new Option(`${long} <pair>`, `${description}: ${names.join(" ")}`);
  return option.default([], "none").argParser((value: string, before: [string, string][]): [string, string][] => {
    const [name = "", second] = value.split(PAIR);
    if (second === undefined) throw new InvalidArgumentError(`it takes two values: ${names.join(" ")}`);
    return [...before, [name, second]];
  });
}

const PAIR = "\u0000";
const PAIRED = ["--override-input", "--option"];

/** Joins the two values behind each of PAIRED into one argument. */
export function withPairs(args: readonly string[]): string[] {
  const joined: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] ?? "";
    const [name, value] = [args[i + 1], args[i + 2]];
    if (PAIRED.includes(arg) && name !== undefined && value !== undefined) {
      joined.push(arg, name + PAIR + value);
      i += 2;
    } else joined.push(arg);
  }
  return joined;
}
