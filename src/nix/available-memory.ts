import { readFileSync } from "node:fs";
import path from "node:path";

/**
 * Bytes that programs can still have: what the machine has left (proc(5), MemAvailable), or what is left below the limit of a
 * control group that this process is in, of whichever there is the least; undefined where nobody says. `root` is where /proc
 * and /sys are.
 */
export function availableMemory(root = "/"): number | undefined {
  const machine = /^MemAvailable:\s+(\d+) kB$/m.exec(text(path.join(root, "proc/meminfo")))?.[1];
  const known = [
    ...(machine === undefined ? [] : [Number(machine) * 1024]),
    ...groupsOf(root).map(({ limit, used, cache }) => limit - Math.max(0, used - cache)),
  ];
  return known.length === 0 ? undefined : Math.max(0, Math.min(...known));
}

interface Group {
  /** Bytes, all three. */
  limit: number;
  used: number;
  /** Of `used`, what the kernel gives up first: files that were read and aren't in use. */
  cache: number;
}

/** Files of a control group, in both versions (cgroups(7), and the kernel's admin-guide/cgroup-v1/memory.rst). */
const VERSIONS = [
  { mount: "", limit: "memory.max", used: "memory.current", cache: "inactive_file" },
  { mount: "unified", limit: "memory.max", used: "memory.current", cache: "inactive_file" },
  {
    mount: "memory",
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cache: "total_inactive_file",
  },
];

/** The control groups with a limit that this process is in. Each is limited by those that it is in, too. */
function groupsOf(root: string): Group[] {
  const memberships = text(path.join(root, "proc/self/cgroup"))
    .split("\n")
    .flatMap((line) => {
      const [, controllers = "", place = ""] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
      return controllers === "" || controllers.split(",").includes("memory") ? [{ controllers, place }] : [];
    });
  return VERSIONS.flatMap(({ mount, ...names }) => {
    const { place } = memberships.find(({ controllers }) => (controllers === "") === (mount !== "memory")) ?? {};
    // In a container the group's own name may not be there: then the container sees its group as the top.
    return [...(place === undefined ? [] : ancestors(place)), "/"].flatMap((group) => {
      const dir = path.join(root, "sys/fs/cgroup", mount, group);
      const limit = number(text(path.join(dir, names.limit)));
      const used = number(text(path.join(dir, names.used)));
      if (limit === undefined || used === undefined) return [];
      const cache = new RegExp(`^${names.cache} (\\d+)$`, "m").exec(text(path.join(dir, "memory.stat")))?.[1];
      return [{ limit, used, cache: Number(cache ?? 0) }];
    });
  });
}

/** `/a/b`, and `/a`. */
function ancestors(place: string): string[] {
  const parts = place.split("/").filter((part) => part !== "" && part !== "..");
  return parts.map((_, index) => `/${parts.slice(0, parts.length - index).join("/")}`);
}

/** Undefined for `max`, and for what isn't there. */
function number(value: string): number | undefined {
  return /^\d+\s*$/.test(value) ? Number(value) : undefined;
}

function text(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
