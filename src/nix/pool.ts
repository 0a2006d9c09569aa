import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { availableMemory } from "./available-memory.ts";
import { evaluateBatch, isSameKind, type Job, type JobLimits, type JobResult } from "./batch.ts";
import type { Nix } from "./nix.ts";

/** Jobs in one process at most: what it remembers of them grows. */
const MAX_BATCH = 16;
/** Bytes that an evaluation of a NixOS system is taken to need until one has shown what it needs. */
const USUAL_NEED = 700 * 1024 ** 2;
/** Bytes that stay free for the rest of the machine. */
const RESERVE = 256 * 1024 ** 2;
/** Milliseconds between looks at how much memory evaluations have. */
const LOOK = 250;

/**
 * Evaluates jobs, as many processes at a time as there are processors and memory for. Jobs that share much should follow one
 * another. One that fails costs the others nothing; one that was killed for want of memory is tried again when nothing else
 * runs. `onResult` hears of each as it is done.
 */
export async function evaluateAll(
  nix: Nix,
  jobs: readonly Job[],
  limits: JobLimits,
  onResult: (index: number) => void = () => {},
): Promise<JobResult[]> {
  const results = new Array<JobResult>(jobs.length);
  const queue = byKind(jobs);
  const alone: number[] = [];
  const memory = new Memory();
  const workers = Math.min(availableParallelism(), jobs.length);
  // The less often nixpkgs is read and parsed, the better: half of what evaluating one host alone takes.
  const size = Math.min(MAX_BATCH, Math.ceil(jobs.length / Math.max(1, workers)));

  const settle = (index: number, result: JobResult) => {
    results[index] = result;
    onResult(index);
  };
  const evaluate = async (indices: readonly number[]): Promise<JobResult[]> => {
    const process = await memory.enter();
    try {
      const batch = indices.flatMap((index) => jobs[index] ?? []);
      return await evaluateBatch(nix, batch, limits, (pid) => memory.watch(process, pid));
    } finally {
      memory.leave(process);
    }
  };
  const worker = async () => {
    for (let batch = take(queue, jobs, size); batch.length > 0; batch = take(queue, jobs, size)) {
      const done = await evaluate(batch);
      for (const [position, index] of batch.slice(0, done.length).entries()) {
        const result = done[position];
        if (result === undefined) throw new Error("a batch has as many results as jobs that it came to");
        if (!result.ok && result.reason === "killed") alone.push(index);
        else settle(index, result);
      }
      queue.unshift(...batch.slice(done.length));
    }
  };
  await Promise.all(Array.from({ length: workers }, worker));
  for (const index of alone) {
    const [result] = await evaluate([index]);
    if (result !== undefined) settle(index, result);
  }
  return results;
}

/** The next batch: of one kind, and no larger than `size`. */
function take(queue: number[], jobs: readonly Job[], size: number): number[] {
  const first = jobs[queue[0] ?? -1];
  if (first === undefined) return [];
  let end = 1;
  while (end < Math.min(size, queue.length)) {
    const next = jobs[queue[end] ?? -1];
    if (next === undefined || !isSameKind(first, next)) break;
    end += 1;
  }
  return queue.splice(0, end);
}

/** What can be in one batch stands together, in the order in which the first of each kind comes. */
function byKind(jobs: readonly Job[]): number[] {
  const kinds: number[][] = [];
  for (const [index, job] of jobs.entries()) {
    const kind = kinds.find(([first]) => {
      const other = jobs[first ?? -1];
      return other !== undefined && isSameKind(other, job);
    });
    if (kind === undefined) kinds.push([index]);
    else kind.push(index);
  }
  return kinds.flat();
}

interface Watched {
  pid: number | undefined;
  /** Bytes. */
  resident: number;
}

/** Lets evaluations begin only while there is memory for them: a machine that swaps evaluates nothing at all. */
class Memory {
  readonly #running = new Set<Watched>();
  #need = USUAL_NEED;
  #turn: Promise<unknown> = Promise.resolve();

  /** Waits for its turn, and for room. The first to come needs none. */
  async enter(): Promise<Watched> {
    const turn = this.#turn.then(async () => {
      while (!this.#hasRoom()) await new Promise((resolve) => setTimeout(resolve, LOOK));
      const entered: Watched = { pid: undefined, resident: 0 };
      this.#running.add(entered);
      return entered;
    });
    this.#turn = turn;
    return await turn;
  }

  watch(process: Watched, pid: number): void {
    process.pid = pid;
  }

  leave(process: Watched): void {
    this.#running.delete(process);
  }

  #hasRoom(): boolean {
    if (this.#running.size === 0) return true;
    let promised = 0;
    for (const process of this.#running) {
      if (process.pid !== undefined) process.resident = Math.max(process.resident, residentMemory(process.pid));
      this.#need = Math.max(this.#need, process.resident);
      promised += Math.max(0, this.#need - process.resident);
    }
    const free = availableMemory();
    return free === undefined || free - promised - RESERVE >= this.#need;
  }
}

/** Bytes of memory that a process has had at most; 0 when it is gone. */
function residentMemory(pid: number): number {
  try {
    const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return Number(kilobytes ?? 0) * 1024;
  } catch {
    return 0;
  }
}
