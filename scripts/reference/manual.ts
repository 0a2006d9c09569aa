import type { Option } from "commander";
import { ENVIRONMENT } from "../../src/cli/environment.ts";
import { program } from "../../src/cli.ts";
import { leaves, nameOf, sharedFlags, usageOf } from "./commands.ts";

/** share/man/man1/bento.1, in man(7), of the command line and what a person needs to know around it. */
export function manual(version: string): string {
  const commands = leaves(program());
  const shared = sharedFlags(commands);
  const first = commands[0]?.options ?? [];
  return [
    `.\\" Made from src/cli/ by the test of the reference; BENTO_UPDATE=1 scripts/test reference writes it anew.`,
    `.TH BENTO 1 "" "bento ${version}" "User Commands"`,
    ".SH NAME",
    "bento \\- keeps a fleet of NixOS machines up to date from one git repository",
    ".SH SYNOPSIS",
    ".B bento",
    ".I command",
    ".RI [ options ]",
    ".SH DESCRIPTION",
    text(
      "A fleet is a git repository with a fleet.yaml and a configuration for each host. bento check evaluates what each host would get; bento deploy publishes it, signed, where the host alone can read it. Hosts poll, build, prove that they can still be reached or put themselves back, and report: bento status.",
    ),
    ".SH OPTIONS",
    "Every command takes these:",
    ...first.filter(({ flags }) => shared.includes(flags)).flatMap(option),
    ...tagged("\\fB\\-h\\fR, \\fB\\-\\-help\\fR", "How to use it."),
    ".SH COMMANDS",
    ...commands.flatMap((command) => [
      `.SS ${nameOf(command)}`,
      `.B ${roff(usageOf(command, shared))}`,
      ".PP",
      text(sentence(command.description())),
      ...command.options.filter(({ flags }) => !shared.includes(flags)).flatMap(option),
    ]),
    ".SH EXIT STATUS",
    ...tagged("0", "Done."),
    ...tagged("1", "A host failed; the others were processed."),
    ...tagged("2", "The fleet or the arguments are wrong; nothing was done."),
    ...tagged("3", "A server or a tool could not be reached or run."),
    ...tagged("130", "Interrupted."),
    ".SH ENVIRONMENT",
    ...ENVIRONMENT.flatMap(({ name, what }) => tagged(bold(name), sentence(what))),
    ".SH FILES",
    ...tagged(
      bold("fleet.yaml"),
      "The fleet: where releases go, whose releases hosts take, and which hosts there are.",
    ),
    ...tagged(bold("fleet.json, utils/bento.json"), "What bento render makes of it; committed with it."),
    ...tagged(
      bold("bento.lock"),
      "What bento init copied, and of which Bento: for bento init --update; committed with it.",
    ),
    ...tagged(bold("secrets/HOST/NAME.age"), "What HOST alone can read, and the administrators."),
    ...tagged(bold("$XDG_CACHE_HOME/bento"), "Evaluations that are remembered."),
    ...tagged(
      bold("$XDG_STATE_HOME/bento"),
      "The gc roots of what was built, the logs of builds that failed, and what bento status has told.",
    ),
    ".SH EXAMPLES",
    ...tagged("bento check --base main", "What this branch changes, host by host."),
    ...tagged("bento deploy --dry-run", "What would be published."),
    ...tagged("bento rollback nas", "What the host nas had before, as a new release."),
    ...tagged("bento status --hosts 'web-*'", "How some hosts are."),
    ...tagged("source <(bento completion bash)", "Completion, in this shell."),
    ".SH SEE ALSO",
    ".BR nix (1),",
    ".BR ssh\\-keygen (1),",
    ".BR age (1)",
    "",
  ].join("\n");
}

function option({ flags, description, defaultValue, negate }: Option): string[] {
  const shown =
    typeof defaultValue === "string" || typeof defaultValue === "number" ? ` Default: ${defaultValue}.` : "";
  // The last word may be what it takes; the others are how it is written.
  const tag = roff(flags)
    .replace(/(^|, )((?:\\-)+[\w\\-]+)/g, (_, before: string, flag: string) => `${before}${bold(flag)}`)
    .replace(/<([^>]+)>/g, "\\fI$1\\fR");
  return tagged(tag, sentence(description) + (negate ? "" : shown));
}

function tagged(tag: string, what: string): string[] {
  return [".TP", tag.startsWith("\\f") ? tag : bold(roff(tag)), text(what)];
}

function bold(text: string): string {
  return `\\fB${text}\\fR`;
}

/** A paragraph: one line, in which nothing is a request or an escape. */
function text(paragraph: string): string {
  return roff(paragraph).replace(/^[.']/, "\\&$&");
}

function roff(text: string): string {
  return text.replaceAll("\\", "\\e").replaceAll("-", "\\-").replaceAll("…", "...").replaceAll("'", "\\(aq");
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}
