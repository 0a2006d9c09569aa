import { constants } from "node:fs";
import { lstat, open, readdir } from "node:fs/promises";
import path from "node:path";
import { FleetError, HostError } from "../errors.ts";
import { MAX_SECRET } from "./age.ts";

/** Where the fleet's secrets are: `secrets/HOST/NAME.age`. A release has those of its host. */
export const SECRETS_DIR = "secrets";
const SUFFIX = ".age";
/** Armor makes a third more of it, and the header is small. */
const MAX_FILE = 2 * MAX_SECRET;
const NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/;

/** Also the name of a file on the host, and of an attribute of `services.bento.secrets`. */
export function isSecretName(name: string): boolean {
  return NAME.test(name) && !name.endsWith(SUFFIX);
}

/** @throws FleetError for what is no name of a secret. */
export function checkSecretName(name: string): void {
  if (isSecretName(name)) return;
  throw new FleetError(`a secret can't be called '${name}'`, {
    hint: name.endsWith(SUFFIX)
      ? `without ${SUFFIX} at its end, which the file gets by itself`
      : "lower-case letters, digits, '.', '_' and '-', a letter or digit first, at most 64",
  });
}

/** Relative to the fleet. */
export function secretFile(host: string, name: string): string {
  return path.posix.join(SECRETS_DIR, host, name + SUFFIX);
}

/**
 * What a host's secrets are called, sorted. Their files may have been made by others: not all of it need be a secret's name.
 * @throws FleetError where one of the directories is a link: what is written there would end up elsewhere.
 */
export async function secretNames(fleet: string, host: string): Promise<string[]> {
  for (const place of [SECRETS_DIR, path.posix.join(SECRETS_DIR, host)]) {
    const info = await lstat(path.join(fleet, place)).catch(missing);
    if (info === undefined) return [];
    if (!info.isDirectory()) {
      throw new FleetError("it is no directory", { at: { file: place }, hint: `git rm ${place}` });
    }
  }
  const names = await readdir(path.join(fleet, SECRETS_DIR, host));
  return names
    .filter((name) => name.endsWith(SUFFIX))
    .map((name) => name.slice(0, -SUFFIX.length))
    .sort();
}

/** The directories below secrets/, which should all be hosts' names. */
export async function secretHosts(fleet: string): Promise<string[]> {
  const entries = await readdir(path.join(fleet, SECRETS_DIR), { withFileTypes: true }).catch(missing);
  return (entries ?? [])
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort();
}

/**
 * The content of a secret's file.
 * @throws HostError for what isn't there, or is no regular file: a pull request may have put a link or a fifo there.
 */
export async function readSecretFile(fleet: string, file: string): Promise<Buffer> {
  const refuse = (what: string, cause?: unknown) =>
    new HostError(what, { at: { file }, ...(cause === undefined ? {} : { cause }) });
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const handle = await open(path.join(fleet, file), flags).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === "ELOOP") throw refuse("it is a link: bento secret works on the files themselves", cause);
    throw refuse(`it can't be read (${cause.code})`, cause);
  });
  try {
    const info = await handle.stat();
    if (!info.isFile()) throw refuse("it is no regular file");
    if (info.size > MAX_FILE) throw refuse(`it is larger than ${MAX_FILE / 1024 ** 2} MiB`);
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}

function missing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}
