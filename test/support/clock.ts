import { writeFile } from "node:fs/promises";
import path from "node:path";
import { succeed } from "./programs.ts";

/** A clock of a machine's own, which can be wrong, and be put right while its programs run. */
export class Clock {
  readonly #library: string;
  readonly #file: string;

  private constructor(dir: string) {
    this.#library = path.join(dir, "clock.so");
    this.#file = path.join(dir, "clock");
  }

  static async make(dir: string): Promise<Clock> {
    const clock = new Clock(dir);
    await succeed("cc", ["-O2", "-shared", "-fPIC", "-o", clock.#library, path.join(import.meta.dirname, "clock.c")]);
    await clock.set(0);
    return clock;
  }

  /** For the programs of the machine. */
  get env(): Record<string, string> {
    return { LD_PRELOAD: this.#library, BENTO_TEST_CLOCK: this.#file };
  }

  /** For a shell script of theirs: the clock is put right. */
  get correct(): string {
    return `echo 0 > ${this.#file}`;
  }

  /** Seconds that it is ahead; behind where that is negative. */
  async set(seconds: number): Promise<void> {
    await writeFile(this.#file, String(seconds));
  }
}
