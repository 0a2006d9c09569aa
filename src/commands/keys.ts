import { FleetError } from "../errors.ts";
import type { KeySource } from "../release/keys.ts";

/** Where a private key comes from: `NAME` in the environment holds its text, `NAME_FILE` the path of a file. */
export function keyFromEnvironment(env: NodeJS.ProcessEnv, name: string, what: string): KeySource {
  const content = env[name];
  const file = env[`${name}_FILE`];
  if (content) return { content };
  if (file) return { file };
  throw new FleetError(`${what} is missing`, {
    hint: `put it into the environment as ${name}, or its file's path as ${name}_FILE; bento keygen makes one`,
  });
}

export const PUBLISHER_KEY = "BENTO_SSH_KEY";
export const SIGNING_KEY = "BENTO_SIGNING_KEY";
