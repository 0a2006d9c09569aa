import { copyFile, mkdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { type KeyPair, makeKey } from "./keys.ts";
import { succeed } from "./programs.ts";
import { Sshd } from "./sshd.ts";

/** Whose key may do what at the git server. */
export interface GitLogins {
  write: readonly string[];
  read: readonly string[];
}

/** A git repository behind a real sshd, where a key gets git and nothing else, as a forge's deploy keys do. */
export class GitServer implements AsyncDisposable {
  /** The bare repository. */
  readonly repository: string;
  readonly hostKey: KeyPair;
  readonly #dir: string;
  readonly #address: string;
  readonly #sshd: Sshd;

  private constructor(dir: string, hostKey: KeyPair, env: Record<string, string>, address: string) {
    this.#dir = dir;
    this.#address = address;
    this.repository = path.join(dir, "fleet.git");
    this.hostKey = hostKey;
    this.#sshd = new Sshd(path.join(dir, "sshd_config"), env);
  }

  /** `dir` is made for it; `env` marks the processes that it starts; it listens on `address`. */
  static async make(
    dir: string,
    logins: GitLogins,
    env: Record<string, string> = {},
    address = "127.0.0.1",
  ): Promise<GitServer> {
    await mkdir(dir, { mode: 0o755 });
    const server = new GitServer(dir, await makeKey(path.join(dir, "host_key")), env, address);
    await succeed("git", ["init", "--quiet", "--bare", server.repository]);
    await server.allow(logins);
    const config = [
      `ListenAddress ${address}`,
      `HostKey ${server.hostKey.file}`,
      `AuthorizedKeysFile ${path.join(dir, "authorized_keys")}`,
      "PermitRootLogin yes",
      "PasswordAuthentication no",
      "KbdInteractiveAuthentication no",
      "StrictModes no",
      "UsePAM no",
      // The login is this machine's root, whose own start files can do, and take, what they like.
      `SetEnv HOME=${dir}`,
      "PidFile none",
    ];
    await writeFile(path.join(dir, "sshd_config"), `${config.join("\n")}\n`);
    await server.start();
    return server;
  }

  /** From now on it is these, and nobody else. */
  async allow(logins: GitLogins): Promise<void> {
    const shell = (allowed: string) =>
      `restrict,command="case $SSH_ORIGINAL_COMMAND in ${allowed}) exec git-shell -c \\"$SSH_ORIGINAL_COMMAND\\";; *) echo denied >&2; exit 1;; esac"`;
    const lines = [
      ...logins.write.map((key) => `${shell("git-*")} ${key}`),
      ...logins.read.map((key) => `${shell("git-upload-pack*")} ${key}`),
    ];
    await writeFile(path.join(this.#dir, "authorized_keys"), `${lines.join("\n")}\n`);
  }

  /** Another key in place of the one that it has. */
  async replaceHostKey({ file, publicKey }: KeyPair): Promise<void> {
    await copyFile(file, this.hostKey.file);
    await writeFile(`${this.hostKey.file}.pub`, `${publicKey}\n`);
    await this.stop();
    await this.start();
  }

  /** As fleet.yaml has it. */
  get remote(): string {
    return `ssh://root@${this.#address}:${this.port}${this.repository}`;
  }

  get port(): number {
    return this.#sshd.port;
  }

  start(): Promise<void> {
    return this.#sshd.start();
  }

  stop(): Promise<void> {
    return this.#sshd.stop();
  }

  /** Git in the bare repository, as the server's administrator. */
  git(...args: string[]): Promise<string> {
    return succeed("git", [`--git-dir=${this.repository}`, ...args]);
  }

  /** A hook of the server's, a shell script; none when it is null. */
  async hook(name: "update" | "pre-receive", script: string | null): Promise<void> {
    const file = path.join(this.repository, "hooks", name);
    await rm(file, { force: true });
    await mkdir(path.dirname(file), { recursive: true });
    if (script !== null) await writeFile(file, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await rm(this.#dir, { recursive: true, force: true });
  }
}
