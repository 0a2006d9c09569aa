import { FleetError } from "../errors.ts";
import type { Host } from "./fleet.ts";
import { nearest } from "./suggest.ts";

/**
 * The hosts that `patterns` name: shell globs (`web-*`), all of them for no pattern at all.
 * @throws FleetError when a pattern matches no host, or there is no host to choose from.
 */
export function selectHosts(hosts: readonly Host[], patterns: readonly string[]): Host[] {
  if (hosts.length === 0) {
    throw new FleetError("the fleet has no hosts", { hint: "bento host add NAME --key 'ssh-ed25519 …'" });
  }
  if (patterns.length === 0) return [...hosts];
  const chosen = new Set<Host>();
  for (const pattern of patterns) {
    const matching = hosts.filter((host) => glob(pattern).test(host.name));
    if (matching.length === 0) {
      const names = hosts.map((host) => host.name);
      const meant = nearest(pattern, names);
      throw new FleetError(`no host is called '${pattern}'`, {
        hint: meant ? `did you mean '${meant}'?` : `the hosts are: ${names.join(", ")}`,
      });
    }
    for (const host of matching) chosen.add(host);
  }
  return hosts.filter((host) => chosen.has(host));
}

/** A shell's pattern as a regular expression: `*` any letters, `?` one; host names have no others to be special about. */
function glob(pattern: string): RegExp {
  const body = pattern.replace(/[^a-zA-Z0-9]/g, (letter) =>
    letter === "*" ? ".*" : letter === "?" ? "." : `\\${letter}`,
  );
  return new RegExp(`^${body}$`);
}

/** What `--hosts` and NAME hold: patterns with commas or spaces between. */
export function splitPatterns(text: string | undefined): string[] {
  return (text ?? "").split(/[\s,]+/).filter((pattern) => pattern !== "");
}
