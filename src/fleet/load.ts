import { existsSync, statSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { FleetError } from "../errors.ts";
import { checkCacheOverSsh } from "./cache-over-ssh.ts";
import type { Fleet, Host, HostKind } from "./fleet.ts";
import { loginOf } from "./fleet.ts";
import { FLEET_FILE, type ParsedFleet, parseFleetFile } from "./parse.ts";
import { hostName } from "./schema.ts";
import { wavesOf } from "./waves.ts";

const HOSTS = "hosts";
const ROOT = ".";
const CHANNEL_ENTRY = "configuration.nix";

/**
 * The fleet's directory: the nearest one, from `start` upwards, that has a fleet.yaml or hosts/.
 * @throws FleetError when there is none.
 */
export function findFleet(start: string): string {
  for (let dir = path.resolve(start); ; dir = path.dirname(dir)) {
    if (existsSync(path.join(dir, FLEET_FILE)) || isDirectory(path.join(dir, HOSTS))) return dir;
    if (existsSync(path.join(dir, ".git")) && existsSync(path.join(dir, "flake.nix"))) return dir;
    if (dir === path.dirname(dir)) break;
  }
  throw new FleetError(`no fleet here: neither ${start} nor a directory above it has a ${FLEET_FILE} or ${HOSTS}/`, {
    hint: "bento init makes one",
  });
}

/**
 * Loads a fleet: what fleet.yaml declares, and what is found below hosts/ beside it. What else a flake has is known only to
 * Nix: see `addFlakeHosts`.
 *
 * @throws FleetError for a fleet.yaml that is wrong, and for an entry whose configuration isn't there.
 */
export async function loadFleet(dir: string): Promise<Fleet> {
  const parsed = await readFleetFile(dir);
  if (parsed) checkCacheOverSsh(parsed);
  const declared = parsed ? declaredHosts(dir, parsed) : [];
  const found = await foundHosts(dir, declared);
  const { server, git, signers = [], administrators = [], substituters = [], cache, rollout } = parsed?.content ?? {};
  return {
    dir,
    file: parsed ? FLEET_FILE : null,
    server: server ?? null,
    git: git ?? null,
    signers,
    administrators,
    substituters,
    cache: cache ? { push: cache.push ?? null, over: cache.over ?? null } : null,
    waves: parsed && rollout ? wavesOf(rollout, declared, parsed.locate) : null,
    hosts: sortHosts([...declared, ...found]),
    warnings: [],
  };
}

/**
 * Adds the hosts that a flake has beyond those declared. `list` gives the names of the nixosConfigurations of the flake in a
 * directory of the fleet, and is asked once for each; for a flake that can't be evaluated it gives null, and the flake then
 * stands for its unknown hosts under its directory's name, so that its error is shown.
 */
export async function addFlakeHosts(
  fleet: Fleet,
  list: (flake: Host) => Promise<readonly string[] | null>,
): Promise<Fleet> {
  const hosts = fleet.hosts.filter((host) => host.declared || host.kind !== "flake");
  const warnings = [...fleet.warnings];
  for (const flake of flakesOf(fleet)) {
    const dir = flake.path;
    const declaredAttrs = new Set(hosts.filter((host) => host.declared && host.path === dir).map((host) => host.attr));
    const attrs = await list(flake);
    if (attrs === null && !flake.declared) {
      hosts.push(hosts.some((host) => host.name === flake.name) ? { ...flake, name: dir } : flake);
    }
    if (attrs?.length === 0 && !flake.declared && dir !== ROOT) {
      warnings.push(`${dir}/flake.nix has no nixosConfigurations: it is no host`);
    }
    for (const attr of attrs ?? []) {
      if (declaredAttrs.has(attr)) continue;
      // Below hosts/ is where a flake at the root commonly has its modules.
      const module = dir === ROOT ? hosts.findIndex((host) => !host.declared && host.path === `${HOSTS}/${attr}`) : -1;
      if (module >= 0 && hosts[module]?.kind === "channel") hosts.splice(module, 1);
      if (!hostName.safeParse(attr).success) {
        warnings.push(`${dir}/flake.nix: nixosConfigurations.${JSON.stringify(attr)} is no host name, and is left out`);
      } else if (hosts.some((host) => host.name === attr)) {
        warnings.push(
          `${dir}/flake.nix: nixosConfigurations.${attr} is left out, as there is another host of that name`,
        );
      } else {
        hosts.push(undeclared(attr, dir, "flake"));
      }
    }
  }
  return { ...fleet, hosts: sortHosts(hosts), warnings };
}

/** One host for each directory that has a flake. */
export function flakesOf({ hosts }: Pick<Fleet, "hosts">): Host[] {
  return [...new Map(hosts.filter((host) => host.kind === "flake").map((host) => [host.path, host])).values()];
}

async function readFleetFile(dir: string): Promise<ParsedFleet | null> {
  let text: string;
  try {
    text = await readFile(path.join(dir, FLEET_FILE), "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return null;
    if (code === "ENOTDIR") throw new FleetError(`${dir} is a file, and a fleet is a directory`, { cause: error });
    throw new FleetError(`it can't be read (${code})`, { at: { file: FLEET_FILE }, cause: error });
  }
  return parseFleetFile(text);
}

function declaredHosts(dir: string, { content, locate }: ParsedFleet): Host[] {
  const hosts: Host[] = [];
  const seen = new Map<string, string>();
  const once = (name: string, what: string, key: string, problem: (other: string) => string) => {
    const other = seen.get(key);
    if (other !== undefined) throw new FleetError(problem(other), { at: locate(["hosts", name, what]) });
    seen.set(key, name);
  };
  for (const [name, entry] of Object.entries(content.hosts)) {
    const place = entry.path ?? `${HOSTS}/${name}`;
    const kind: HostKind = existsSync(path.join(dir, place, "flake.nix")) ? "flake" : "channel";
    const config = entry.config ?? CHANNEL_ENTRY;
    const attr = entry.attr ?? name;
    const needed = kind === "flake" ? "flake.nix" : config;
    if (!isFile(path.join(dir, place, needed))) {
      throw new FleetError(
        `${name}: there is no ${path.posix.join(place, kind === "flake" ? "" : config)}${kind === "flake" ? "/flake.nix" : ""}`,
        {
          at: locate(["hosts", name]),
          hint:
            entry.path === undefined
              ? `add it, or take the host out: bento host remove ${name}`
              : `add it, or say in its path where it is; or take the host out: bento host remove ${name}`,
        },
      );
    }
    if (content.server) {
      const login = loginOf({ name }, content.server);
      if (login.length > 32 || !/^[a-z_]/.test(login)) {
        throw new FleetError(
          `${name}: its login at the server would be '${login}', which is no unix login (a letter first, at most 32)`,
          {
            at: locate(["hosts", name]),
            hint: "rename the host, or set server.loginPrefix",
          },
        );
      }
      if (login === content.server.user) {
        throw new FleetError(`${name}: its login at the server would be the publisher's, '${login}'`, {
          at: locate(["hosts", name]),
        });
      }
    }
    if (entry.deliver === "system" && content.substituters.length === 0) {
      throw new FleetError(
        `${name}: with 'deliver: system' it gets its system from a binary cache, and the fleet has none`,
        {
          at: locate(["hosts", name, "deliver"]),
          hint: "name one in substituters, or deliver: tree",
        },
      );
    }
    // With one key for two hosts, each could log in as the other and read its secrets.
    if (entry.key)
      once(name, "key", `key ${entry.key.split(" ")[1]}`, (other) => `${name} and ${other} have the same key`);
    once(
      name,
      "attr",
      `system ${place} ${kind === "flake" ? attr : config}`,
      (other) => `${name} and ${other} are the same system`,
    );
    hosts.push({
      name,
      path: place,
      kind,
      config,
      attr,
      deliver: entry.deliver,
      key: entry.key ?? null,
      groups: entry.groups,
      ssh: entry.ssh ?? null,
      include: entry.include ?? null,
      nixpkgs: kind === "channel" ? (entry.nixpkgs ?? content.nixpkgs ?? null) : null,
      agent: entry.agent,
      declared: true,
    });
  }
  return hosts;
}

/**
 * What lies below hosts/, or at the root, and has no entry. A flake's hosts are known by its directory until Nix names them.
 * What a declared host includes, or is called like one, is taken for a part of it.
 */
async function foundHosts(dir: string, declared: readonly Host[]): Promise<Host[]> {
  const taken = new Set(declared.map((host) => host.path));
  const names = new Set(declared.map((host) => host.name));
  const included = declared.flatMap((host) => host.include?.map((place) => path.posix.join(host.path, place)) ?? []);
  const found: Host[] = [];
  const entries = await readdir(path.join(dir, HOSTS), { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    const { name } = entry;
    const place = `${HOSTS}/${name}`;
    if (!entry.isDirectory() || taken.has(place)) continue;
    if (existsSync(path.join(dir, place, "flake.nix"))) {
      found.push(undeclared(names.has(name) ? place : name, place, "flake"));
    } else if (
      existsSync(path.join(dir, place, CHANNEL_ENTRY)) &&
      hostName.safeParse(name).success &&
      !names.has(name) &&
      !included.some((part) => part === place || part.startsWith(`${place}/`))
    ) {
      found.push(undeclared(name, place, "channel"));
    }
  }
  if (!taken.has(ROOT) && existsSync(path.join(dir, "flake.nix"))) {
    const name = path.basename(dir);
    const clash = names.has(name) || found.some((host) => host.name === name);
    found.push(undeclared(clash ? ROOT : name, ROOT, "flake"));
  }
  return found;
}

function undeclared(name: string, place: string, kind: HostKind): Host {
  return {
    name,
    path: place,
    kind,
    config: CHANNEL_ENTRY,
    attr: name,
    deliver: "tree",
    key: null,
    groups: [],
    ssh: null,
    include: null,
    nixpkgs: null,
    agent: true,
    declared: false,
  };
}

/** Without another thread, which for a thousand hosts is quicker by far. */
function isFile(file: string): boolean {
  try {
    return statSync(file, { throwIfNoEntry: false })?.isFile() ?? false;
  } catch {
    // What should be a directory on the way to it is none.
    return false;
  }
}

function isDirectory(place: string): boolean {
  return statSync(place, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function sortHosts(hosts: readonly Host[]): Host[] {
  return [...hosts].sort((a, b) => (a.name < b.name ? -1 : 1));
}
