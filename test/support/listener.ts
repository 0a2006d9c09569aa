import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Machine } from "./machine.ts";
import { familyOf, kill, type Running, start } from "./programs.ts";

/** A socket on which each connection starts the agent, as systemd's socket units do it, and by a program of systemd's. */
export class Listener implements AsyncDisposable {
  readonly #running: Running;
  /** What the agents said on stderr, for the journal. */
  readonly log: string[] = [];

  private constructor(running: Running) {
    this.#running = running;
    if (running.child.stderr)
      createInterface({ input: running.child.stderr }).on("line", (line) => this.log.push(line));
  }

  /** `address` as systemd.socket(5) has it; `env` is added to the machine's. */
  static async start(
    machine: Machine,
    addresses: readonly string[],
    args: readonly string[],
    env: Record<string, string> = {},
  ): Promise<Listener> {
    const all = { ...machine.env, ...env };
    const running = start(
      "systemd-socket-activate",
      [
        ...["--accept", "--inetd"],
        ...addresses.map((address) => `--listen=${address}`),
        ...Object.keys(all).map((name) => `--setenv=${name}`),
        ...["bash", machine.agentFile, ...args],
      ],
      { env: all },
    );
    const listener = new Listener(running);
    const ended = running.done.then(({ status, stderr }) => {
      throw new Error(`it listens no more (status ${status}): ${stderr}`);
    });
    ended.catch(() => {});
    const said = running.child.stderr;
    if (!said) throw new Error("no stderr");
    while (listener.log.filter((line) => line.startsWith("Listening on")).length < addresses.length) {
      await Promise.race([once(said, "data"), ended]);
      // The line is there once the reader of lines has had its turn.
      await new Promise(setImmediate);
    }
    return listener;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    kill(familyOf(this.#running.pid));
    await this.#running.done;
  }
}
