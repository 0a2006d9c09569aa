import { cp, mkdir, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { succeed } from "./programs.ts";

/**
 * What a disk has when the power was lost. `unsynced`: only what was synced, or went along with that in the file system's journal.
 * `contents`: names as they last were, and of the contents only what was synced, so that a file is there and empty: the journal
 * was written by itself just before.
 */
export type Loss = "unsynced" | "contents";

/** No write-back within an hour, nor when a file replaces another. */
const OPTIONS = "loop,commit=3600,data=writeback,noauto_da_alloc";

/**
 * A disk on which a directory is, and which forgets what wasn't synced: a real ext4, whose kernel hasn't written by itself what
 * it may keep in memory for a while. What is on the disk is what the kernel has written to the file behind it.
 */
export class LosingDisk implements AsyncDisposable {
  readonly #image: string;
  readonly #mount: string;
  readonly #dir: string;

  private constructor(image: string, mount: string, dir: string) {
    this.#image = image;
    this.#mount = mount;
    this.#dir = dir;
  }

  /** Puts `dir`, with what is in it, onto a disk of its own, which is below `scratch`. */
  static async make(scratch: string, dir: string, megabytes = 256): Promise<LosingDisk> {
    const mount = path.join(scratch, `disk-of-${path.basename(dir)}`);
    const image = `${mount}.img`;
    await mkdir(mount, { recursive: true });
    await succeed("truncate", ["--size", `${megabytes}M`, image]);
    await succeed("mkfs.ext4", ["-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", image]);
    const disk = new LosingDisk(image, mount, dir);
    await succeed("mount", ["-o", OPTIONS, image, mount]);
    await cp(dir, path.join(mount, "files"), { recursive: true, verbatimSymlinks: true, preserveTimestamps: true });
    await succeed("mount", ["--bind", path.join(mount, "files"), dir]);
    await disk.sync();
    return disk;
  }

  /** Nothing of what there is now will be lost. */
  async sync(): Promise<void> {
    await succeed("sync", ["--file-system", this.#mount]);
  }

  /** The power is lost, and comes back. Nothing may run any more that has a file open there. */
  async lose(loss: Loss): Promise<void> {
    if (loss === "contents") {
      const other = path.join(this.#mount, "other");
      await writeFile(other, "");
      await succeed("sync", [other]);
    }
    const kept = `${this.#image}.kept`;
    await succeed("cp", ["--sparse=always", this.#image, kept]);
    await this.#detach();
    await rename(kept, this.#image);
    await succeed("mount", ["-o", OPTIONS, this.#image, this.#mount]);
    await succeed("mount", ["--bind", path.join(this.#mount, "files"), this.#dir]);
  }

  async #detach(): Promise<void> {
    await succeed("umount", [this.#dir]);
    await succeed("umount", [this.#mount]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#detach();
    await rm(this.#image);
  }
}
