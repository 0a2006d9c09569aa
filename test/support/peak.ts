import { readFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";

/** Bytes that reading a fleet may take, whatever its hosts say. */
export const MAX_RESIDENT = 250 * 1024 ** 2;

/** The most memory that a process had at once, in bytes (proc(5), VmHWM), once it is gone. */
export async function residentPeak(pid: number): Promise<number> {
  let peak = 0;
  for (;;) {
    try {
      const [, size] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
      // One that has ended, and that nobody has waited for yet, has no memory.
      if (size === undefined) return peak;
      peak = Math.max(peak, Number(size) * 1024);
    } catch {
      return peak;
    }
    await setTimeout(5);
  }
}
