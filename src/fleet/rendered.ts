import { readFile } from "node:fs/promises";
import path from "node:path";
import { cacheOverSsh } from "./cache-over-ssh.ts";
import type { Fleet, Host } from "./fleet.ts";
import { loginOf } from "./fleet.ts";

/** What the server is set up from (utils/fleet.nix, utils/server): the logins and their keys. */
export const SERVER_FILE = "fleet.json";
/** What every host's agent is set up from. It goes to all of them, so it names none. */
export const AGENT_FILE = "utils/bento.json";

/** The files that are made from fleet.yaml and committed beside it: their paths, relative to the fleet, and texts. */
export function renderedFiles(fleet: Fleet): Map<string, string> {
  return new Map([
    [SERVER_FILE, json(serverSettings(fleet))],
    [AGENT_FILE, json(agentSettings(fleet))],
  ]);
}

/** Those of `renderedFiles` that are missing or different on disk. A fleet without fleet.yaml has none. */
export async function staleFiles(fleet: Fleet): Promise<string[]> {
  if (fleet.file === null) return [];
  const stale: string[] = [];
  for (const [file, text] of renderedFiles(fleet)) {
    const actual = await readFile(path.join(fleet.dir, file), "utf8").catch(() => undefined);
    if (actual !== text) stale.push(file);
  }
  return stale;
}

function serverSettings(fleet: Fleet) {
  const { server } = fleet;
  const cache = cacheOverSsh(fleet);
  const hosts = fleet.hosts.flatMap((host) =>
    host.key === null || server === null ? [] : [[host.name, { login: loginOf(host, server), key: host.key }] as const],
  );
  return {
    version: 1,
    server: server && {
      root: server.root,
      user: server.user,
      publishers: server.publishers,
      loginPrefix: server.loginPrefix,
      // Only where it is asked for, so that the files of all other fleets stay as they are.
      ...(server.tree ? { tree: true } : {}),
      // The one place that it connects hosts to.
      ...(cache === null ? {} : { cache: cache.target }),
    },
    hosts: Object.fromEntries(hosts),
    // For hosts that stage a branch by themselves. Other fleets' files stay as they are.
    ...(fleet.git === null ? {} : { trees: Object.fromEntries(fleet.hosts.filter(isShipped).map(treeOf)) }),
  };
}

const isShipped = (host: Host) => host.declared && host.deliver === "tree";

/** What a host must know to stage its tree as it is staged here (utils/agent/fetchers/git.d/stage.sh). */
function treeOf({ name, path, include, kind, attr, config, nixpkgs }: Host) {
  return [name, { path, include, kind, attr: kind === "flake" ? attr : config, nixpkgs }] as const;
}

function agentSettings(fleet: Fleet) {
  const { server, git, signers, substituters } = fleet;
  const cache = cacheOverSsh(fleet);
  return {
    version: 1,
    server: server && {
      address: server.address,
      port: server.port,
      loginPrefix: server.loginPrefix,
      hostKeys: server.hostKeys,
    },
    git,
    signers,
    substituters: substituters.map((substituter) =>
      substituter === cache?.substituter ? { ...substituter, over: cache.target } : substituter,
    ),
  };
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
