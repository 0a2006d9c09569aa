import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import path from "node:path";

/** A control group with a limit of memory, for one test. */
export interface MemoryGroup extends Disposable {
  /** What a shell does to get into it. */
  readonly enter: string;
  /** Bytes that its programs have had at most, files that they have read included; undefined where the kernel doesn't say. */
  readonly peak: number | undefined;
}

const PLACES = [
  { dir: "/sys/fs/cgroup/memory", limit: "memory.limit_in_bytes", peak: "memory.max_usage_in_bytes" },
  { dir: "/sys/fs/cgroup", limit: "memory.max", peak: "memory.peak" },
];

/** Undefined where none can be made: without root, or in a container that has none to give. */
export function memoryGroup(bytes: number): MemoryGroup | undefined {
  for (const place of PLACES) {
    const dir = path.join(place.dir, `bento-test-${randomUUID()}`);
    try {
      mkdirSync(dir);
    } catch {
      continue;
    }
    try {
      // "wx" would be refused there, and without the file the group limits no memory.
      writeFileSync(path.join(dir, place.limit), String(bytes), { flag: "r+" });
      return {
        enter: `echo $$ > ${path.join(dir, "cgroup.procs")}`,
        get peak() {
          const file = path.join(dir, place.peak);
          return existsSync(file) ? Number(readFileSync(file, "utf8")) : undefined;
        },
        [Symbol.dispose]: () => rmdirSync(dir),
      };
    } catch {
      rmdirSync(dir);
    }
  }
  return undefined;
}
