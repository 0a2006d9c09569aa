import { createHash } from "node:crypto";

// Bento's own workflows are written to be called. A fleet that would rather see what runs gets copies, which start by themselves.

/** The Action; a tag moves with each release of a major version. */
export const ACTION = "bento-nix/bento";

/** `uses:` of the Action by the tag of a version's major one. It is there as soon as that version is released. */
export function actionOf(version: string): string {
  return `${ACTION}@v${version.split(".")[0]}`;
}

interface Original {
  /** What starts the copy. `called` is the name of another one. */
  on: (called: (name: string) => string) => string;
  /** The variable that has the labels of a machine of one's own. */
  runner?: string;
}

const ORIGINALS: Record<string, Original> = {
  check: { on: () => "  pull_request:\n  merge_group:\n", runner: "BENTO_CHECK_RUNNER" },
  comment: {
    on: (called) => `  workflow_run:\n    workflows: [${called("check")}]\n    types: [completed]\n`,
  },
  deploy: { on: () => "  push:\n    branches: [main]\n  workflow_dispatch:\n", runner: "BENTO_RUNNER" },
  status: {
    on: (called) =>
      `  schedule:\n    - cron: "17 * * * *"\n  workflow_run:\n    workflows: [${called("deploy")}]\n    types: [completed]\n  workflow_dispatch:\n`,
  },
  update: { on: () => '  schedule:\n    - cron: "43 4 * * 1"\n  workflow_dispatch:\n' },
};

/** The names of those that are copied: NAME.yml in this repository's .github/workflows. */
export const COPIED: readonly string[] = Object.keys(ORIGINALS);

/** What the callers of the originals may set: in copies it is written out, or asked of a variable of the repository's. */
const INPUTS: Record<string, string> = {
  environment: "fleet",
  nixpkgs: "channel:nixos-26.05",
  wait: "1h",
  cache: "file:///var/lib/bento-runner/cache",
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is an expression of a workflow's.
  shards: "${{ vars.BENTO_SHARDS }}",
};

export interface Copied {
  /** Bento's, whose Action they run. */
  version: string;
  /** The texts of COPIED, by their name. */
  originals: Readonly<Record<string, string>>;
  /** The fleet's directory in its repository, with `/` between the parts; `.` for all of it. */
  fleet: string;
}

/** A fleet's workflows by their file, from the repository's top. */
export function workflowCopies(copied: Copied): Record<string, string> {
  return Object.fromEntries(
    Object.entries(ORIGINALS).map(([name, original]) => [
      `.github/workflows/bento${endOf(copied.fleet)}-${name}.yml`,
      copy(name, original, copied),
    ]),
  );
}

/**
 * What names end in that no two fleets of a repository may share: files, artifacts, branches, groups. The same that the originals
 * make of their input: nothing at the top, or the place as far as such names have room for it.
 */
export function endOf(fleet: string): string {
  if (fleet === ".") return "";
  if (/^[\w/-]+$/.test(fleet)) return `-${fleet.replaceAll("/", "+")}`;
  return `-${createHash("sha256").update(fleet).digest("hex").slice(0, 12)}`;
}

function copy(name: string, { on, runner = "" }: Original, { version, fleet, originals }: Copied): string {
  const called = (one: string) => (fleet === "." ? `bento ${one}` : quoted(`bento ${one} (${fleet})`));
  const inputs: Record<string, string> = { ...INPUTS, fleet: quoted(fleet) };
  return (
    (originals[name] ?? "")
      .replace(/^name: .*$/m, () => `name: ${called(name)}`)
      .replace(/^on:\n(?: .*\n)+/m, () => `on:\n${on(called)}`)
      .replace(/^ *# Bento, as of the commit.*\n.*\n *with:\n(?: {10}.*\n)+/gm, "")
      .replaceAll("uses: ./.bento", `uses: ${actionOf(version)}`)
      // What is made of the input each time is known here.
      .replace(/^ *# Fleets of one repository.*\n(?: {6}- .*\n)(?: {8}.*\n)+/gm, "")
      .replace(/^ *end: .*\n/gm, "")
      .replace(/^ {4}outputs:\n(?! {6})/gm, "")
      .replaceAll(/\$\{\{ (?:steps\.names|needs\.\w+)\.outputs\.end \}\}/g, () => endOf(fleet))
      .replaceAll(/^( *group: .*)-\$\{\{ inputs\.fleet \}\}$/gm, (_, group: string) => `${group}${endOf(fleet)}`)
      .replaceAll(/\binputs\.runner\b/g, `vars.${runner}`)
      .replaceAll(/\$\{\{ inputs\.(\w+) \}\}/g, (_, input: string) => inputs[input] ?? "")
      .replaceAll(/\binputs\.shards\b/g, "vars.BENTO_SHARDS")
      .replace(/ Who calls this from a workflow[^.]*\./s, "")
  );
}

/** As YAML has it: JSON's strings are YAML's. */
function quoted(text: string): string {
  return /^[\w.][\w./-]*$/.test(text) ? text : JSON.stringify(text);
}
