import type { ServerFinding } from "../results.ts";
import type { Attributes, ServerView } from "./sftp/inspect.ts";

const KIND = 0o170000;
const DIRECTORY = 0o040000;
const REGULAR = 0o100000;
const SYMLINK = 0o120000;
/** setgid, so that each can read what the other puts in, and nothing for others. */
const SHARED = 0o2750;
/** Milliseconds between the server's clock and this one's that aren't worth a word. */
const MAX_DRIFT = 60_000;
/** Bytes; below that, or a twentieth of the disk, it is nearly full. */
const MIN_FREE = 256 * 1024 * 1024;

const PROVISION = "set the server up again from fleet.json: utils/fleet.nix or utils/server/provision";

/**
 * What is wrong with a server. `hosts` are those that fleet.json has, `others` the fleet's that have no key yet; `now` is this
 * machine's time in milliseconds, at which `view` was taken.
 */
export function serverFindings(view: ServerView, others: readonly string[], now: number): ServerFinding[] {
  return [
    ...rootFindings(view),
    ...[...view.hosts.keys()].flatMap((host) => hostFindings(view, host)),
    ...sharedNumbers(view),
    ...leftovers(view, others),
    ...protocolFindings(view),
    ...resourceFindings(view, now),
  ];
}

function finding(host: string | null, path: string | null, message: string, hint = PROVISION): ServerFinding {
  return { host, path, message, hint };
}

function rootFindings({ root, lockDirectory, made }: ServerView): ServerFinding[] {
  const found: ServerFinding[] = [];
  if (root !== undefined) found.push(...rootsOwn(null, "/", root));
  if (!isDirectory(lockDirectory)) {
    found.push(finding(null, "/.bento", "the directory of the lock is missing, so nothing can be deployed"));
  } else if (made === undefined) {
    found.push(finding(null, "/.bento", "the publisher can't write there, so nothing can be deployed"));
  } else if (permissions(lockDirectory) !== 0o700 || lockDirectory.uid !== made.uid) {
    found.push(finding(null, "/.bento", `${is(lockDirectory)}; it must be the publisher's, with mode 0700`));
  }
  return found;
}

/** sshd refuses a chroot that isn't root's alone. */
function rootsOwn(host: string | null, path: string, directory: Attributes): ServerFinding[] {
  if (directory.uid === 0 && (permissions(directory) & 0o022) === 0) return [];
  return [finding(host, path, `${is(directory)}; it must be root's, with mode 0755, or sshd refuses the login`)];
}

function hostFindings({ hosts, made }: ServerView, host: string): ServerFinding[] {
  const { chroot, releases, reports, tree } = hosts.get(host) ?? {};
  if (!isDirectory(chroot)) return [finding(host, `/${host}`, "it has no chroot on the server")];
  const found = rootsOwn(host, `/${host}`, chroot);
  const shared = (
    name: string,
    directory: Attributes | undefined,
    whose: string,
    isRight: (its: Attributes) => boolean,
  ) => {
    if (!isDirectory(directory)) found.push(finding(host, `/${host}/${name}`, "it is missing"));
    else if (permissions(directory) !== SHARED || !isRight(directory)) {
      found.push(finding(host, `/${host}/${name}`, `${is(directory)}; it must be ${whose}, with mode 2750`));
    }
  };
  const publisher = made?.uid;
  const isPublishers = ({ uid, gid }: Attributes) =>
    (publisher === undefined || uid === publisher) && gid !== 0 && gid !== made?.gid;
  const isHosts = ({ uid, gid }: Attributes) =>
    uid !== 0 && uid !== publisher && (made === undefined || gid === made.gid);
  const fromPublisher = "the publisher's and of the host's group";
  const fromHost = "the host's and of the publisher's group";
  shared("releases", releases, fromPublisher, isPublishers);
  shared("reports", reports, fromHost, isHosts);
  if (!tree) return found;
  shared("trees", tree.trees, fromPublisher, isPublishers);
  shared("logs", tree.logs, fromHost, isHosts);
  const { config, last_change_date: date } = tree;
  if (kindOf(config) !== SYMLINK || config?.uid !== 0)
    found.push(finding(host, `/${host}/config`, "it is no symlink of root's to trees/config"));
  if (date === undefined || kindOf(date) !== REGULAR || permissions(date) !== 0o640 || !isPublishers(date))
    found.push(finding(host, `/${host}/last_change_date`, `it is no file that is ${fromPublisher}, with mode 0640`));
  return found;
}

