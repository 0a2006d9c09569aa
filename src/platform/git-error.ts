import { UnavailableError, UnreachableError } from "../errors.ts";
import type { GitResult } from "./git-run.ts";

/** A remote for people: without the login that its URL may have in it. */
export function withoutLogin(text: string): string {
  return text.replace(/([a-z+]+:\/\/)[^/@\s']*@/gi, "$1");
}

/** What git and ssh say after every failure, whatever it was. */
const SAYS_NOTHING =
  /^(?:|fatal: Could not read from remote repository\.|Please make sure .*|and the repository exists\.|@+|remote: ?)$/;

/** Why git got nowhere with a remote, which `name` stands for. */
export function remoteError(
  name: string,
  { stderr, timedOut }: Pick<GitResult, "stderr" | "timedOut">,
): UnavailableError {
  const said = withoutLogin(stderr)
    .split(/[\r\n]+/)
    .map((line) => line.trim())
    .filter((line) => !SAYS_NOTHING.test(line));
  const cause = new Error(said.join("\n"));
  if (timedOut) return new UnreachableError(`${name} does not answer`, { cause });
  if (/host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED/i.test(stderr)) {
    return new UnavailableError(`${name} showed an ssh host key that is not the pinned or known one`, {
      hint: "if it was really changed, put the new one into git.hostKeys; if not, somebody is in between",
      cause,
    });
  }
  if (/permission denied \(|too many authentication failures/i.test(stderr)) {
    return new UnavailableError(`${name} refused the ssh key`, {
      hint: "it needs a key that may write there: from an agent, GIT_SSH_COMMAND, or BENTO_GIT_SSH_KEY, the Action's input 'git-ssh-key'",
      cause,
    });
  }
  if (/authentication failed|could not read (?:username|password)|access denied|returned error: 40[13]/i.test(stderr)) {
    return new UnavailableError(`${name} refused the login`, {
      hint: "it needs a token that may write there; on GitHub Actions, permissions: contents: write",
      cause,
    });
  }
  if (/repository .*not found|not appear to be a git repository|does not exist|returned error: 404/i.test(stderr)) {
    return new UnavailableError(`${name} is no git repository, or is not shown to this login`, {
      hint: "git.remote in fleet.yaml says where it is",
      cause,
    });
  }
  const why = said.find((line) => !/^(?:warning|hint):/i.test(line)) ?? "git said nothing";
  if (
    /could not resolve|name or service|temporary failure|connection (?:refused|closed|reset|timed out)|no route|unreachable|failed to connect|timed out|unable to access|unexpected disconnect|early EOF|hung up/i.test(
      stderr,
    )
  ) {
    return new UnreachableError(`can't reach ${name}: ${why}`, {
      hint: "git.remote in fleet.yaml says where it is",
      cause,
    });
  }
  return new UnavailableError(`git failed at ${name}: ${why}`, { cause });
}
