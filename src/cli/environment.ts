import type { Help } from "commander";

/** What the command line takes from its environment, as help, the manual and the reference tell it. */
export interface Variable {
  name: string;
  what: string;
}

export const ENVIRONMENT: readonly Variable[] = [
  { name: "BENTO_SSH_KEY", what: "the publisher's private key; or BENTO_SSH_KEY_FILE, its file" },
  { name: "BENTO_SIGNING_KEY", what: "the key that signs releases; or BENTO_SIGNING_KEY_FILE, its file" },
  {
    name: "BENTO_GIT_SSH_KEY",
    what: "the key to push releases to a git remote with, where git itself has none; or BENTO_GIT_SSH_KEY_FILE, its file",
  },
  { name: "BENTO_CACHE_KEY", what: "the key that signs what was built; or BENTO_CACHE_KEY_FILE, its file" },
  { name: "BENTO_MEMORY_KEY", what: "a secret text: only evaluations that were remembered with it are believed" },
  {
    name: "BENTO_EVALUATIONS",
    what: "where evaluations are remembered (default: below $XDG_CACHE_HOME/bento), and after a colon where else they may be read",
  },
  { name: "VISUAL, EDITOR", what: "what bento secret edit opens a secret with" },
  { name: "NAME", what: "the same as --hosts" },
  { name: "NO_COLOR", what: "the same as --no-color, when it is not empty" },
];

/** As `help` shows options. */
export function environmentHelp(help: Help): string {
  const width = Math.max(...ENVIRONMENT.map(({ name }) => name.length));
  return ENVIRONMENT.map(({ name, what }) => help.formatItem(name, width, what, help)).join("\n");
}
