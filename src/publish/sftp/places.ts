import { randomUUID } from "node:crypto";
import type { HostFailure } from "../../results.ts";
import { ignoreSftpError, type SftpError } from "./error.ts";
import { list } from "./files.ts";
import type { SftpRequests } from "./requests.ts";
import type { SftpSession } from "./session.ts";

// Where things are on the server, as the publisher sees it: the root of all chroots is its own.

/** What a deploy that was cut off may have left; only the holder of the lock makes such files. */
const TEMPORARY = /^\.tmp-/;
const ARCHIVE = /^[0-9a-f]{64}\.nar\.gz$/;
const PAST = /^\d{1,15}\.json$/;
/** Envelopes of earlier releases that stay: as many as archives. */
const MAX_PAST = 4;

export function releases(host: string): string {
  return `/${host}/releases`;
}

export function pointer(host: string): string {
  return `${releases(host)}/current`;
}

/** The envelope of an earlier release. */
export function pastPointer(host: string, sequence: number): string {
  return `${releases(host)}/${sequence}.json`;
}

/** The envelopes of earlier releases among the names in a host's releases directory, newest first. */
export function pastPointers(names: readonly string[]): string[] {
  return names.filter((name) => PAST.test(name)).sort((a, b) => Number.parseInt(b, 10) - Number.parseInt(a, 10));
}

/** The temporary files that one deploy makes, which are all gone when it ends, however it ends. */
export class Temporaries {
  readonly #token = randomUUID();
  #count = 0;
  readonly #made = new Map<string, Set<string>>();

  /** A name that nothing had before. */
  make(host: string, name: string): string {
    this.#count += 1;
    const file = `${releases(host)}/.tmp-${this.#token}-${this.#count}-${name}`;
    this.#made.set(host, (this.#made.get(host) ?? new Set()).add(file));
    return file;
  }

  /** It has got its final name, or is gone. */
  forget(host: string, file: string): void {
    this.#made.get(host)?.delete(file);
  }

  has(host: string, file: string): boolean {
    return this.#made.get(host)?.has(file) ?? false;
  }

  async removeOf(host: string, requests: SftpRequests): Promise<void> {
    await Promise.all(
      Array.from(this.#made.get(host) ?? [], async (file) => {
        await requests.unlink(file).catch(ignoreSftpError);
        this.forget(host, file);
      }),
    );
  }

  async removeAll(requests: SftpRequests): Promise<void> {
    await Promise.all(Array.from(this.#made.keys(), (host) => this.removeOf(host, requests)));
  }
}

/** What in a host's releases directory nobody needs: leftovers, and archives and envelopes that aren't to be kept. */
export function garbage(host: string, names: readonly string[], keep: readonly string[], mine: Temporaries): string[] {
  const old = pastPointers(names).slice(MAX_PAST);
  return names
    .filter((name) => TEMPORARY.test(name) || (ARCHIVE.test(name) && !keep.includes(name)) || old.includes(name))
    .map((name) => `${releases(host)}/${name}`)
    .filter((file) => !mine.has(host, file));
}

/**
 * Removes the temporary files of all hosts, and with them the power to publish from whoever made them and then lost the lock:
 * renaming them was all that was left to do.
 */
export async function removeAllTemporaries(session: SftpSession): Promise<void> {
  const hosts = (await list(session, "/")).map((entry) => entry.filename).filter((name) => !name.startsWith("."));
  await Promise.all(
    hosts.map(async (host) => {
      const entries = await list(session, releases(host)).catch(ignoreSftpError);
      const names = (entries ?? []).map((entry) => entry.filename).filter((name) => TEMPORARY.test(name));
      await Promise.all(
        names.map((name) => session.requests.unlink(`${releases(host)}/${name}`).catch(ignoreSftpError)),
      );
    }),
  );
}

export async function exists(session: SftpSession, file: string): Promise<boolean> {
  return (await session.requests.stat(file).catch(ignoreSftpError)) !== undefined;
}

export function notProvisioned(host: string): HostFailure {
  return {
    message: `the server has no place for ${host} yet`,
    hint: "set the server up from the current fleet.json: utils/fleet.nix or utils/server/provision",
  };
}

/** What a refusal means for a host. */
export async function explain(session: SftpSession, host: string, error: SftpError): Promise<HostFailure> {
  const [isThere, isFull] = await Promise.all([
    exists(session, releases(host)),
    session.requests.isFull(releases(host)),
  ]);
  if (!isThere) return notProvisioned(host);
  if (error.code === "denied") {
    return {
      message: `the publisher may not use ${releases(host)} on the server`,
      hint: "it must be the publisher's, mode 2750: set the server up again from fleet.json",
    };
  }
  if (error.code === "failure" && isFull) {
    return { message: "no space is left on the server's disk", hint: "make room, and deploy again" };
  }
  if (error.code === "failure" && error.operation === "write") {
    return {
      message: "the server has room on its disk and could not write all the same: is the publisher's quota used up?",
      hint: "make room, or look into the server's log, and deploy again",
    };
  }
  return { message: `the server refused it: ${error.message}` };
}
