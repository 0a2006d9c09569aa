import { existsSync } from "node:fs";
import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { packageRoot } from "../../src/platform/package.ts";
import type { KeyPair } from "./keys.ts";
import { succeed } from "./programs.ts";
import { Sshd } from "./sshd.ts";

export interface ServerLogins {
  /** The publisher's. */
  user: string;
  publishers: readonly string[];
  /** By host. */
  hosts: Readonly<Record<string, { login: string; key: string }>>;
  /** Whether hosts' trees are there unpacked as well; false unless told otherwise. */
  tree?: boolean;
  /** ADDRESS:PORT of the cache that hosts reach through it; none unless told otherwise. */
  cache?: string;
}

/** A fleet's server: a real sshd on loopback, set up by utils/server/provision, with a chroot and a login for each host. */
export class TestServer implements AsyncDisposable {
  /** Where the chroots are. */
  readonly root: string;
  readonly #dir: string;
  readonly #listenAddress: string;
  readonly #sshd: Sshd;

  /** `env` marks the processes that it starts. `listen`: the address it listens on, loopback or 0.0.0.0 for all. */
  constructor(world: string, env: Record<string, string>, listen = "127.0.0.1") {
    this.#listenAddress = listen;
    this.#dir = path.join(world, "sshd");
    this.root = path.join(world, "server");
    this.#sshd = new Sshd(path.join(this.#dir, "sshd_config"), env);
  }

  get address(): string {
    return this.#listenAddress === "0.0.0.0" ? "127.0.0.1" : this.#listenAddress;
  }

  get port(): number {
    return this.#sshd.port;
  }

  /** Its host key, `ssh-ed25519 AAAA…`. */
  async hostKey(): Promise<string> {
    const text = await readFile(path.join(this.#dir, "host_key.pub"), "utf8");
    return text.trim().split(" ").slice(0, 2).join(" ");
  }

  chroot(host: string): string {
    return path.join(this.root, host);
  }

  /** Puts a file into a host's releases, as only somebody who holds the server can. */
  async plant(host: string, name: string, content: string | Buffer): Promise<void> {
    const file = path.join(this.chroot(host), "releases", name);
    await rm(file, { force: true });
    await writeFile(file, content, { mode: 0o640 });
  }

  /** Sets it up for these logins, as an administrator does after each change of the fleet. */
  async provision({ user, publishers, hosts, tree = false, cache }: ServerLogins): Promise<void> {
    const fleetJson = path.join(this.#dir, "fleet.json");
    await mkdir(this.#dir, { recursive: true });
    const server = { root: this.root, user, publishers, loginPrefix: "", tree, cache };
    await writeFile(fleetJson, JSON.stringify({ version: 1, server, hosts }));
    await this.provisionFrom(fleetJson);
  }

  /** The same from a fleet's own fleet.json. */
  async provisionFrom(fleetJson: string): Promise<void> {
    const options = ["--listen", this.#listenAddress, "--port", String(this.port || 1)];
    await succeed("bash", [path.join(packageRoot(), "utils/server/provision"), fleetJson, this.#dir, ...options]);
    if (this.#sshd.isRunning) {
      await this.stop();
      await this.start();
    }
  }

  /** Another key in place of the one that it has, as an administrator puts it there. */
  async replaceHostKey({ file, publicKey }: KeyPair): Promise<void> {
    await copyFile(file, path.join(this.#dir, "host_key"));
    await writeFile(path.join(this.#dir, "host_key.pub"), `${publicKey}\n`);
    await this.stop();
    await this.start();
  }

  /** Starts it, at the first time on a port that is free, and later on the same one. */
  start(): Promise<void> {
    return this.#sshd.start();
  }

  /** The processes of all who are connected, each after the one that started it: a session's last one does what it is asked. */
  sessions(): number[] {
    return this.#sshd.sessions();
  }

  /** Resolves when nobody is connected any more, and all that was asked is done. */
  async sessionsEnd(): Promise<void> {
    while (this.sessions().length > 0) await new Promise((resolve) => setTimeout(resolve, 10));
  }

  /** Ends it, and every session with it: for those who are connected, it is as if the server lost its power. */
  stop(): Promise<void> {
    return this.#sshd.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    if (existsSync(this.#dir)) await succeed("bash", [path.join(packageRoot(), "utils/server/deprovision"), this.#dir]);
  }
}
