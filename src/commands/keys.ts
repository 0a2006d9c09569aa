import { FleetError } from "../errors.ts";
import type { KeySource } from "../release/keys.ts";

/** Private keys by the names of their variables: `NAME` in the environment holds a key's text, `NAME_FILE` a file's path. */
const KEYS = {
  BENTO_SSH_KEY: "the publisher's ssh key",
  BENTO_SIGNING_KEY: "the signing key",
  BENTO_GIT_SSH_KEY: "the ssh key for git",
  BENTO_CACHE_KEY: "the binary cache's signing key",
} as const;
type KeyName = keyof typeof KEYS;

/** Says how a key gets to the command line; the Action says how it gets to the Action. */
export class MissingKeysError extends FleetError {
  readonly names: readonly string[];

  constructor(names: readonly KeyName[]) {
    super(`${names.map((name) => KEYS[name]).join(" and ")} ${names.length > 1 ? "are" : "is"} missing`, {
      hint: `put it into the environment as ${names.join(" and ")}, or the path of its file as ${names
        .map((name) => `${name}_FILE`)
        .join(" and ")}; bento keygen makes both`,
    });
    this.names = names;
  }
}

/**
 * Takes private keys from the environment, in the order of `names`.
 * @throws MissingKeysError that names all of those that are missing.
 */
export function keysFromEnvironment<N extends readonly KeyName[]>(
  env: NodeJS.ProcessEnv,
  ...names: N
): { [I in keyof N]: KeySource } {
  const sources = names.map((name) => optionalKey(env, name));
  const missing = names.filter((_, index) => sources[index] === undefined);
  if (missing.length > 0) throw new MissingKeysError(missing);
  return sources as { [I in keyof N]: KeySource };
}

/** A private key that may be in the environment. */
export function optionalKey(env: NodeJS.ProcessEnv, name: KeyName): KeySource | undefined {
  const [content, file] = [env[name], env[`${name}_FILE`]];
  if (content) return { content };
  return file ? { file } : undefined;
}

/** What a key is called in errors. */
export function describeKey(name: KeyName): string {
  return KEYS[name];
}

export const PUBLISHER_KEY = "BENTO_SSH_KEY";
export const SIGNING_KEY = "BENTO_SIGNING_KEY";
/** Without it, git logs in with whatever it finds itself. */
export const GIT_KEY = "BENTO_GIT_SSH_KEY";
/** Without it, what is built isn't signed. */
export const CACHE_KEY = "BENTO_CACHE_KEY";
/** Any text that is secret: it says which remembered evaluations are to be believed. */
export const MEMORY_KEY = "BENTO_MEMORY_KEY";
/** No program that is started has a use for any of them in its environment. */
export const SECRETS = [PUBLISHER_KEY, SIGNING_KEY, GIT_KEY, CACHE_KEY, MEMORY_KEY];
