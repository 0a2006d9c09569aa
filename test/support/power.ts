import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { kill } from "./programs.ts";

/** What changes a disk, beside opening a file so that it is made or emptied. */
const CHANGES = [
  ...["write", "writev", "pwrite64", "pwritev", "truncate", "ftruncate", "fallocate", "copy_file_range", "sendfile"],
  ...["rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "symlink", "symlinkat"],
  ...["link", "linkat", "chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat", "utimensat"],
  ...["fsync", "fdatasync", "syncfs", "sync"],
];

export interface Watched {
  program: string;
  args: readonly string[];
  env: Record<string, string>;
  /** Of files below these the changes count. */
  dirs: readonly string[];
}

/**
 * Runs a program and calls `act` when it, and all that it has started, have changed a file for the `n`-th time: right after the
 * change, as exactly as that can be seen from outside. `act` is given what makes the power fail: everything is gone at once, as
 * it is when a machine's first process is.
 *
 * @returns how many changes there were, and whether it came to its end before the nth.
 */
export async function runUntilChange(
  n: number,
  { program, args, env, dirs }: Watched,
  act: (fail: () => void) => void,
): Promise<{ changes: number; isOver: boolean }> {
  const traced = ["open", "openat", "creat", ...CHANGES].join(",");
  // Of what it prints nothing is to be taken for a trace.
  const quiet = ["sh", "-c", 'exec "$@" > /dev/null 2>&1', "quiet", program, ...args];
  const supply = ["--pid", "--fork", "--kill-child", "--mount-proc"];
  const strace = [
    "strace",
    "-f",
    "--seccomp-bpf",
    "-qq",
    "-y",
    "-s",
    "0",
    "-e",
    `trace=?${traced.replaceAll(",", ",?")}`,
  ];
  const child = spawn("unshare", [...supply, ...strace, "-e", "signal=none", ...quiet], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const { pid } = child;
  if (pid === undefined) throw new Error("unshare can't be started");
  const over = once(child, "exit");
  let changes = 0;
  for await (const line of createInterface({ input: child.stderr })) {
    if (changes < n && isChange(line, dirs)) {
      changes += 1;
      // The first process of its own namespace is the only child.
      const first = () => readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").map(Number);
      if (changes === n) act(() => kill(first()));
    }
  }
  await over;
  return { changes, isOver: changes < n };
}

function isChange(line: string, dirs: readonly string[]): boolean {
  const call = /^(?:\[pid +\d+\] )?(\w+)\((.*)$/.exec(line);
  if (!call || / = -1 E/.test(line) || !dirs.some((dir) => line.includes(dir))) return false;
  return !/^(open|openat|creat)$/.test(call[1] ?? "") || /O_CREAT|O_TRUNC/.test(line);
}
