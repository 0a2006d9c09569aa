import { expect, test } from "vitest";
import { availableMemory } from "../../src/nix/available-memory.ts";
import { scratch, writeTree } from "../platform/scratch.ts";

const MIB = 1024 ** 2;
const meminfo = "MemTotal:       24000000 kB\nMemFree:         100000 kB\nMemAvailable:    1024000 kB\n";

async function memoryOf(files: Record<string, string>): Promise<number | undefined> {
  await using dir = await scratch();
  await writeTree(dir.path, files);
  const bytes = availableMemory(dir.path);
  return bytes === undefined ? undefined : bytes / MIB;
}

test("without a limit, what the machine has left; where nobody says, it isn't known", async () => {
  expect(await memoryOf({ "proc/meminfo": meminfo })).toBe(1000);
  expect(await memoryOf({})).toBeUndefined();
  expect(
    await memoryOf({
      "proc/meminfo": meminfo,
      "proc/self/cgroup": "0::/a\n",
      "sys/fs/cgroup/a/memory.max": "max\n",
      "sys/fs/cgroup/a/memory.current": "1\n",
    }),
  ).toBe(1000);
});

test("what is left below the limit of a container, whose group is the top to it", async () => {
  const files = {
    "proc/meminfo": meminfo,
    "proc/self/cgroup": "0::/\n",
    "sys/fs/cgroup/memory.max": `${512 * MIB}\n`,
    "sys/fs/cgroup/memory.current": `${500 * MIB}\n`,
    "sys/fs/cgroup/memory.stat": `anon 1\ninactive_file ${300 * MIB}\nactive_file 5\n`,
  };
  // Files that were read are given up when the memory is needed.
  expect(await memoryOf(files)).toBe(312);
});

test("the limit of any group that this one is in", async () => {
  const group = (dir: string, limit: number, used: number) => ({
    [`sys/fs/cgroup${dir}/memory.max`]: `${limit * MIB}\n`,
    [`sys/fs/cgroup${dir}/memory.current`]: `${used * MIB}\n`,
  });
  const files = { "proc/meminfo": meminfo, "proc/self/cgroup": "0::/system.slice/runner.service\n" };
  expect(await memoryOf({ ...files, ...group("/system.slice/runner.service", 400, 100) })).toBe(300);
  expect(await memoryOf({ ...files, ...group("/system.slice", 400, 350) })).toBe(50);
  expect(await memoryOf({ ...files, ...group("/other.slice", 400, 399) })).toBe(1000);
});

test("control groups of the first version, also beside the second", async () => {
  const files = {
    "proc/meminfo": meminfo,
    "proc/self/cgroup": "9:name=systemd:/\n4:cpu,memory:/job/7\n0::/\n",
    "sys/fs/cgroup/memory/job/7/memory.limit_in_bytes": `${800 * MIB}\n`,
    "sys/fs/cgroup/memory/job/7/memory.usage_in_bytes": `${700 * MIB}\n`,
    "sys/fs/cgroup/memory/job/7/memory.stat": `inactive_file 1\ntotal_inactive_file ${50 * MIB}\n`,
  };
  expect(await memoryOf(files)).toBe(150);
  // One without a limit has the largest number that there is.
  expect(
    await memoryOf({ ...files, "sys/fs/cgroup/memory/job/7/memory.limit_in_bytes": "9223372036854771712\n" }),
  ).toBe(1000);
});

test("more used than may be is nothing left", async () => {
  expect(
    await memoryOf({
      "proc/self/cgroup": "0::/\n",
      "sys/fs/cgroup/memory.max": "100\n",
      "sys/fs/cgroup/memory.current": "300\n",
    }),
  ).toBe(0);
});
