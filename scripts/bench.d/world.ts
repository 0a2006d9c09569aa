import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { appendFile, chmod, chown, mkdir, readdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { type KeyPair, makeKey } from "../../test/support/keys.ts";
import { familyOf, kill, succeed } from "../../test/support/programs.ts";
import { TestServer } from "../../test/support/server.ts";
import { loginPrefix, worldDirectory } from "../../test/support/world-directory.ts";
import { publicKey } from "./fleet.ts";
import type { Target } from "./peers.ts";

/** The host that can log in. */
const FIRST = "host-0000";
/** Longer than the peers' sessions need to notice that they were cut off. */
const PATIENCE = 10_000;

/**
 * A fleet's server, set up as a fleet's server is, and beside it one for programs that know nothing of fleets: the same sshd,
 * with one login that has a shell. Logins and files are gone with the scope.
 */
export class BenchWorld implements AsyncDisposable {
  readonly dir: string;
  readonly server: TestServer;
  readonly prefix: string;
  readonly publisher: KeyPair;
  readonly signing: KeyPair;
  /** Only the first host can log in: nothing that is measured here needs the others' logins. */
  readonly firstHost: KeyPair;
  /** Public keys by host. */
  readonly keys: Readonly<Record<string, string>>;
  readonly #resources: AsyncDisposableStack;
  #shell: { sshd: ChildProcess; port: number } | undefined;

  private constructor(
    parts: Pick<BenchWorld, "dir" | "server" | "prefix" | "publisher" | "signing" | "firstHost" | "keys">,
    resources: AsyncDisposableStack,
  ) {
    this.dir = parts.dir;
    this.server = parts.server;
    this.prefix = parts.prefix;
    this.publisher = parts.publisher;
    this.signing = parts.signing;
    this.firstHost = parts.firstHost;
    this.keys = parts.keys;
    this.#resources = resources;
  }

  static async make(hosts: number): Promise<BenchWorld> {
    await using resources = new AsyncDisposableStack();
    const { path: dir, mark } = resources.use(await worldDirectory({ inMemory: false }));
    Object.assign(process.env, mark);
    await mkdir(path.join(dir, "keys"), { mode: 0o700 });
    const key = (name: string) => makeKey(path.join(dir, "keys", name));
    const [publisher, signing, firstHost] = [await key("publisher"), await key("signing"), await key("host")];
    const names = Array.from({ length: hosts }, (_, n) => `host-${String(n).padStart(4, "0")}`);
    const keys = Object.fromEntries(names.map((name) => [name, name === FIRST ? firstHost.publicKey : publicKey()]));

    const prefix = loginPrefix();
    const server = resources.use(new TestServer(dir, mark, "0.0.0.0"));
    await server.provision({
      user: `${prefix}pub`,
      publishers: [publisher.publicKey],
      hosts: { [FIRST]: { login: prefix + FIRST, key: firstHost.publicKey } },
    });
    await makeChroots(server.root, `${prefix}pub`, names.slice(1));
    await server.start();
    const parts = { dir, server, prefix, publisher, signing, firstHost, keys };
    const world = new BenchWorld(parts, resources.move());
    try {
      await world.#startShell(mark);
    } catch (error) {
      await world[Symbol.asyncDispose]();
      throw error;
    }
    return world;
  }

  /** fleet.yaml's `server`, as it is seen at `address`. */
  async settings(address: string) {
    const hostKeys = [await this.server.hostKey()];
    const { port, root } = this.server;
    const publishers = [this.publisher.publicKey];
    return {
      address,
      port,
      user: `${this.prefix}pub`,
      root,
      publishers,
      hostKeys,
      loginPrefix: this.prefix,
      tree: false,
    };
  }

  /** Where another program puts trees, at `address`; made anew and empty. */
  async target(address: string, name: string): Promise<Target> {
    const port = this.#shell?.port ?? 0;
    const directory = path.join(this.dir, "shell", name);
    await this.empty(directory);
    const knownHosts = path.join(this.dir, "known_hosts");
    await writeFile(knownHosts, `[${address}]:${port} ${await this.server.hostKey()}\n`);
    return { address, port, login: this.#login, key: this.publisher.file, knownHosts, directory };
  }

  /** Fills a target with what another is to bring up to date, times of files included. */
  async fill(target: Target, trees: string): Promise<void> {
    await this.empty(target.directory);
    await succeed("cp", ["-a", `${trees}/.`, target.directory]);
    await succeed("chown", ["-R", `${this.#login}:${this.#login}`, target.directory]);
  }

  async empty(directory: string): Promise<void> {
    // Somebody who was cut off may still be writing there.
    await this.#endSessions();
    await rm(directory, { recursive: true, force: true });
    await mkdir(directory, { recursive: true });
    await succeed("chown", [`${this.#login}:${this.#login}`, directory]);
  }

  /** Takes every release away. */
  async forget(): Promise<void> {
    for (const host of Object.keys(this.keys)) {
      const releases = path.join(this.server.chroot(host), "releases");
      for (const name of await readdir(releases)) await rm(path.join(releases, name));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const sshd = this.#shell?.sshd;
    // An interrupt from the terminal ends it as well.
    if (sshd?.pid !== undefined && sshd.exitCode === null && sshd.signalCode === null) {
      const ended = once(sshd, "exit");
      kill(familyOf(sshd.pid));
      await ended;
    }
    await this.#resources.disposeAsync();
  }

  get #login(): string {
    return `${this.prefix}shell`;
  }

  async #startShell(env: Record<string, string>): Promise<void> {
    const dir = path.join(this.dir, "sshd");
    // Among those that are taken away again with the server.
    await appendFile(path.join(dir, "logins"), `${this.#login}\n`);
    const account = ["--system", "--user-group", "--no-create-home", "--home-dir", "/", "--password", "*"];
    await succeed("flock", ["/etc", "useradd", ...account, "--shell", "/bin/sh", this.#login]);
    await writeFile(path.join(dir, "authorized_keys", this.#login), `${this.publisher.publicKey}\n`);
    const port = this.server.port + 1;
    const config = path.join(dir, "shell_config");
    const text = [
      `Port ${port}`,
      "ListenAddress 0.0.0.0",
      `HostKey ${dir}/host_key`,
      "PidFile none",
      `AuthorizedKeysFile ${dir}/authorized_keys/%u`,
      `AllowUsers ${this.#login}`,
      "UsePAM no",
      "PrintMotd no",
      "PrintLastLog no",
      "MaxStartups 1000",
      "Subsystem sftp internal-sftp",
    ];
    await writeFile(config, `${text.join("\n")}\n`);
    const options = ["-D", "-e", "-f", config];
    const sshd = spawn("/usr/sbin/sshd", options, {
      env: { ...process.env, ...env },
      stdio: ["ignore", "ignore", "pipe"],
    });
    let output = "";
    for await (const line of createInterface({ input: sshd.stderr })) {
      output += `${line}\n`;
      if (/^Server listening on/.test(line)) {
        sshd.stderr.resume();
        this.#shell = { sshd, port };
        return;
      }
    }
    throw new Error(`sshd does not start:\n${output}`);
  }

  /** Waits until nobody is connected with the shell any more, and after a while sees to it. */
  async #endSessions(): Promise<void> {
    const pid = this.#shell?.sshd.pid;
    if (pid === undefined) return;
    const deadline = performance.now() + PATIENCE;
    for (;;) {
      const sessions = familyOf(pid).filter((member) => member !== pid);
      if (sessions.length === 0) return;
      if (performance.now() > deadline) kill(sessions);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

/** Chroots as provision makes them, but that hosts' logins are the publisher's. */
export async function makeChroots(root: string, publisher: string, hosts: readonly string[]): Promise<void> {
  const uid = Number(await succeed("id", ["-u", publisher]));
  const gid = Number(await succeed("id", ["-g", publisher]));
  for (const host of hosts) {
    await mkdir(path.join(root, host), { mode: 0o755 });
    for (const place of ["releases", "reports"]) {
      const dir = path.join(root, host, place);
      await mkdir(dir);
      await chown(dir, uid, gid);
      await chmod(dir, 0o2750);
    }
  }
}
