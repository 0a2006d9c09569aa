import { randomUUID } from "node:crypto";
import { COLLISIONS, collided, type Nix } from "./nix.ts";

/** A Nix expression whose value is wanted as JSON. Several can be evaluated by one process. */
export interface ExpressionJob {
  kind: "expression";
  /** Say which files are read. */
  aloud?: boolean;
  expression: string;
  /**
   * `pure`: it sees nothing but what it is given by hash, and gives the same wherever and whenever it is evaluated.
   * `restricted`: it reads files only below `readable` and what NIX_PATH or -I name, and sees the clock. It has no flakes:
   * `builtins.getFlake "path:…"` is restricted by no version of Nix.
   */
  mode: "pure" | "restricted";
  /** Absolute paths, for `restricted`. */
  readable: readonly string[];
  /** Entries of the search path, as -I takes them, before NIX_PATH's. */
  searchPath: readonly string[];
}

/** A function applied to an output of a flake, as `nix eval --apply` does it: with its lock file checked, or inputs overridden. */
export interface FlakeJob {
  kind: "flake";
  aloud?: boolean;
  /** Such as `path:/somewhere#nixosConfigurations`. */
  installable: string;
  apply: string;
  arguments: readonly string[];
}

export type Job = ExpressionJob | FlakeJob;

export type JobResult = {
  stderr: string;
  /** Seconds. */
  duration: number;
} & (
  | { ok: true; value: unknown }
  | { ok: false; reason: "failed" | "timed-out" | "overflowed" | "killed"; status: number }
);

export interface JobLimits {
  /** Milliseconds for each job. */
  timeout: number;
}

/** Bytes that one job may print. */
export const MAX_OUTPUT = 16 * 1024 * 1024;

/** Milliseconds: an evaluation has no builders to end, and Nix 2.8 doesn't hear that it is asked. */
const GRACE = 2_000;

/**
 * Evaluates jobs one after the other in one process, which reads and parses what they share only once, and gives the results
 * of those that it came to: all of them, or up to and including the first that failed. Nix can't go on after an error, so
 * the caller starts again behind it.
 */
export async function evaluateBatch(
  nix: Nix,
  jobs: readonly Job[],
  { timeout }: JobLimits,
  onStart: (pid: number) => void = () => {},
): Promise<JobResult[]> {
  const [first] = jobs;
  if (first === undefined) return [];
  if (first.kind === "flake") return [await evaluateFlake(nix, first, timeout, onStart)];
  // Two programs that write to one store can collide. The job at which they did has no result yet; those before it do.
  for (let again = 0; ; again++) {
    const results = await evaluateExpressions(nix, jobs.filter(isExpression), first, timeout, onStart);
    const last = results.at(-1);
    if (again === COLLISIONS || last === undefined || last.ok || !collided(last.status, last.stderr)) return results;
    if (results.length > 1) return results.slice(0, -1);
  }
}

async function evaluateExpressions(
  nix: Nix,
  jobs: readonly ExpressionJob[],
  first: ExpressionJob,
  timeout: number,
  onStart: (pid: number) => void,
): Promise<JobResult[]> {
  // What is evaluated can print lines of its own; it can't know this one, which must be told to it in no other way either.
  const mark = randomUUID();
  const results: JobResult[] = [];
  const kill = new AbortController();
  let killed: "timed-out" | "overflowed" | undefined;
  const end = (reason: "timed-out" | "overflowed") => {
    killed ??= reason;
    kill.abort();
  };
  let timer = setTimeout(() => end("timed-out"), timeout);
  let said = "";
  const time = stopwatch();
  const lines = lineReader((line) => {
    const value = line.startsWith(`trace: ${mark} `) ? line.slice(`trace: ${mark} `.length) : undefined;
    if (value === undefined) {
      said += `${line}\n`;
      if (said.length > MAX_OUTPUT) end("overflowed");
      return;
    }
    if (killed !== undefined) return;
    const [, number, json = ""] = /^(\d+) (.*)$/s.exec(value) ?? [];
    // A result that were taken for another job's would be another host's system.
    if (Number(number) !== results.length)
      throw new Error(`result ${number} where that of job ${results.length} is due`);
    results.push({ ok: true, value: JSON.parse(json), stderr: said, duration: time() });
    said = "";
    clearTimeout(timer);
    timer = setTimeout(() => end("timed-out"), timeout);
  });
  try {
    const run = await nix.run("nix-instantiate", batchArguments(jobs, first, mark), {
      maxOutput: (jobs.length + 2) * MAX_OUTPUT,
      onStderr: (text) => {
        lines.add(text);
        if (said.length + lines.pending() > MAX_OUTPUT) end("overflowed");
      },
      onStart,
      kill: kill.signal,
      grace: GRACE,
    });
    lines.end();
    if (results.length < jobs.length) {
      const reason = killed ?? (run.overflowed ? "overflowed" : outOfMemory(run.status, said) ? "killed" : "failed");
      results.push({ ok: false, reason, status: run.status, stderr: said, duration: time() });
    }
    return results;
  } finally {
    clearTimeout(timer);
  }
}

