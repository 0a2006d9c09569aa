import { randomUUID } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { packageRoot } from "../../src/platform/package.ts";
import { shellWord } from "../../src/platform/shell-word.ts";
import { type Exit, processesWith, type Running, type StartOptions, start, succeed } from "../support/programs.ts";

export const CLI = path.join(packageRoot(), "dist/cli.js");
/** What a program is given of this process's environment: not one of a developer's own variables, nor of the test runner's. */
const KEPT = /^(?:PATH|HOME|NIX_.*|BENTO_TEST_WORLD)$/;
/** In the environment of one run and of all that it starts. */
const RUN = "BENTO_TEST_RUN";

/** A command that runs. `finished` is `done`, after a look at what it left behind. */
export interface RunningBento extends Running {
  readonly finished: Promise<Exit>;
  /** What it started, and what is running now. */
  children(): number[];
}

/** An environment that holds nothing but what a program needs, and `env`. */
export function onlyEnvironment(env: Readonly<Record<string, string | undefined>> = {}) {
  const cleared = Object.keys(process.env).filter((name) => !KEPT.test(name));
  return { ...Object.fromEntries(cleared.map((name) => [name, undefined])), ...env };
}

/** Starts `program` with a directory for temporary files of its own, in which it must leave nothing, nor any process. */
export async function startTidy(
  program: string,
  args: readonly string[],
  { env, ...options }: StartOptions = {},
): Promise<RunningBento> {
  const temporary = await mkdtemp(path.join(tmpdir(), "bento-test-"));
  // Nothing is remembered from one run to the next, unless a test wants it so.
  const cache = await mkdtemp(path.join(tmpdir(), "bento-cache-"));
  const id = randomUUID();
  const world = process.env.BENTO_TEST_WORLD;
  const running = start(program, args, {
    ...options,
    env: onlyEnvironment({
      TMPDIR: temporary,
      XDG_CACHE_HOME: cache,
      [RUN]: id,
      // It is started hundreds of times: what Node makes of its code is kept as long as the world.
      ...(world === undefined ? {} : { NODE_COMPILE_CACHE: path.join(world, "compiled") }),
      ...env,
    }),
  });
  const children = () => processesWith(RUN, id).filter((pid) => pid !== running.pid);
  const finished = running.done.then(async (exit) => {
    const left = await readdir(temporary);
    for (const dir of [temporary, cache]) await rm(dir, { recursive: true, force: true });
    const processes = children();
    if (left.length > 0 || processes.length > 0) {
      const what = `files ${left.join(", ") || "none"}, processes ${processes.join(", ") || "none"}`;
      throw new Error(`${program} ${args.join(" ")} left behind: ${what}\n${exit.stderr}`);
    }
    return exit;
  });
  return { ...running, finished, children };
}

/** Starts the command line as a user has it: `bento ARGS`. */
export function startBento(args: readonly string[], options: StartOptions = {}): Promise<RunningBento> {
  return startTidy(process.execPath, [CLI, ...args], options);
}

export async function bento(args: readonly string[], options: StartOptions = {}): Promise<Exit> {
  return (await startBento(args, options)).finished;
}

/** Runs it with `--json`: stdout must be one JSON document, and nothing else. */
export async function bentoJson<T>(args: readonly string[], options: StartOptions = {}) {
  const exit = await bento([...args, "--json"], options);
  return { ...exit, document: JSON.parse(exit.stdout) as T };
}

/** Starts it on a terminal, which shows stdout and stderr in one. */
export function startOnTerminal(args: readonly string[], options: StartOptions = {}): Promise<RunningBento> {
  const words = [process.execPath, CLI, ...args].map(shellWord);
  return startTidy("script", ["-qec", words.join(" "), "/dev/null"], options);
}

/** Runs it on a terminal, and gives what that shows. */
export async function bentoOnTerminal(args: readonly string[], options: StartOptions = {}): Promise<Exit> {
  return (await startOnTerminal(args, options)).finished;
}

/** A directory to be PATH, with these programs in it and no others. */
export async function pathWith(dir: string, programs: readonly string[]): Promise<string> {
  await mkdir(dir);
  for (const program of programs) {
    await symlink(await succeed("sh", ["-c", 'command -v "$0"', program]), path.join(dir, program));
  }
  return dir;
}

/** A PATH on which every program that bento starts writes down what it is given, environment and arguments; `seen`, all of it. */
export async function recordingPath(dir: string): Promise<{ PATH: string; seen(): Promise<string> }> {
  const record = path.join(dir, "environments");
  for (const program of ["git", "nix", "nix-instantiate", "nix-store", "ssh-keygen"]) {
    const real = await succeed("sh", ["-c", 'command -v "$0"', program]);
    const script = `#!/bin/sh\n{ env; echo "$@"; } >> ${record}\nexec ${real} "$@"\n`;
    await writeFile(path.join(dir, program), script, { mode: 0o755 });
  }
  return { PATH: `${dir}:${process.env.PATH}`, seen: () => readFile(record, "utf8") };
}

/** The line of a table that is this host's. */
export function lineOf(host: string, output: string): string {
  const line = output.split("\n").find((candidate) => candidate.split(/\s+/).includes(host));
  if (line === undefined) throw new Error(`there is no line of ${host}:\n${output}`);
  return line;
}

/** What a document says of a host. */
export function hostIn<T extends { name: string }>(document: { hosts: readonly T[] }, name: string): T {
  const host = document.hosts.find((candidate) => candidate.name === name);
  if (host === undefined) throw new Error(`the document has no ${name}`);
  return host;
}
