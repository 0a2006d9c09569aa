import { existsSync, readdirSync, readFileSync } from "node:fs";
import { chmod, mkdtemp, writeFile } from "node:fs/promises";
import path from "node:path";
import { packageRoot } from "../../src/platform/package.ts";
import { exec, kill, processesWith, succeed } from "./programs.ts";

// sshd accepts a chroot only where every directory above it belongs to root and nobody else can write: not in /tmp.
const PREFIX = "/var/lib/bento-test.";
/** In the environment of everything that a world starts, which is how its end finds all of it. */
const MARK = "BENTO_TEST_WORLD";

export interface WorldDirectory extends AsyncDisposable {
  path: string;
  /** For the environment of everything that is started in it. */
  mark: Record<string, string>;
}

/** Makes a world's directory. Disposal ends what runs in it, and removes its mounts and files. */
export async function worldDirectory({ inMemory = true } = {}): Promise<WorldDirectory> {
  await sweep();
  const dir = await mkdtemp(PREFIX);
  // In memory, where that is allowed: much of what is tested waits for its files to reach the disk.
  if (inMemory) await exec("mount", ["-t", "tmpfs", "-o", "mode=0755", "bento-test", dir]);
  await chmod(dir, 0o755);
  await writeFile(path.join(dir, "pid"), String(process.pid));
  return { path: dir, mark: { [MARK]: dir }, [Symbol.asyncDispose]: () => remove(dir) };
}

let prefixes = 0;

/** Short, since a login has at most 32 characters, and its own for each world of each process. */
export function loginPrefix(): string {
  prefixes += 1;
  return `bt${process.pid.toString(36)}-${prefixes}-`;
}

/** A process that was killed outright could not clean up after itself: the next one does. */
async function sweep(): Promise<void> {
  const parent = path.dirname(PREFIX);
  for (const name of readdirSync(parent)) {
    const dir = path.join(parent, name);
    const pidFile = path.join(dir, "pid");
    if (!dir.startsWith(PREFIX) || !existsSync(pidFile)) continue;
    const pid = readFileSync(pidFile, "utf8");
    if (pid === "" || existsSync(`/proc/${pid}`)) continue;
    const sshd = path.join(dir, "sshd");
    await endProcesses(dir);
    await exec("bash", [path.join(packageRoot(), "utils/server/deprovision"), sshd]);
    await remove(dir);
  }
}

async function remove(dir: string): Promise<void> {
  await endProcesses(dir);
  const mounts = readFileSync("/proc/self/mounts", "utf8").split("\n");
  for (const line of mounts.reverse()) {
    const place = line.split(" ")[1] ?? "";
    if (`${place}/`.startsWith(`${dir}/`)) await succeed("umount", ["--lazy", place]);
  }
  // What Nix makes can't be written to; root is not held up by that, and `rm` knows how to.
  await exec("rm", ["-rf", dir]);
}

async function endProcesses(dir: string): Promise<void> {
  // Until there are none: what is being ended may just have started another.
  for (let left = processesWith(MARK, dir); left.length > 0; left = processesWith(MARK, dir)) {
    kill(left);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
