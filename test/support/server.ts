import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { packageRoot } from "../../src/platform/package.ts";
import { familyOf, kill, succeed } from "./programs.ts";

export interface ServerLogins {
  /** The publisher's. */
  user: string;
  publishers: readonly string[];
  /** By host. */
  hosts: Readonly<Record<string, { login: string; key: string }>>;
  /** Whether hosts' trees are there unpacked as well; false unless told otherwise. */
  tree?: boolean;
}

/** A fleet's server: a real sshd on loopback, set up by utils/server/provision, with a chroot and a login for each host. */
export class TestServer implements AsyncDisposable {
  /** Where the chroots are. */
  readonly root: string;
  readonly #dir: string;
  readonly #env: Record<string, string>;
  readonly #listenAddress: string;
  #port = 0;
  #sshd: ChildProcess | undefined;

  /** `env` marks the processes that it starts. `listen`: the address it listens on, loopback or 0.0.0.0 for all. */
  constructor(world: string, env: Record<string, string>, listen = "127.0.0.1") {
    this.#listenAddress = listen;
    this.#dir = path.join(world, "sshd");
    this.root = path.join(world, "server");
    this.#env = env;
  }

  get address(): string {
    return "127.0.0.1";
  }

  get port(): number {
    return this.#port;
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
  async provision({ user, publishers, hosts, tree = false }: ServerLogins): Promise<void> {
    const fleetJson = path.join(this.#dir, "fleet.json");
    await mkdir(this.#dir, { recursive: true });
    const server = { root: this.root, user, publishers, loginPrefix: "", tree };
    await writeFile(fleetJson, JSON.stringify({ version: 1, server, hosts }));
    const options = ["--listen", this.#listenAddress, "--port", String(this.#port || 1)];
    await succeed("bash", [path.join(packageRoot(), "utils/server/provision"), fleetJson, this.#dir, ...options]);
    if (this.#sshd) {
      await this.stop();
      await this.start();
    }
  }

  /** Starts it, at the first time on a port that is free, and later on the same one. */
  async start(): Promise<void> {
    // Below the ports that outgoing connections are given, so that none of those is in the way when it starts again.
    for (let attempt = 0; ; attempt++) {
      const port = this.#port || 20_000 + Math.floor(Math.random() * 12_000);
      if (await this.#listen(port)) {
        this.#port = port;
        return;
      }
      if (attempt === 20) throw new Error(`sshd can't listen on port ${port}`);
    }
  }

  /** The processes of all who are connected, each after the one that started it: a session's last one does what it is asked. */
  sessions(): number[] {
    const pid = this.#sshd?.pid;
    return pid === undefined ? [] : familyOf(pid).slice(1);
  }

  /** Resolves when nobody is connected any more, and all that was asked is done. */
  async sessionsEnd(): Promise<void> {
    while (this.sessions().length > 0) await new Promise((resolve) => setTimeout(resolve, 10));
  }

  /** Ends it, and every session with it: for those who are connected, it is as if the server lost its power. */
  async stop(): Promise<void> {
    const sshd = this.#sshd;
    if (sshd?.pid === undefined) return;
    this.#sshd = undefined;
    // An interrupt from the terminal ends it as well.
    if (sshd.exitCode !== null || sshd.signalCode !== null) return;
    const ended = once(sshd, "exit");
    // Stopped first, so that it makes no new sessions while those it has are looked for.
    kill([sshd.pid], "SIGSTOP");
    kill(familyOf(sshd.pid));
    await ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    if (existsSync(this.#dir)) await succeed("bash", [path.join(packageRoot(), "utils/server/deprovision"), this.#dir]);
  }

  /** False when the port is taken. */
  async #listen(port: number): Promise<boolean> {
    // sshd keeps its unprivileged half there, and Debian makes it when the service is started. It is left, since another
    // sshd may need it by then.
    await mkdir("/run/sshd", { recursive: true });
    const options = ["-D", "-e", "-f", path.join(this.#dir, "sshd_config"), "-p", String(port)];
    const sshd = spawn("/usr/sbin/sshd", options, {
      env: { ...process.env, ...this.#env },
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.#sshd = sshd;
    let output = "";
    for await (const line of createInterface({ input: sshd.stderr })) {
      output += `${line}\n`;
      if (/^Server listening on/.test(line)) {
        sshd.stderr.resume();
        return true;
      }
    }
    this.#sshd = undefined;
    if (/Address already in use/.test(output)) return false;
    throw new Error(`sshd does not start:\n${output}`);
  }
}
