import { existsSync, readFileSync } from "node:fs";
import { cp, readFile, realpath } from "node:fs/promises";
import path from "node:path";
import { FleetError } from "../errors.ts";
import { checkFleetText, FLEET_FILE } from "../fleet/parse.ts";
import { fleetTemplate } from "../fleet/template.ts";
import { makeDirectory, writeFileAtomically } from "../platform/files.ts";
import { Repository } from "../platform/git.ts";
import { packageRoot, packageVersion } from "../platform/package.ts";
import { shellWord } from "../platform/shell-word.ts";
import type { FileResult, InitDocument } from "../results.ts";
import { workflowCopies } from "../workflows/copies.ts";
import type { Context } from "./context.ts";
import { type CopiedFile, copiedFiles, idOf, UTILS } from "./init/copied-files.ts";
import { LOCK_FILE, lockText } from "./init/lock.ts";
import { originalWorkflows } from "./original-workflows.ts";
import { writeRendered } from "./render.ts";

export interface InitOptions {
  /** Where the fleet shall be; made when it isn't there. */
  directory: string;
  /** The server's address, null to leave it for later. */
  server: string | null;
  port: number;
  /** Its public host keys. */
  hostKeys: readonly string[];
  /** The directory in which `bento keygen` left its keys, null for none. */
  keys: string | null;
  /** It is a part of the repository around it, whose workflows get its own. */
  subdirectory: boolean;
}

/**
 * Makes a fleet: fleet.yaml, utils/, hosts/ and workflows. What is there already is left as it is.
 * @throws FleetError when there is a fleet.yaml already, or what would go into one is wrong; nothing is written then.
 */
export async function init(context: Context, options: InitOptions): Promise<InitDocument> {
  const fleet = path.resolve(context.cwd, options.directory);
  if (existsSync(path.join(fleet, FLEET_FILE)))
    throw new FleetError(`there is a ${FLEET_FILE} in ${fleet} already`, {
      hint: "edit it, and then run bento render",
    });
  if (options.server === null && options.hostKeys.length > 0)
    throw new FleetError("--host-key says how to know a server, but there is no --server");

  if (options.server !== null && options.hostKeys.length === 0)
    throw new FleetError("--server needs the server's public host key, to pin it: --host-key", {
      hint: `scp root@${options.server}:/etc/ssh/ssh_host_ed25519_key.pub server.pub, and then: --host-key "$(cat server.pub)"`,
    });

  const text = fleetTemplate({
    server:
      options.server === null ? null : { address: options.server, port: options.port, hostKeys: options.hostKeys },
    publishers: await publicKeys(context, options.keys, "publisher"),
    signers: await publicKeys(context, options.keys, "signing"),
  });
  checkFleetText(text);

  // GitHub reads the workflows at a repository's top, and no others.
  const real = await realPlace(fleet);
  const repository = await repositoryOf(real);
  const top = repository ?? real;
  const place = posix(path.relative(top, real)) || ".";
  if (place !== "." && !options.subdirectory) {
    throw new FleetError(`${real} is within the git repository in ${top}`, {
      hint: `git init -b main ${shellWord(options.directory)} makes it one of its own first; or bento init --subdirectory, whose workflows go into ${top}/.github`,
    });
  }

  await makeDirectory(path.join(fleet, "hosts"));
  const files: FileResult[] = [];
  for (const name of UTILS) files.push(await copyOnce(path.join(packageRoot(), "utils", name), fleet, `utils/${name}`));
  const copied = { version: packageVersion(), fleet: place, originals: await originalWorkflows() };
  for (const [file, text] of Object.entries(workflowCopies(copied))) {
    const { status } = await writeOnce(top, file, text);
    files.push({ file: posix(path.relative(real, path.join(top, file))), status });
  }
  files.push(await writeOnce(fleet, LOCK_FILE, await lockOf(fleet, place)));
  files.push(await writeOnce(fleet, FLEET_FILE, text));
  files.push(...(await writeRendered(fleet)));

  const next = [
    ...(options.keys === null ? ["bento keygen DIRECTORY makes the keys that sign and publish releases"] : []),
    ...(options.server === null ? [`fill in the server in ${FLEET_FILE}, then run bento render`] : []),
    "bring each machine's configuration to hosts/NAME/, then: bento host add NAME --key 'ssh-ed25519 AAAA…'",
    "in each configuration: imports = [ ./utils/bento.nix ]; services.bento.enable = true;",
    ...(repository === null ? ["git init -b main"] : []),
    "git add -A && git commit, then: bento check",
  ];
  return { version: 1, command: "init", fleet, files, next };
}

/** What the fleet has of this Bento's: not what was there before and is another. */
async function lockOf(fleet: string, place: string): Promise<string> {
  const copied = await copiedFiles(place);
  const here = copied.filter((one) => isSame(path.join(fleet, one.file), one));
  return lockText({ bento: packageVersion(), files: new Map(here.map((one) => [one.file, idOf(one)])) });
}

function isSame(file: string, { content }: CopiedFile): boolean {
  try {
    return readFileSync(file).equals(content);
  } catch {
    return false;
  }
}

/** Where a directory is or will be, links resolved. */
async function realPlace(dir: string): Promise<string> {
  return existsSync(dir) ? realpath(dir) : path.join(await realPlace(path.dirname(dir)), path.basename(dir));
}

/**
 * The top of the repository that a new fleet is in: its own, or one around it that doesn't ignore it. Null for none.
 * @throws FleetError, UnavailableError when git refuses the one around it, or isn't there.
 */
async function repositoryOf(fleet: string): Promise<string | null> {
  if (existsSync(path.join(fleet, ".git"))) return fleet;
  let dir = fleet;
  while (!existsSync(path.join(dir, ".git"))) {
    if (dir === path.dirname(dir)) return null;
    dir = path.dirname(dir);
  }
  const repository = await Repository.open(dir);
  return (await repository.ignores(fleet)) ? null : repository.root;
}

function posix(file: string): string {
  return file.split(path.sep).join("/");
}

async function publicKeys(context: Context, directory: string | null, name: string): Promise<string[]> {
  if (directory === null) return [];
  const file = path.join(path.resolve(context.cwd, directory), `${name}.pub`);
  try {
    return [(await readFile(file, "utf8")).trim()];
  } catch (cause) {
    throw new FleetError(`${file} can't be read (${(cause as NodeJS.ErrnoException).code})`, {
      hint: "bento keygen DIRECTORY makes the keys",
      cause,
    });
  }
}

async function copyOnce(source: string, fleet: string, file: string): Promise<FileResult> {
  const target = path.join(fleet, file);
  if (existsSync(target)) return { file, status: "unchanged" };
  await makeDirectory(path.dirname(target));
  await cp(source, target, { recursive: true, errorOnExist: true, force: false });
  return { file, status: "written" };
}

async function writeOnce(fleet: string, file: string, text: string): Promise<FileResult> {
  const target = path.join(fleet, file);
  if (existsSync(target)) return { file, status: "unchanged" };
  await writeFileAtomically(target, text);
  return { file, status: "written" };
}
