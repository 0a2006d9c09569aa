import { GitPluginError, simpleGit } from "simple-git";
import { InterruptedError, UnavailableError } from "../errors.ts";

export interface GitOptions {
  /** Added to what of this process's environment says how git gets at remotes. */
  env?: Readonly<Record<string, string>>;
  /** Standard input. */
  input?: Buffer;
  signal?: AbortSignal;
  /** Milliseconds without a word from git, after which it is ended. */
  silence?: number;
}

export interface GitResult {
  status: number;
  stdout: Buffer;
  stderr: string;
  timedOut: boolean;
}

/** What git's variables may say here: how it reaches and believes remotes, never which repository it works on. */
const ABOUT_REMOTES =
  /^(?:GIT_(?:SSH|SSH_COMMAND|SSH_VARIANT|ASKPASS|CONFIG_.*|SSL_.*|HTTP_.*|PROXY_.*)|SSH_ASKPASS.*)$/;
/** simple-git guards these, and of nothing in the group git has a use here. */
const OF_PEOPLE = /^(?:GIT_.*|SSH_ASKPASS.*|EDITOR|VISUAL|PAGER|PREFIX)$/;

/**
 * Runs git in `dir` without ever asking anybody anything. A status other than zero is a result, not an error.
 * @throws UnavailableError without git; InterruptedError when `signal` aborted it.
 */
export async function runGit(dir: string, args: readonly string[], options: GitOptions = {}): Promise<GitResult> {
  const { signal, input, silence } = options;
  if (signal?.aborted) throw new InterruptedError();
  const inherited = Object.entries(process.env).filter(([name]) => ABOUT_REMOTES.test(name) || !OF_PEOPLE.test(name));
  const env = { ...Object.fromEntries(inherited), GIT_TERMINAL_PROMPT: "0", LC_ALL: "C", ...options.env };
  const result: GitResult = { status: 0, stdout: Buffer.alloc(0), stderr: "", timedOut: false };
  const git = simpleGit({
    baseDir: dir,
    ...(signal === undefined ? {} : { abort: signal }),
    ...(silence === undefined ? {} : { timeout: { block: silence } }),
    ...(input === undefined ? {} : { input: () => input }),
    // What is still in a pipe when git ends is part of its answer.
    completion: { onClose: true, onExit: false },
    allowEnvironment: Object.keys(env).filter((name) => OF_PEOPLE.test(name)),
    // All of it comes from the administrator's own environment; the arguments are never foreign.
    unsafe: {
      allowUnsafeAskPass: true,
      allowUnsafeConfigEnvCount: true,
      allowUnsafeConfigPaths: true,
      allowUnsafeCredentialHelper: true,
      allowUnsafeGitProxy: true,
      allowUnsafeInclude: true,
      allowUnsafeSshCommand: true,
      allowUnsafeUrlRewrite: true,
    },
    // Told of every end, also of a good one: the one place where simple-git gives the status and both outputs apart.
    errors: (error, { exitCode, stdOut, stdErr }) => {
      result.status = exitCode ?? 1;
      result.stdout = Buffer.concat(stdOut);
      result.stderr = Buffer.concat(stdErr).toString("utf8");
      if (!(error instanceof GitPluginError)) return undefined;
      if (error.plugin === "timeout") result.timedOut = true;
      return error.plugin === "timeout" ? undefined : error;
    },
  }).env(env);
  try {
    await git.raw([...args]);
  } catch (error) {
    if (signal?.aborted) throw new InterruptedError();
    throw error;
  }
  if (signal?.aborted) throw new InterruptedError();
  if (/spawn git ENOENT/.test(result.stderr)) throw new UnavailableError("git was not found on this machine");
  return result;
}
