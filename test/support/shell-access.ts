import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { shellWord } from "../../src/platform/shell-word.ts";
import { makeKey } from "./keys.ts";
import type { Machine } from "./machine.ts";
import { kill } from "./programs.ts";
import { startRootSshd } from "./root-sshd.ts";
import type { Sshd } from "./sshd.ts";

/** How an administrator gets to a machine: a real sshd on loopback, whose root is on that machine. */
export class ShellAccess implements AsyncDisposable {
  /** For `ssh -F`: the administrator's key, and the one host key that is believed. */
  readonly config: string;
  /** The administrator's key, and who is believed. */
  readonly identity: string;
  readonly knownHosts: string;
  readonly #sshd: Sshd;

  private constructor(dir: string, sshd: Sshd) {
    this.config = path.join(dir, "ssh_config");
    this.identity = path.join(dir, "administrator");
    this.knownHosts = path.join(dir, "known_hosts");
    this.#sshd = sshd;
  }

  /** `setup` is shell code that comes before everything that is run there. */
  static async make(machine: Machine, setup = ""): Promise<ShellAccess> {
    const dir = await mkdtemp(machine.path("ssh-"));
    const bin = path.join(dir, "bin");
    await mkdir(bin, { recursive: true });
    const [hostKey, key] = await Promise.all([
      makeKey(path.join(dir, "host_key")),
      makeKey(path.join(dir, "administrator")),
    ]);
    const agent = `#!/bin/sh\nexec bash '${machine.agentFile}' "$@"\n`;
    await writeFile(path.join(bin, "bento-agent"), agent, { mode: 0o755 });
    const variables = Object.entries({ ...machine.env, PATH: `${bin}:${machine.env.PATH ?? process.env.PATH}` });
    const exports = variables.map(([name, value]) => `export ${name}=${shellWord(value)}\n`).join("");
    // One line, since `$SSH_ORIGINAL_COMMAND` is a shell's, as it is without a command that is forced.
    const login = `#!/bin/sh\n${exports}${setup}\nexec sh -c "$SSH_ORIGINAL_COMMAND"\n`;
    const sshd = await startRootSshd(dir, { hostKey, key, script: login }, machine.env);
    const access = new ShellAccess(dir, sshd);
    const known = `[127.0.0.1]:${sshd.port} ${(await readFile(`${hostKey.file}.pub`, "utf8")).trim()}\n`;
    await writeFile(access.knownHosts, known);
    const lines = [
      `Host 127.0.0.1`,
      `  IdentityFile ${key.file}`,
      "  IdentitiesOnly yes",
      `  UserKnownHostsFile ${access.knownHosts}`,
      "  StrictHostKeyChecking yes",
    ];
    await writeFile(access.config, `${lines.join("\n")}\n`);
    return access;
  }

  /** As fleet.yaml has it. */
  get target(): string {
    return `root@127.0.0.1:${this.#sshd.port}`;
  }

  /** Every connection breaks, and none can be made. What was begun over one goes on. */
  async cut(): Promise<void> {
    const isSshd = (pid: number) => {
      try {
        return /^sshd/.test(readFileSync(`/proc/${pid}/comm`, "utf8"));
      } catch {
        return false;
      }
    };
    // Until they are gone, and what they have started is nobody's: stopping sshd ends all that is its own.
    for (
      let left = this.#sshd.sessions().filter(isSshd);
      left.length > 0;
      left = this.#sshd.sessions().filter(isSshd)
    ) {
      kill(left);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await this.#sshd.stop();
  }

  /** At the same place as before. */
  start(): Promise<void> {
    return this.#sshd.start();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#sshd.stop();
  }
}
