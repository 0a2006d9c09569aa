import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { parse } from "yaml";
import { packageRoot } from "../../src/platform/package.ts";
import { startTidy } from "../cli/bento.ts";
import { succeed } from "../support/programs.ts";

/** action.yml, as far as a runner reads it. */
export interface Definition {
  inputs: Record<string, { description: string; required?: boolean; default?: string }>;
  outputs: Record<string, { description: string }>;
  runs: { using: string; main: string };
}

export async function definition(): Promise<Definition> {
  return parse(await readFile(path.join(packageRoot(), "action.yml"), "utf8"));
}

/** What a line on stdout tells the runner to do: `::name key=value,…::data`. */
export interface WorkflowCommand {
  name: string;
  properties: Record<string, string>;
  data: string;
}

export interface StepOptions {
  /** The checkout. */
  workspace: string;
  inputs: Readonly<Record<string, string>>;
  /** The event's payload; none unless told otherwise. */
  event?: object;
  env?: Readonly<Record<string, string | undefined>>;
}

export interface Step {
  status: number;
  stdout: string;
  stderr: string;
  commands: WorkflowCommand[];
  /** What of stdout is no command. */
  log: string;
  outputs: Record<string, string>;
  summary: string;
  /** The file of the output `document`, as it was when the step had ended. */
  // biome-ignore lint/suspicious/noExplicitAny: whatever was written, which the tests look at.
  document: any;
  /** Of one level. */
  annotations(level: "error" | "warning" | "notice"): WorkflowCommand[];
}

/** Starts dist/index.js as GitHub's runner does, and reads what the runner would read. */
export async function runStep({ workspace, inputs, event, env = {} }: StepOptions): Promise<Step> {
  const { inputs: known, runs } = await definition();
  const dir = await mkdtemp(path.join(tmpdir(), "bento-test-"));
  try {
    const temp = path.join(dir, "temp");
    await mkdir(temp);
    const file = async (name: string, content: string) => {
      await writeFile(path.join(dir, name), content);
      return path.join(dir, name);
    };
    const given = Object.entries(known).map(
      ([name, input]) =>
        [
          `INPUT_${name.replaceAll(" ", "_").toUpperCase()}`,
          inputs[name] ?? input.default?.replace(/^\$\{\{ .* \}\}$/, "") ?? "",
        ] as const,
    );
    const environment = {
      CI: "true",
      GITHUB_ACTIONS: "true",
      GITHUB_WORKSPACE: workspace,
      GITHUB_OUTPUT: await file("output", ""),
      GITHUB_STEP_SUMMARY: await file("summary", ""),
      ...(event === undefined ? {} : { GITHUB_EVENT_PATH: await file("event.json", JSON.stringify(event)) }),
      RUNNER_TEMP: temp,
      ...Object.fromEntries(given),
      ...env,
    };
    const step = await startTidy(process.execPath, [path.join(packageRoot(), runs.main)], {
      cwd: workspace,
      env: environment,
    });
    const exit = await step.finished;
    const outputs = parseOutputs(await readFile(path.join(dir, "output"), "utf8"));
    const left = await readdir(temp);
    const expected = outputs.document === undefined ? [] : [path.basename(outputs.document)];
    if (left.join() !== expected.join()) throw new Error(`left in RUNNER_TEMP: ${left.join(", ")}`);
    const { commands, log } = parseLog(exit.stdout);
    return {
      ...exit,
      commands,
      log,
      outputs,
      summary: await readFile(path.join(dir, "summary"), "utf8"),
      document: outputs.document === undefined ? undefined : JSON.parse(await readFile(outputs.document, "utf8")),
      annotations: (level) => commands.filter((command) => command.name === level),
    };
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** The file format of GITHUB_OUTPUT: `name<<DELIMITER`, lines, `DELIMITER`. */
export function parseOutputs(text: string): Record<string, string> {
  const outputs: Record<string, string> = {};
  const lines = text.split("\n");
  while (lines.length > 0) {
    const line = lines.shift() ?? "";
    if (line === "") continue;
    const [, name, delimiter] = /^([^=<]+)<<(.+)$/.exec(line) ?? [];
    if (name === undefined || delimiter === undefined) throw new Error(`no output: ${line}`);
    const end = lines.indexOf(delimiter);
    if (end < 0) throw new Error(`the output ${name} has no end`);
    outputs[name] = lines
      .splice(0, end + 1)
      .slice(0, -1)
      .join("\n");
  }
  return outputs;
}

/** Reads a log as the runner does: a line that begins with `::` is a command, unless commands are stopped. */
function parseLog(text: string): { commands: WorkflowCommand[]; log: string } {
  const commands: WorkflowCommand[] = [];
  const log: string[] = [];
  let stopped: string | undefined;
  // The runner takes a carriage return for a line end as well.
  for (const line of text.split(/\r\n|\r|\n/)) {
    if (stopped !== undefined) {
      if (line === `::${stopped}::`) stopped = undefined;
      else log.push(line);
      continue;
    }
    const [, name, properties = "", data = ""] = /^\s*::([\w-]+)(?: ([^:]*))?::(.*)$/.exec(line) ?? [];
    if (name === undefined) log.push(line);
    else if (name === "stop-commands") stopped = data;
    else commands.push({ name, properties: parseProperties(properties), data: unescapeData(data) });
  }
  if (stopped !== undefined) throw new Error("commands were stopped, and never started again");
  return { commands, log: log.join("\n") };
}

function parseProperties(text: string): Record<string, string> {
  const pairs = text.split(",").filter((pair) => pair !== "");
  return Object.fromEntries(
    pairs.map((pair) => {
      const [name = "", value = ""] = pair.split(/=(.*)/s);
      return [name, unescapeData(value.replaceAll("%3A", ":").replaceAll("%2C", ","))];
    }),
  );
}

function unescapeData(text: string): string {
  return text.replaceAll("%0D", "\r").replaceAll("%0A", "\n").replaceAll("%25", "%");
}

/** A checkout as actions/checkout leaves it: a detached commit, with the whole history or, with a depth, some of it. */
export async function checkout(repository: string, into: string, ref: string, depth?: number): Promise<string> {
  const commit = await succeed("git", ["rev-parse", ref], { cwd: repository });
  await succeed("git", ["init", "-q", into]);
  const git = (...args: string[]) => succeed("git", args, { cwd: into });
  await git("fetch", "-q", ...(depth === undefined ? [] : [`--depth=${depth}`]), `file://${repository}`, commit);
  await git("checkout", "-q", "--detach", "FETCH_HEAD");
  return into;
}
