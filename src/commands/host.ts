import { existsSync } from "node:fs";
import { readdir, readFile, symlink } from "node:fs/promises";
import path from "node:path";
import { FleetError } from "../errors.ts";
import { editFleetFile, type NewHost, withHost, withoutHost } from "../fleet/edit.ts";
import { loadFleet } from "../fleet/load.ts";
import { checkFleetText, FLEET_FILE } from "../fleet/parse.ts";
import { selectHosts } from "../fleet/select.ts";
import { writeFileAtomically } from "../platform/files.ts";
import type { FileResult, HostEditDocument, HostListDocument } from "../results.ts";
import type { Context } from "./context.ts";
import { writeRendered } from "./render.ts";

export interface HostListOptions {
  fleet: string;
  hosts: readonly string[];
}

/** The hosts of fleet.yaml, and configurations that were found without an entry. Needs no Nix, so a flake that has none counts once. */
export async function hostList(options: HostListOptions): Promise<HostListDocument> {
  const fleet = await loadFleet(options.fleet);
  const hosts = selectHosts(fleet.hosts, options.hosts).map((host) => ({
    name: host.name,
    status: host.declared ? ("declared" as const) : ("found" as const),
    kind: host.kind,
    path: host.path,
    groups: host.groups,
    key: host.key,
    ssh: host.ssh,
  }));
  return { version: 1, command: "host list", hosts };
}

export interface HostAddOptions extends NewHost {
  fleet: string;
  name: string;
  /** A file with the host's public key, instead of `key`. */
  keyFile?: string;
}

/**
 * Enters a host into fleet.yaml, links utils/ into its directory, and renders.
 * @throws FleetError when its configuration isn't there yet, or the entry would be wrong; nothing is changed then.
 */
export async function hostAdd(context: Context, options: HostAddOptions): Promise<HostEditDocument> {
  const { fleet, name, keyFile, ...given } = options;
  const place = given.path ?? `hosts/${name}`;
  const key = keyFile === undefined ? given.key : await readPublicKey(path.resolve(context.cwd, keyFile));
  const entry = { ...given, ...(key === undefined ? {} : { key }) };
  checkFleetText(withHost("", name, entry));
  const directory = path.join(fleet, place);
  if (!existsSync(path.join(directory, "flake.nix")) && !existsSync(path.join(directory, "configuration.nix"))) {
    throw new FleetError(`there is neither ${place}/configuration.nix nor ${place}/flake.nix`, {
      hint: `bring the machine's configuration into the fleet first: scp -r root@${name}:/etc/nixos ${place}`,
    });
  }
  const before = await readFile(path.join(fleet, FLEET_FILE), "utf8").catch(() => "");
  await editFleetFile(fleet, (text) => withHost(text, name, entry));
  try {
    await loadFleet(fleet);
  } catch (error) {
    // Only the fleet as a whole shows some mistakes, such as the key of another host.
    await writeFileAtomically(path.join(fleet, FLEET_FILE), before);
    throw error;
  }
  const linked = await linkUtils(fleet, place);
  const files = [...(linked ? [linked] : []), ...(await writeRendered(fleet))];
  const warnings: string[] = [];
  if (key === undefined) {
    warnings.push(`${name} has no key yet, so nothing is deployed to it: add the line of its ssh_host_ed25519_key.pub`);
  }
  if (!(await importsAgent(directory))) {
    warnings.push(
      `${place} does not seem to import ./utils/bento.nix and set services.bento.enable: without the agent bento check will fail`,
    );
  }
  return { version: 1, command: "host add", hosts: [{ name, status: "added" }], files, warnings };
}

export interface HostRemoveOptions {
  fleet: string;
  name: string;
}

/** Takes a host's entry out of fleet.yaml. Its configuration is left where it is. */
export async function hostRemove(options: HostRemoveOptions): Promise<HostEditDocument> {
  const { fleet, name } = options;
  await editFleetFile(fleet, (text) => withoutHost(text, name));
  const files = await writeRendered(fleet);
  const warnings = existsSync(path.join(fleet, "hosts", name))
    ? [`hosts/${name} is left as it is: it is still checked, and never deployed`]
    : [];
  return { version: 1, command: "host remove", hosts: [{ name, status: "removed" }], files, warnings };
}

async function readPublicKey(file: string): Promise<string> {
  try {
    return (await readFile(file, "utf8")).trim();
  } catch (cause) {
    throw new FleetError(`the key can't be read from ${file} (${(cause as NodeJS.ErrnoException).code})`, { cause });
  }
}

/** Makes the link `utils` in the host's directory, unless there is something of that name. */
async function linkUtils(fleet: string, place: string): Promise<FileResult | undefined> {
  const link = path.posix.join(place, "utils");
  if (place === "." || !existsSync(path.join(fleet, "utils")) || existsSync(path.join(fleet, link))) return undefined;
  await symlink(`${path.posix.relative(place, "utils")}/`, path.join(fleet, link));
  return { file: link, status: "written" };
}

async function importsAgent(directory: string): Promise<boolean> {
  const names = (await readdir(directory)).filter((name) => name.endsWith(".nix"));
  const texts = await Promise.all(names.map((name) => readFile(path.join(directory, name), "utf8").catch(() => "")));
  return texts.some((text) => text.includes("bento.nix"));
}
