import { readFile } from "node:fs/promises";
import { FleetError, UnavailableError } from "../errors.ts";
import { run } from "../platform/process.ts";
import { temporarySecretFile } from "../platform/temporary.ts";

/** A private key that the user gave: the text itself (a CI secret), or the path of a file. */
export type KeySource = { content: string } | { file: string };

export interface PrivateKey extends AsyncDisposable {
  /** A file of mode 0600 that only this program reads; it goes with the scope. */
  readonly file: string;
  /** Its public half, `ssh-ed25519 AAAA…`. */
  readonly publicKey: string;
}

/**
 * Makes a private key usable by ssh-keygen. `what` says in errors which key it is, such as "the signing key".
 * @throws FleetError for a key that is malformed, protected by a passphrase, or can't be read. Its text is never part of it.
 */
export async function openPrivateKey(source: KeySource, what: string): Promise<PrivateKey> {
  // Secrets that went through a web form often have carriage returns, or lost their last line end; OpenSSH refuses both.
  const text = "content" in source ? source.content : await readKey(source.file, what);
  const copy = await temporarySecretFile("key", text.replaceAll("\r", "").trim());
  try {
    const publicKey = await publicHalf(copy.path, text, what);
    return { file: copy.path, publicKey, [Symbol.asyncDispose]: () => copy[Symbol.asyncDispose]() };
  } catch (error) {
    await copy[Symbol.asyncDispose]();
    throw error;
  }
}

async function readKey(file: string, what: string): Promise<string> {
  return readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    throw new FleetError(`${what} can't be read from ${file} (${error.code})`);
  });
}

/** `text` is what is in the file. */
async function publicHalf(file: string, text: string, what: string): Promise<string> {
  // An empty passphrase on the command line, so that nothing ever asks for one on somebody's terminal.
  const result = await run("ssh-keygen", ["-y", "-P", "", "-f", file]).catch(needsOpenSsh);
  if (result.status === 0) return result.stdout.trim().split(" ").slice(0, 2).join(" ");
  if (/incorrect passphrase/i.test(result.stderr)) {
    throw new FleetError(`${what} is protected by a passphrase`, {
      hint: "use a key without one, kept as a secret: bento keygen makes it",
    });
  }
  throw new FleetError(`${what} is not an OpenSSH private key`, { hint: whatIsMeant(text) });
}

/** What to do about a text that is no private key. */
function whatIsMeant(text: string): string {
  if (/^\s*(?:ssh-|ecdsa-)\S+ /.test(text)) return "it is a public key: the private one is in the file without .pub";
  if (/^[~/.][^\n]*\s*$/.test(text))
    return "it looks like a file's path, which goes into the variable that has _FILE behind its name; this one is for the key itself";
  return "it begins with -----BEGIN OPENSSH PRIVATE KEY----- and is given whole, with its line ends";
}

export function needsOpenSsh(error: unknown): never {
  if (error instanceof UnavailableError) {
    throw new UnavailableError("OpenSSH was not found on this machine (no ssh-keygen in PATH)", { cause: error });
  }
  throw error;
}

/** Whether two public keys are the same, whatever their comments. */
export function sameKey(a: string, b: string): boolean {
  return a.split(" ").slice(0, 2).join(" ") === b.split(" ").slice(0, 2).join(" ");
}
