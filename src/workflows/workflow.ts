import { isMap, isNode, LineCounter, parseDocument } from "yaml";

/** A workflow of GitHub's or Forgejo's, as far as anything here looks at it. Nothing in it is taken for granted. */
export interface Workflow {
  /** Its path, for people. */
  file: string;
  /** The events that start it. */
  events: readonly string[];
  /** The branches that a push to starts it, as it has them; null when it is any, or none is named. */
  pushBranches: readonly string[] | null;
  /** Its top, without `on` and `jobs`. */
  top: Keys;
  jobs: readonly Job[];
  /** The line on which what a path of keys leads to begins, from 1. */
  lineOf(path: Path): number;
}

export interface Job {
  id: string;
  path: Path;
  keys: Keys;
  /** The jobs that it waits for. */
  needs: readonly string[];
  steps: readonly Step[];
}

export interface Step {
  path: Path;
  keys: Keys;
  /** What it is given by `with`. */
  with: Keys;
}

export type Keys = Readonly<Record<string, unknown>>;
export type Path = readonly (string | number)[];

/** What GitHub reads at most; more than this is no workflow of a person's. */
const MAX_SIZE = 1 << 20;

/** Reads a workflow's text; null for what is none. */
export function parseWorkflow(file: string, text: string): Workflow | null {
  if (text.length > MAX_SIZE) return null;
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, logLevel: "silent" });
  if (document.errors.length > 0 || !isMap(document.contents)) return null;
  let content: Keys;
  try {
    content = keys(document.toJS({ maxAliasCount: 100 }));
  } catch {
    return null;
  }
  const { on, jobs, ...top } = content;
  if (on === undefined || jobs === undefined) return null;
  return {
    file,
    events: typeof on === "string" ? [on] : Array.isArray(on) ? on.map(String) : Object.keys(keys(on)),
    pushBranches: branchesOf(keys(keys(on).push).branches),
    top,
    jobs: Object.entries(keys(jobs)).map(([id, job]) => readJob(id, keys(job))),
    lineOf: (path) => {
      for (let depth = path.length; depth > 0; depth--) {
        const parent = document.getIn(path.slice(0, depth - 1), true);
        const key = isMap(parent) ? parent.items.find((item) => String(item.key) === path[depth - 1])?.key : undefined;
        const node = key ?? document.getIn(path.slice(0, depth), true);
        if (isNode(node) && node.range) return lines.linePos(node.range[0]).line;
      }
      return 1;
    },
  };
}

function branchesOf(branches: unknown): string[] | null {
  if (typeof branches === "string") return [branches];
  return Array.isArray(branches) ? branches.map(String) : null;
}

function readJob(id: string, job: Keys): Job {
  const { steps, needs } = job;
  return {
    id,
    path: ["jobs", id],
    keys: job,
    needs: typeof needs === "string" ? [needs] : Array.isArray(needs) ? needs.map(String) : [],
    steps: (Array.isArray(steps) ? steps : []).map((step, index) => ({
      path: ["jobs", id, "steps", index],
      keys: keys(step),
      with: keys(keys(step).with),
    })),
  };
}

/** A mapping's keys; none of anything else. */
export function keys(value: unknown): Keys {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Keys) : {};
}

/** A text as it is; of anything else none. */
export function stringOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** All text in a value, keys left out. */
export function texts(value: unknown): string[] {
  if (typeof value === "string") return [value];
  if (typeof value !== "object" || value === null) return [];
  return Object.values(value).flatMap(texts);
}

/** The insides of every `${{ … }}` in a text. */
export function expressions(text: string): string[] {
  return [...text.matchAll(/\$\{\{(.*?)\}\}/gs)].map((match) => (match[1] ?? "").trim());
}

/** What an expression looks at, such as `github.event.number`: also where it is written `github['event'].number`. */
export function contexts(expression: string): string[] {
  const names =
    /(?<![\w.'-])(?:github|env|vars|job|jobs|steps|runner|secrets|strategy|matrix|needs|inputs)\b(?:\s*\.\s*[\w*-]+|\s*\[[^\]]*\])*/gi;
  return [...expression.matchAll(names)].map(([name]) =>
    name.replaceAll(/\s*\[\s*'?([^\]']*)'?\s*\]/g, ".$1").replaceAll(/\s/g, ""),
  );
}

/** Whether a step is GitHub's own checkout. */
export function isCheckout({ keys: { uses } }: Step): boolean {
  return typeof uses === "string" && /(?:^|\/)actions\/checkout@/.test(uses);
}
