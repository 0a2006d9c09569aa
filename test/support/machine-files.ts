import { cp, mkdir, rm, symlink, writeFile } from "node:fs/promises";
import path from "node:path";

/** The files of a machine that is to boot. */
export abstract class MachineFiles {
  /** Where a file of its is, seen from here. */
  abstract path(file: string): string;

  async write(file: string, text: string, mode = 0o644): Promise<void> {
    await mkdir(path.dirname(this.path(file)), { recursive: true });
    await rm(this.path(file), { force: true });
    await writeFile(this.path(file), text, { mode });
  }

  /** Puts a directory of this machine there. */
  async copyTree(dir: string, place: string): Promise<void> {
    await cp(dir, this.path(place), { recursive: true, verbatimSymlinks: true });
  }

  /** Puts a store path of this machine into its store. */
  async copy(storePath: string): Promise<void> {
    await this.copyTree(storePath, storePath);
  }

  /** What stands for a package: this machine's programs. */
  async standIn(storePath: string): Promise<void> {
    await mkdir(this.path(storePath), { recursive: true });
    await symlink("/usr/bin", this.path(`${storePath}/bin`));
  }
}
