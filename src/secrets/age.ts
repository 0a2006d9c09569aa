import { HostError, UnavailableError } from "../errors.ts";
import { inertLine } from "../inert.ts";
import { type RunResult, run } from "../platform/process.ts";
import { withoutName } from "./recipients.ts";

/** Larger than anything that is kept as a secret. */
export const MAX_SECRET = 1024 ** 2;

/**
 * Encrypts to all of `recipients`. The result is text (age's armor), so that nothing that converts line ends can spoil it.
 * @throws UnavailableError when there is no age; HostError when it refuses.
 */
export async function encrypt(value: Buffer, recipients: readonly string[], signal: AbortSignal): Promise<string> {
  const to = [...new Set(recipients.map(withoutName))].flatMap((recipient) => ["--recipient", recipient]);
  const result = await age(["--encrypt", "--armor", ...to], value, signal);
  if (result.status !== 0) throw new HostError(`age can't encrypt it: ${complaint(result)}`);
  return result.stdout;
}

/**
 * Decrypts with one of the identities, files of private keys. For one with a passphrase, age asks on the terminal.
 * @throws UnavailableError when there is no age; HostError when none of the identities can read it, or it is damaged.
 */
export async function decrypt(file: Buffer, identities: readonly string[], signal: AbortSignal): Promise<Buffer> {
  const pieces: Buffer[] = [];
  const using = identities.flatMap((identity) => ["--identity", identity]);
  const result = await age(["--decrypt", ...using], file, signal, (data) => pieces.push(data));
  if (result.status === 0) return Buffer.concat(pieces);
  if (/no identity matched/.test(result.stderr)) {
    throw new HostError(`it is not encrypted to ${identities.join(" or ")}`, {
      hint: "-i FILE says which private key to use: of an administrator whom it was encrypted to, or the host's own",
    });
  }
  throw new HostError(`age can't decrypt it: ${complaint(result)}`);
}

async function age(
  args: readonly string[],
  input: Buffer,
  signal: AbortSignal,
  onStdout: (data: Buffer) => void = () => {},
): Promise<RunResult> {
  try {
    return await run("age", args, { input, signal, maxOutput: 4 * MAX_SECRET, onStdout });
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    throw new UnavailableError("age was not found on this machine (no age in PATH)", {
      hint: "install it: nix-shell -p age, apt install age, brew install age",
      cause: error,
    });
  }
}

/** What age says of a failure, without its name before it and its advice behind. */
function complaint({ stderr, status }: RunResult): string {
  const line = stderr.split("\n").find((candidate) => /^age: error: /.test(candidate));
  return line === undefined ? `exit status ${status}` : inertLine(line.replace(/^age: error: /, ""));
}
