import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { packageVersion } from "../../src/platform/package.ts";
import { actionOf } from "../../src/workflows/copies.ts";
import { keys, type Workflow } from "../../src/workflows/workflow.ts";
import { exec } from "../support/programs.ts";
import { runStep } from "./runner.ts";

// The jobs of a workflow, one step after the other, as a runner goes through them: conditions, outputs, artifacts, and what of a failure
// goes on. Scripts run in bash, the Action as it is committed; checkouts are there already, and Nix is.

type Outcome = "success" | "failure" | "skipped";

export interface JobResult {
  result: Outcome;
  outputs: Record<string, string>;
  /** What each step became, by its id or its name, as far as it has one. */
  steps: Record<string, Outcome>;
  /** What the steps printed. */
  log: string;
}

export interface JobOptions {
  workspace: string;
  event: object;
  /** The job's token, which the Action has by itself. */
  token: string;
  env: Readonly<Record<string, string>>;
}

/** One run of a workflow: its jobs see each other's results and artifacts. */
export class WorkflowRun implements AsyncDisposable {
  readonly results: Record<string, JobResult> = {};
  readonly #workflow: Workflow;
  readonly #dir: string;

  private constructor(workflow: Workflow, dir: string) {
    this.#workflow = workflow;
    this.#dir = dir;
  }

  static async start(workflow: Workflow): Promise<WorkflowRun> {
    return new WorkflowRun(workflow, await mkdtemp(path.join(tmpdir(), "bento-test-")));
  }

  /** The files of an artifact; none when there is no such artifact. */
  async artifact(name: string): Promise<string[]> {
    return (await readdir(path.join(this.#dir, "artifacts", name)).catch(() => [])).sort();
  }

  async run(id: string, { workspace, event, token, env }: JobOptions): Promise<JobResult> {
    const job = this.#workflow.jobs.find((one) => one.id === id);
    if (job === undefined) throw new Error(`no job is called ${id}`);
    const temp = path.join(this.#dir, id);
    await mkdir(temp);
    const needs = Object.fromEntries(job.needs.map((need) => [need, this.results[need] ?? { outputs: {} }]));
    const done: JobResult = { result: "success", outputs: {}, steps: {}, log: "" };
    this.results[id] = done;
    const isGood = job.needs.every((need) => this.results[need]?.result === "success");
    const known = { github: { token }, needs, runner: { temp } };
    if (!holds(job.keys.if, { ...known, steps: {} }, isGood)) {
      done.result = "skipped";
      return done;
    }
    const steps: Record<string, { outcome: Outcome; outputs: Record<string, string> }> = {};
    for (const { keys: step } of job.steps)
      if (typeof step.id === "string") steps[step.id] = { outcome: "skipped", outputs: {} };
    const all = { ...known, steps };
    const text = (value: unknown) =>
      String(value).replaceAll(/\$\{\{(.*?)\}\}/g, (_, one: string) => evaluate(one, all));
    const texts = (values: unknown) =>
      Object.fromEntries(Object.entries(keys(values)).map(([name, value]) => [name, text(value)]));
    for (const { keys: step, with: given } of job.steps) {
      const ran = holds(step.if, all, done.result === "success")
        ? await this.#step(step, texts(given), { workspace, event, token, temp, env: { ...env, ...texts(step.env) } })
        : { outcome: "skipped" as const, outputs: {}, log: "" };
      done.log += ran.log;
      done.steps[String(step.id ?? step.name ?? step.uses)] = ran.outcome;
      if (typeof step.id === "string") steps[step.id] = ran;
      if (ran.outcome === "failure" && step["continue-on-error"] !== true) done.result = "failure";
    }
    done.outputs = texts(job.keys.outputs);
    return done;
  }

  async #step(
    { uses, run }: Readonly<Record<string, unknown>>,
    given: Record<string, string>,
    { workspace, event, token, temp, env }: JobOptions & { temp: string },
  ): Promise<{ outcome: Outcome; outputs: Record<string, string>; log: string }> {
    if (typeof run === "string") {
      const [script, output] = [path.join(temp, "script.sh"), path.join(temp, "output")];
      await writeFile(script, run);
      await writeFile(output, "");
      const exit = await exec("bash", ["--noprofile", "--norc", "-e", script], {
        cwd: workspace,
        env: { ...env, RUNNER_TEMP: temp, GITHUB_OUTPUT: output },
      });
      const written = await readFile(output, "utf8");
      for (const file of [script, output]) await rm(file);
      const lines = written.split("\n").filter((line) => line !== "");
      const outputs = Object.fromEntries(lines.map((line) => line.split(/=(.*)/s) as [string, string]));
      return { outcome: exit.status === 0 ? "success" : "failure", outputs, log: exit.stdout + exit.stderr };
    }
    const action = String(uses).replace(/@[0-9a-f]{40}$/, "");
    if (action === actionOf(packageVersion())) {
      const step = await runStep({ workspace, inputs: { token, ...given }, event, env });
      if (step.outputs.document !== undefined) {
        step.outputs.document = path.join(temp, path.basename(step.outputs.document));
        await writeFile(step.outputs.document, JSON.stringify(step.document));
      }
      return { outcome: step.status === 0 ? "success" : "failure", outputs: step.outputs, log: step.stdout };
    }
    const place = path.join(this.#dir, "artifacts", given.name ?? "");
    switch (action) {
      case "actions/checkout":
      case "cachix/install-nix-action":
        return { outcome: "success", outputs: {}, log: "" };
      case "actions/upload-artifact":
        await mkdir(place, { recursive: true });
        // All of them come from one directory, and so lie beside each other; lines that are empty are none.
        for (const file of (given.path ?? "").split("\n").filter((line) => line.trim() !== ""))
          await copyFile(file, path.join(place, path.basename(file)));
        return { outcome: "success", outputs: {}, log: "" };
      case "actions/download-artifact": {
        const files = await readdir(place).catch(() => null);
        if (files === null) return { outcome: "failure", outputs: {}, log: `no artifact ${given.name}\n` };
        await mkdir(given.path ?? "", { recursive: true });
        for (const file of files) await copyFile(path.join(place, file), path.join(given.path ?? "", file));
        return { outcome: "success", outputs: {}, log: "" };
      }
      default:
        throw new Error(`nobody knows what ${action} does`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#dir, { recursive: true, force: true });
  }
}

/** A condition: without a word of how things are, it also asks that nothing has failed. */
function holds(condition: unknown, known: Readonly<Record<string, unknown>>, isGood: boolean): boolean {
  const text = String(condition ?? "true").replace(/^\$\{\{(.*)\}\}$/s, "$1");
  const asks = /\b(?:always|cancelled|failure|success)\(\)/.test(text);
  return evaluate(text, known) === "true" && (asks || isGood);
}

/** An expression, as far as these are JavaScript's; what isn't there is empty text. */
function evaluate(expression: string, known: Readonly<Record<string, unknown>>): string {
  const all = { ...known, cancelled: () => false, always: () => true };
  const value: unknown = new Function(...Object.keys(all), `return ${expression};`)(...Object.values(all).map(lenient));
  return String(value ?? "");
}

function lenient(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  return new Proxy(value, { get: (target, name) => lenient(Reflect.get(target, name) ?? "") });
}
