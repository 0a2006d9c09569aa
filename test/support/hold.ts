import { rm } from "node:fs/promises";
import type { Machine } from "./machine.ts";
import { start, succeed } from "./programs.ts";

/** A place in a shell script where it stops until the test lets it go, so that a test can act at exactly that moment. */
export class Hold implements AsyncDisposable {
  readonly #machine: Machine;
  readonly #reached: string;
  readonly #go: string;

  private constructor(machine: Machine, name: string) {
    this.#machine = machine;
    this.#reached = machine.path(`run/${name}.reached`);
    this.#go = machine.path(`run/${name}.go`);
  }

  static async make(machine: Machine, name: string): Promise<Hold> {
    const hold = new Hold(machine, name);
    await succeed("mkfifo", [hold.#reached, hold.#go]);
    return hold;
  }

  /** For the script. It stops there until it is let go, and never after that. */
  get script(): string {
    return `if [ -p ${this.#reached} ]; then echo > ${this.#reached}; read -r _ < ${this.#go}; fi`;
  }

  /** Resolves when the script is there. */
  async reached(): Promise<void> {
    // Another program waits, since a read of ours that nobody answers could not be given up.
    await start("cat", [this.#reached], { env: this.#machine.env }).done;
  }

  async letGo(): Promise<void> {
    await rm(this.#reached);
    await start("sh", ["-c", `echo > ${this.#go}`], { env: this.#machine.env }).done;
  }

  /** For a script that was killed: the next one doesn't stop there. */
  async forget(): Promise<void> {
    await rm(this.#reached, { force: true });
    await rm(this.#go, { force: true });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.forget();
  }
}
