import { randomBytes } from "node:crypto";
import { StringDecoder } from "node:string_decoder";
import type { SshTarget } from "../fleet/ssh-target.ts";
import { run } from "../platform/process.ts";

export interface SshOptions {
  /** A file for `ssh -F`; null for the administrator's own and the system's. */
  config: string | null;
  /** Whether somebody is there to be asked for a passphrase, or whether a host key is the right one. */
  interactive: boolean;
}

/** Seconds for a connection; and without a sign of life, after which one counts as lost. */
const CONNECT_TIMEOUT = 15;
const SILENCE = 5;
/** Bytes that a machine may say in one session, of one line of it, and of its last words on stderr. */
const MAX_SAID = 32 * 1024 ** 2;
const MAX_LINE = 4096;
const MAX_PROBLEM = 64 * 1024;

/** What ssh is given before the address, also by Nix. */
export function sshOptions(target: SshTarget, { config, interactive }: SshOptions): string[] {
  return [
    ...(config === null ? [] : ["-F", config]),
    ...(target.port === null ? [] : ["-p", String(target.port)]),
    ...["-o", `BatchMode=${interactive ? "no" : "yes"}`, "-o", `ConnectTimeout=${CONNECT_TIMEOUT}`],
    ...["-o", `ServerAliveInterval=${SILENCE}`, "-o", "ServerAliveCountMax=3"],
    ...["-o", "ClearAllForwardings=yes", "-o", "ForwardAgent=no", "-o", "RemoteCommand=none"],
  ];
}

/** `user@address`, or the address alone. */
export function sshDestination({ user, address }: SshTarget): string {
  return user === null ? address : `${user}@${address}`;
}

export interface SshSession {
  /** ssh's exit status: 255 when it is ssh that failed, or the connection that broke. */
  status: number;
  /** What ssh, or the program there, said last on stderr; foreign text. */
  problem: string;
  /** It said more than one session may, and was cut off. */
  overflowed: boolean;
}

/**
 * Runs a POSIX shell script on a machine. It comes over standard input, so that no login shell has to understand it. `onLine` is
 * given each line of its output as it comes, cut where it is longer than any line should be; foreign text.
 */
export async function runThere(
  target: SshTarget,
  script: string,
  options: SshOptions,
  signal: AbortSignal,
  onLine: (line: string) => void,
): Promise<SshSession> {
  const decoder = new StringDecoder("utf8");
  const enough = new AbortController();
  let rest = "";
  let said = 0;
  let stderr = "";
  const args = ["-T", ...sshOptions(target, options), "--", sshDestination(target), "sh"];
  // None of it is kept: an upgrade that builds for hours has a log of any size.
  const { status } = await run("ssh", args, {
    input: Buffer.from(script),
    signal,
    kill: enough.signal,
    keepNothing: true,
    onStdout: (data) => {
      if (enough.signal.aborted) return;
      said += data.length;
      if (said > MAX_SAID) enough.abort();
      const lines = (rest + decoder.write(data)).split("\n");
      rest = (lines.pop() ?? "").slice(0, MAX_LINE);
      for (const line of lines) onLine(line.slice(0, MAX_LINE));
    },
    onStderr: (text) => {
      stderr = (stderr + text).slice(-MAX_PROBLEM);
    },
  });
  if (rest !== "") onLine(rest);
  const words = stderr.split("\n").filter((line) => line.trim() !== "");
  return { status, problem: words.at(-1)?.trim() ?? "", overflowed: enough.signal.aborted };
}

/** A word that a machine can't have said before it was told. */
export function nonce(): string {
  return `bento-${randomBytes(16).toString("hex")}`;
}