/** Hosts of one number could read, and write, each other's files if ever they got to them. */
function sharedNumbers({ hosts }: ServerView): ServerFinding[] {
  const by = (what: string, number: (host: string) => number | undefined) =>
    [...Map.groupBy(hosts.keys(), number)].flatMap(([value, names]) =>
      value === undefined || value === 0 || names.length < 2
        ? []
        : [
            finding(
              null,
              null,
              `${names.join(" and ")} have the same ${what}, ${value}`,
              "give each host its own login",
            ),
          ],
    );
  return [
    ...by("group", (host) => hosts.get(host)?.releases?.gid),
    ...by("login", (host) => hosts.get(host)?.reports?.uid),
  ];
}

function leftovers({ names, hosts }: ServerView, others: readonly string[]): ServerFinding[] {
  return names
    .filter((name) => !name.startsWith(".") && !hosts.has(name) && !others.includes(name))
    .sort()
    .map((name) =>
      finding(
        null,
        `/${name}`,
        "no host of the fleet has it",
        "remove it on the server, if nothing in it is needed any more",
      ),
    );
}

function protocolFindings({ missingExtensions, runsCommands, forwards }: ServerView): ServerFinding[] {
  const sftpOnly = "give the fleet's logins 'ForceCommand internal-sftp' and 'DisableForwarding yes' in sshd_config";
  return [
    ...missingExtensions.map((name) =>
      finding(null, null, `the server's sftp has no ${name}`, "use OpenSSH's internal-sftp, of version 6.5 or later"),
    ),
    ...(runsCommands ? [finding(null, null, "the publisher's login runs commands: it has a shell", sftpOnly)] : []),
    ...(forwards
      ? [finding(null, null, "the publisher's login is connected further into the server's network", sftpOnly)]
      : []),
  ];
}

function resourceFindings({ space, made }: ServerView, now: number): ServerFinding[] {
  const found: ServerFinding[] = [];
  if (space !== undefined) {
    const { bytes, allBytes, files, allFiles } = space;
    const room = "make room where the chroots are";
    if (bytes < Math.min(MIN_FREE, allBytes / 2) || bytes < allBytes / 20) {
      found.push(finding(null, "/", `the disk is nearly full: ${Math.floor(bytes / 1024 / 1024)} MiB are free`, room));
    }
    // A file system without a fixed number of files says 0 of 0.
    if (allFiles > 0 && files < allFiles / 20) {
      found.push(finding(null, "/", `the disk has room for ${files} more files only`, room));
    }
  }
  if (made !== undefined && Math.abs(made.time - now) > MAX_DRIFT) {
    const minutes = Math.round(Math.abs(made.time - now) / 60_000);
    const which = made.time > now ? "ahead of" : "behind";
    found.push(
      finding(
        null,
        null,
        `the server's clock is ${minutes} min ${which} this machine's`,
        "let both keep the time by NTP",
      ),
    );
  }
  return found;
}

function isDirectory(it: Attributes | undefined): it is Attributes {
  return kindOf(it) === DIRECTORY;
}

/** Undefined of what isn't there. */
function kindOf(it: Attributes | undefined): number | undefined {
  return it && it.mode & KIND;
}

function permissions({ mode }: Attributes): number {
  return mode & 0o7777;
}

function is({ uid, gid, mode }: Attributes): string {
  return `it belongs to ${uid}:${gid} and has mode ${(mode & 0o7777).toString(8).padStart(4, "0")}`;
}
