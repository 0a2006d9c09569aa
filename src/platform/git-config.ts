import { runGit } from "./git-run.ts";

/** What a repository's own configuration says of remotes. */
export interface RemoteConfig {
  /** For another repository's configuration file. */
  text: string;
  /** The ssh command to use, by the environment or the configuration; null for ssh itself. */
  sshCommand: string | null;
}

/** Of a repository's settings, those that say how to reach remotes and how to log in there. */
const OF_REMOTES = /^(?:http|credential|url|ssh)\.|^core\.(?:sshcommand|askpass|gitproxy)$/;

/**
 * Reads what the configuration of the repository in `dir` says of remotes. Only its own file counts here, with what that
 * includes: the user's and the system's count everywhere anyway.
 */
export async function remoteConfig(dir: string, signal: AbortSignal): Promise<RemoteConfig> {
  const own = await runGit(dir, ["config", "--local", "--includes", "--list", "-z"], { signal });
  const entries = own.stdout
    .toString("utf8")
    .split("\0")
    .filter((entry) => entry !== "")
    .map(parseEntry);
  const text = entries
    .filter(({ key }) => OF_REMOTES.test(key))
    .map(formatEntry)
    .join("");
  const configured = await runGit(dir, ["config", "--get", "core.sshCommand"], { signal });
  const command = process.env.GIT_SSH_COMMAND || configured.stdout.toString("utf8").trim() || process.env.GIT_SSH;
  return { text, sshCommand: command || null };
}

interface Entry {
  /** `section.name` or `section.subsection.name`; only a subsection may have anything in it. */
  key: string;
  /** Null where only the name stands there, which means true. */
  value: string | null;
}

function parseEntry(entry: string): Entry {
  const end = entry.indexOf("\n");
  return end < 0 ? { key: entry, value: null } : { key: entry.slice(0, end), value: entry.slice(end + 1) };
}

function formatEntry({ key, value }: Entry): string {
  const [first, last] = [key.indexOf("."), key.lastIndexOf(".")];
  const section = key.slice(0, first);
  const subsection = first === last ? "" : ` "${escaped(key.slice(first + 1, last))}"`;
  const setting = key.slice(last + 1) + (value === null ? "" : ` = "${escaped(value).replaceAll("\n", "\\n")}"`);
  return `[${section}${subsection}]\n\t${setting}\n`;
}

function escaped(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll('"', '\\"');
}