async function evaluateFlake(
  nix: Nix,
  job: FlakeJob,
  timeout: number,
  onStart: (pid: number) => void,
): Promise<JobResult> {
  const { installable, apply } = job;
  const time = stopwatch();
  const command = ["eval", "--json", "--show-trace", ...job.arguments, installable, "--apply", apply];
  // A cached evaluation reads no files.
  const aloud = job.aloud ? ["-v", "--option", "eval-cache", "false"] : [];
  const limits = { timeout, grace: GRACE, maxOutput: MAX_OUTPUT };
  const run = await nix.run("nix", [...command, ...aloud, ...SAFE], { ...limits, onStart });
  const { status, stderr } = run;
  const duration = time();
  if (status === 0 && !run.overflowed) return { ok: true, value: JSON.parse(run.stdout), stderr, duration };
  const reason = run.timedOut
    ? "timed-out"
    : run.overflowed
      ? "overflowed"
      : outOfMemory(status, stderr)
        ? "killed"
        : "failed";
  return { ok: false, reason, status, stderr, duration };
}

/** Whether two jobs can be in one batch. */
export function isSameKind(a: Job, b: Job): boolean {
  return (
    isExpression(a) &&
    isExpression(b) &&
    a.mode === b.mode &&
    JSON.stringify(a.searchPath) === JSON.stringify(b.searchPath)
  );
}

function isExpression(job: Job): job is ExpressionJob {
  return job.kind === "expression";
}

/** Building something in order to evaluate runs a pull request's code, outside of what anybody has agreed to. */
const SAFE = ["--option", "allow-import-from-derivation", "false"];

function batchArguments(jobs: readonly ExpressionJob[], { mode, searchPath }: ExpressionJob, mark: string): string[] {
  const tell = `job: builtins.trace "${mark} \${job.n} \${builtins.unsafeDiscardStringContext (builtins.toJSON job.value)}" null`;
  const list = jobs.map((job, n) => `{ n = "${n}"; value = (${job.expression}); }`).join("\n");
  const expression = `let tell = ${tell}; in builtins.foldl' (_: job: builtins.seq (tell job) null) null [\n${list}\n]`;
  return [
    ...(jobs.some((job) => job.aloud) ? ["-v"] : []),
    ...["--eval", "--read-write-mode", "--show-trace", "--expr", expression],
    ...(mode === "pure"
      ? ["--extra-experimental-features", "nix-command flakes", "--option", "pure-eval", "true"]
      : ["--option", "experimental-features", "nix-command", "--option", "restrict-eval", "true"]),
    // What configurations fetch at evaluation has to be allowed by its URL. file:// would be every file of this machine.
    ...(mode === "pure"
      ? []
      : ["--option", "allowed-uris", "https:// http:// git+https:// git+ssh:// ssh:// git:// github: gitlab:"]),
    ...SAFE,
    // Otherwise each staged tree is first asked for at the caches, which can't have it.
    ...["--option", "substitute", "false"],
    ...searchPath.flatMap((entry) => ["-I", entry]),
    // With names, so that no file is found in them by mistake; builtins.nixPath tells the names to whoever asks.
    ...[...new Set(jobs.flatMap((job) => job.readable))].flatMap((dir) => ["-I", `bento-${randomUUID()}=${dir}`]),
  ];
}

/** The kernel's way of ending what is too large, and the two ways in which Nix says that it got no memory. */
function outOfMemory(status: number, said: string): boolean {
  return (
    status === 137 || /^error: out of memory|std::bad_alloc|Out of Memory! Aborting|Too many heap sections/m.test(said)
  );
}

/** Makes lines of the pieces in which output comes. */
function lineReader(onLine: (line: string) => void) {
  let rest = "";
  return {
    add(text: string) {
      const pieces = (rest + text).split("\n");
      rest = pieces.pop() ?? "";
      for (const piece of pieces) onLine(piece);
    },
    pending: () => rest.length,
    end() {
      if (rest !== "") onLine(rest);
      rest = "";
    },
  };
}

/** Gives the seconds since it was last asked, or made. */
function stopwatch(): () => number {
  let last = performance.now();
  return () => {
    const before = last;
    last = performance.now();
    return (last - before) / 1000;
  };
}
