import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { type KeyPair, makeKey } from "./keys.ts";
import { familyOf, kill, succeed } from "./programs.ts";

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
  readonly #env: Record<string, string>;
  #port = 0;
  #sshd: ChildProcess | undefined;

  private constructor(dir: string, hostKey: KeyPair, env: Record<string, string>) {
    this.#dir = dir;
    this.repository = path.join(dir, "fleet.git");
    this.hostKey = hostKey;
    this.#env = env;
  }

  /** `dir` is made for it; `env` marks the processes that it starts. */
  static async make(dir: string, logins: GitLogins, env: Record<string, string> = {}): Promise<GitServer> {
    await mkdir(dir, { mode: 0o755 });
    const server = new GitServer(dir, await makeKey(path.join(dir, "host_key")), env);
    await succeed("git", ["init", "--quiet", "--bare", server.repository]);
    const shell = (allowed: string) =>
      `restrict,command="case $SSH_ORIGINAL_COMMAND in ${allowed}) exec git-shell -c \\"$SSH_ORIGINAL_COMMAND\\";; *) echo denied >&2; exit 1;; esac"`;
    const lines = [
      ...logins.write.map((key) => `${shell("git-*")} ${key}`),
      ...logins.read.map((key) => `${shell("git-upload-pack*")} ${key}`),
    ];
    await writeFile(path.join(dir, "authorized_keys"), `${lines.join("\n")}\n`);
    const config = [
      "ListenAddress 127.0.0.1",
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

  /** As fleet.yaml has it. */
  get remote(): string {
    return `ssh://root@127.0.0.1:${this.#port}${this.repository}`;
  }

  get port(): number {
    return this.#port;
  }

  /** At the first time on a port that is free, and later on the same one. */
  async start(): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      const port = this.#port || 20_000 + Math.floor(Math.random() * 12_000);
      if (await this.#listen(port)) {
        this.#port = port;
        return;
      }
      if (attempt === 20) throw new Error(`sshd can't listen on port ${port}`);
    }
  }

  async stop(): Promise<void> {
    const sshd = this.#sshd;
    if (sshd?.pid === undefined) return;
    this.#sshd = undefined;
    const ended = once(sshd, "exit");
    kill([sshd.pid], "SIGSTOP");
    kill(familyOf(sshd.pid));
    await ended;
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

  /** False when the port is taken. */
  async #listen(port: number): Promise<boolean> {
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
