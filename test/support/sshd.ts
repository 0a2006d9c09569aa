import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { createInterface } from "node:readline";
import { familyOf, kill } from "./programs.ts";

/** A real sshd with a configuration file of its own, which can be stopped and started again on the same port. */
export class Sshd {
  readonly #config: string;
  readonly #env: Record<string, string>;
  #port = 0;
  #process: ChildProcess | undefined;

  /** `env` marks the processes that it starts. */
  constructor(config: string, env: Record<string, string>) {
    this.#config = config;
    this.#env = env;
  }

  /** 0 before it is first started. */
  get port(): number {
    return this.#port;
  }

  get isRunning(): boolean {
    return this.#process !== undefined;
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
    const pid = this.#process?.pid;
    return pid === undefined ? [] : familyOf(pid).slice(1);
  }

  /** Ends it, and every session with it: for those who are connected, it is as if the server lost its power. */
  async stop(): Promise<void> {
    const sshd = this.#process;
    if (sshd?.pid === undefined) return;
    this.#process = undefined;
    // An interrupt from the terminal ends it as well.
    if (sshd.exitCode !== null || sshd.signalCode !== null) return;
    const ended = once(sshd, "exit");
    // Stopped first, so that it makes no new sessions while those it has are looked for.
    kill([sshd.pid], "SIGSTOP");
    kill(familyOf(sshd.pid));
    await ended;
  }

  /** False when the port is taken. */
  async #listen(port: number): Promise<boolean> {
    // sshd keeps its unprivileged half there, and Debian makes it when the service is started. It is left, since another
    // sshd may need it by then.
    await mkdir("/run/sshd", { recursive: true });
    const sshd = spawn("/usr/sbin/sshd", ["-D", "-e", "-f", this.#config, "-p", String(port)], {
      env: { ...process.env, ...this.#env },
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.#process = sshd;
    let output = "";
    for await (const line of createInterface({ input: sshd.stderr })) {
      output += `${line}\n`;
      if (/^Server listening on/.test(line)) {
        sshd.stderr.resume();
        return true;
      }
    }
    this.#process = undefined;
    if (/Address already in use/.test(output)) return false;
    throw new Error(`sshd does not start:\n${output}`);
  }
}
