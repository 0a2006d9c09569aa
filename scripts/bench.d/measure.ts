import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { familyOf, kill } from "../../test/support/programs.ts";

export interface Figures {
  /** It was ended because it took longer than its limit. */
  timedOut: boolean;
  /** Seconds. */
  wall: number;
  cpu: number;
  /** Bytes of memory of all its processes together, at most; looked at ten times a second. */
  peak: number;
  status: number;
  stdout: string;
}

export interface MeasureOptions {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** Milliseconds after which it is ended. */
  limit?: number;
  signal?: AbortSignal;
}

/**
 * Runs a program and all that it starts, and says what it took.
 * @throws the reason of `signal`, when that ended it.
 */
export async function measure(
  program: string,
  args: readonly string[],
  options: MeasureOptions = {},
): Promise<Figures> {
  const before = childrenCpu();
  const started = performance.now();
  const { cwd, env, limit, signal } = options;
  signal?.throwIfAborted();
  const child = spawn(program, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (data) => {
    stdout += data;
  });
  child.stderr.on("data", (data) => {
    stderr += data;
  });
  const { pid } = child;
  if (pid === undefined) throw (await once(child, "error"))[0];
  let peak = 0;
  const timer = setInterval(() => {
    peak = Math.max(peak, residentOf(pid));
  }, 100);
  const end = () => kill(familyOf(pid));
  let timedOut = false;
  const timeout =
    limit === undefined
      ? undefined
      : setTimeout(() => {
          timedOut = true;
          end();
        }, limit);
  signal?.addEventListener("abort", end);
  const [code] = await once(child, "close");
  const status: number = code ?? 1;
  clearInterval(timer);
  clearTimeout(timeout);
  signal?.removeEventListener("abort", end);
  signal?.throwIfAborted();
  if (status !== 0 && !timedOut) process.stderr.write(stderr.slice(-2000));
  return { wall: (performance.now() - started) / 1000, cpu: childrenCpu() - before, peak, status, stdout, timedOut };
}

/** Processor seconds of this process's ended children, and theirs (proc(5), cutime and cstime, in hundredths). */
function childrenCpu(): number {
  const fields = readFileSync("/proc/self/stat", "utf8")
    .replace(/^.*\) /, "")
    .split(" ");
  return (Number(fields[13]) + Number(fields[14])) / 100;
}

/** Bytes of memory of a process and its descendants. */
function residentOf(root: number): number {
  const parents = new Map<number, { parent: number; resident: number }>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const fields = readFileSync(`/proc/${name}/stat`, "utf8")
        .replace(/^.*\) /, "")
        .split(" ");
      parents.set(Number(name), { parent: Number(fields[1]), resident: Number(fields[21]) * 4096 });
    } catch {
      // It has ended in the meantime.
    }
  }
  const isBelow = (pid: number): boolean =>
    pid === root || (parents.has(pid) && isBelow(parents.get(pid)?.parent ?? 0));
  return [...parents].reduce((sum, [pid, { resident }]) => sum + (isBelow(pid) ? resident : 0), 0);
}

export function row(name: string, { wall, cpu, peak }: Figures, reference?: Figures): string {
  const times = reference === undefined ? "" : `  ${(reference.wall / wall).toFixed(2)}×`;
  const memory = `${Math.round(peak / 1024 ** 2)} MiB`;
  return `${name.padEnd(34)} ${wall.toFixed(2).padStart(8)} s ${cpu.toFixed(2).padStart(8)} s ${memory.padStart(9)}${times}`;
}

export const HEADING = `${"".padEnd(34)} ${"wall".padStart(10)} ${"cpu".padStart(10)} ${"peak".padStart(9)}`;
