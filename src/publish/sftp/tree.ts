import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { HostError } from "../../errors.ts";
import type { Server } from "../../fleet/fleet.ts";
import { payloadOf } from "../../release/envelope.ts";
import { narEntries } from "../../tree/nar-entries.ts";
import { type PlainEntry, plainTree } from "../../tree/plain.ts";
import type { Upload } from "../publisher.ts";
import { Budget } from "./budget.ts";
import { ignoreSftpError, missingIsUndefined, SftpError } from "./error.ts";
import { CHUNK, list, writeFile } from "./files.ts";
import { legacyScripts } from "./legacy-scripts.ts";
import { exists, releases } from "./places.ts";
import { flight } from "./requests.ts";
import type { SftpSession } from "./session.ts";

// The unpacked tree beside a release (server.tree). `config`, which hosts of the 2022 Bento read, is root's symlink to
// trees/config; that is the publisher's symlink to one of the trees, and replaced in one step. A client that has said
// `cd config` stays in the tree that was there at that moment, so the one before the newest is kept.

const unzip = promisify(gunzip);
/** Bytes of archives that are unpacked at a time. */
const UNPACKING = 8 * 1024 * 1024;
/** The name of the symlink among the trees. */
const CURRENT = "config";

export function trees(host: string): string {
  return `/${host}/trees`;
}

/** The file whose time and size say to old clients that there is something new; only root can make it. */
export function lastChange(host: string): string {
  return `/${host}/last_change_date`;
}

/** A tree that has been sent, and that nothing leads to yet. */
export interface SentTree {
  /** Its directory in `trees`. */
  name: string;
  /** Directories of earlier trees, which go when this one is in place. */
  old: readonly string[];
  sequence: number;
}

/** The sequence of the release whose tree hosts of the 2022 Bento read; undefined when there is none. */
export async function treeSequence(session: SftpSession, host: string): Promise<number | undefined> {
  const target = await session.requests.readlink(`${trees(host)}/${CURRENT}`).catch(ignoreSftpError);
  const [, digits] = /^(\d{1,16})-/.exec(target ?? "") ?? [];
  return digits === undefined ? undefined : Number(digits);
}

/** Sends the trees of one deploy. */
export class Trees {
  readonly #server: Server;
  readonly #unpacking = new Budget(UNPACKING);

  constructor(server: Server) {
    this.#server = server;
  }

  /**
   * Unpacks a release into a directory of its own.
   * @throws HostError for a release that can't be unpacked.
   */
  async send(session: SftpSession, upload: Upload): Promise<SentTree> {
    const { host } = upload;
    const before = flight(
      list(session, trees(host)),
      session.requests.readlink(`${trees(host)}/${CURRENT}`).catch(missingIsUndefined),
      session.requests.stat(lastChange(host)),
    );
    before.catch(() => {});
    try {
      const sent = await this.#send(session, upload);
      const [entries, current] = await before;
      const kept = [".", "..", CURRENT, current, sent.name];
      return { ...sent, old: entries.map(({ filename }) => filename).filter((name) => !kept.includes(name)) };
    } catch (error) {
      if (!(error instanceof SftpError)) throw error;
      const [hasPlace, hasTrees] = await flight(exists(session, releases(host)), isProvisioned(session, host));
      if (!hasPlace || hasTrees) throw error;
      throw new HostError(`the server has no place for the unpacked tree of ${host} (server.tree)`, {
        hint: "run 'bento render', and set the server up again from the new fleet.json",
      });
    }
  }

  async #send(session: SftpSession, { host, envelope, archive }: Upload): Promise<Omit<SentTree, "old">> {
    const manifest = payloadOf(envelope);
    const name = `${manifest.sequence}-${randomUUID().slice(0, 8)}`;
    const granted = await this.#unpacking.take(archive?.size ?? 0);
    try {
      const scripts = await legacyScripts(this.#server, manifest);
      const ours = scripts.map((script) => script.path);
      // A host that is delivered its system alone has no tree: there is none to see here either.
      const plain = archive === null ? [] : plainTree(narEntries(await unzip(await readFile(archive.file))));
      const tree = plain.filter((entry) => !ours.includes(entry.path.split("/")[0] ?? ""));
      await sendEntries(session, `${trees(host)}/${name}`, [...tree, ...scripts]);
    } finally {
      this.#unpacking.give(granted);
    }
    return { name, sequence: manifest.sequence };
  }
}

async function isProvisioned(session: SftpSession, host: string): Promise<boolean> {
  const places = await flight(exists(session, trees(host)), exists(session, lastChange(host)));
  return !places.includes(false);
}

/** Everything at once: a server makes directories in the order in which it is asked for them. */
async function sendEntries(session: SftpSession, dir: string, entries: readonly PlainEntry[]): Promise<void> {
  const { requests } = session;
  const directories = entries.filter((entry) => entry.kind === "directory").map((entry) => `${dir}/${entry.path}`);
  const made = [dir, ...directories].map((one) => requests.makeDirectory(one));
  const files = entries.flatMap((entry) =>
    entry.kind === "file"
      ? [
          writeFile(
            session,
            `${dir}/${entry.path}`,
            pieces(entry.contents),
            undefined,
            entry.executable ? 0o777 : 0o666,
          ),
        ]
      : [],
  );
  await flight(...made, ...files);
}

function* pieces(contents: Buffer): Generator<Buffer> {
  for (let at = 0; at < contents.length; at += CHUNK) yield contents.subarray(at, at + CHUNK);
}

/** Makes a tree the one that hosts see, in one step. `link` is a temporary name on the same file system. */
export async function switchTree(session: SftpSession, host: string, tree: SentTree, link: string): Promise<void> {
  const { requests } = session;
  await flight(requests.symlink(tree.name, link), requests.replace(link, `${trees(host)}/${CURRENT}`));
  // After the tree: whoever takes this for news finds the new one.
  await session.withHandle(
    () => requests.open(lastChange(host), "w"),
    async (handle) => {
      await flight(requests.write(handle, changeText(tree.sequence), 0), requests.close(handle));
    },
  );
}

/**
 * Old clients compare lines of `ls -l`, which have a size and a time in minutes: so the size tells two releases of one minute
 * apart, by the tenth of a second.
 */
function changeText(sequence: number): Buffer {
  return Buffer.from(`release ${sequence}\n${"\n".repeat(Math.floor(sequence / 100) % 600)}`);
}

/** Removes trees that nobody reads any more. What can't be removed is tried again at the next deploy. */
export async function removeOldTrees(session: SftpSession, host: string, { old }: SentTree): Promise<void> {
  await Promise.all(old.map((name) => removeAll(session, `${trees(host)}/${name}`).catch(ignoreSftpError)));
}

async function removeAll(session: SftpSession, dir: string): Promise<void> {
  const entries = (await list(session, dir)).filter(({ filename }) => filename !== "." && filename !== "..");
  await flight(
    ...entries.map(({ filename, attrs }) =>
      attrs.isDirectory() ? removeAll(session, `${dir}/${filename}`) : session.requests.unlink(`${dir}/${filename}`),
    ),
  );
  await session.requests.removeDirectory(dir);
}
