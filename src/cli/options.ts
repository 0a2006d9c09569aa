import { type Command, InvalidArgumentError } from "commander";
import { DEFAULT_TIMEOUT } from "../commands/check.ts";
import { parseShard } from "../fleet/select.ts";
import { pair } from "./pairs.ts";

// The options that several commands of the command line share: how they are told, and what a command gets of them.

/** What every command takes. */
export interface CommonOptions {
  fleet?: string;
  hosts?: string;
  group?: string | string[];
  json?: true;
  verbose?: true;
  color: boolean;
}

/** What commands that evaluate pass on to Nix. */
export interface NixOptions {
  overrideInput: [string, string][];
  option: [string, string][];
  include: string[];
  timeout: number;
}

export function common(command: Command): Command {
  return command
    .exitOverride()
    .option("--fleet <directory>", "the fleet (default: the nearest parent with a fleet.yaml or hosts/)")
    .option("--json", "print one JSON document")
    .option("--verbose", "say more")
    .option("--no-color", "no colours");
}

export function withHosts(command: Command): Command {
  return command
    .option("--hosts <globs>", "only these hosts: names or globs, with commas between")
    .option("--group <names>", "only hosts of these groups, with commas between");
}

export function withIdentity(command: Command): Command {
  return command.option(
    "-i, --identity <file>",
    "the private key to decrypt with (default: ~/.ssh/id_ed25519, ~/.ssh/id_rsa; can be repeated)",
    append,
    [],
  );
}

export function withNix(command: Command): Command {
  return command
    .addOption(pair("--override-input <name> <url>", "for flakes, as Nix takes it (can be repeated)"))
    .addOption(pair("--option <name> <value>", "a setting of Nix's (can be repeated)"))
    .option("-I, --include <path>", "for hosts without flakes, as Nix takes it (can be repeated)", append, [])
    .option("--timeout <seconds>", "for one host's evaluation", wholeNumber, DEFAULT_TIMEOUT / 1000);
}

/** What is checked or built, and what it is compared with. */
export function withBase(command: Command): Command {
  return command
    .option("--base <ref>", "say what changes compared with this commit")
    .option("--shard <i/n>", "only the i-th of n parts of the hosts: see bento plan")
    .option("--dirty", "take in what git doesn't track", false);
}

/** For commands that go to hosts. */
export function withSsh(command: Command): Command {
  return command
    .option("-F, --ssh-config <file>", "ssh's configuration, such as bento ssh-config makes (default: your own)")
    .option(
      "--patience <duration>",
      "how long to try to reach a host again whose connection broke, such as 90s, 30m or 1h",
      "15m",
    );
}

export function nixOptions({ overrideInput, option, include, timeout }: NixOptions) {
  return { nix: { overrideInputs: overrideInput, options: option, searchPath: include }, timeout: timeout * 1000 };
}

export function checkOptions({ base, shard, dirty }: { base?: string; shard?: string; dirty: boolean }) {
  return { base: base ?? null, shard: shard === undefined ? null : parseShard(shard), dirty };
}

export function append(value: string, before: string[]): string[] {
  return [...before, value];
}

export function wholeNumber(value: string): number {
  if (!/^[1-9]\d{0,8}$/.test(value)) throw new InvalidArgumentError("it must be a whole number.");
  return Number(value);
}

/** `{ [key]: value }`, or nothing when there is no value. */
export function given<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { [P in K]?: V });
}
