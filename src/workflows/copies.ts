// Bento's own workflows are written to be called. A fleet that would rather see what runs gets copies, which start by themselves.

/** The Action; its tag moves with each release of this major version. */
export const ACTION = "bento-nix/bento";

interface Original {
  /** What starts the copy. */
  on: string;
}

const ORIGINALS: Record<string, Original> = {
  check: { on: "  pull_request:\n  merge_group:\n" },
  comment: { on: "  workflow_run:\n    workflows: [bento check]\n    types: [completed]\n" },
  deploy: { on: "  push:\n    branches: [main]\n  workflow_dispatch:\n" },
  status: {
    on: '  schedule:\n    - cron: "17 * * * *"\n  workflow_run:\n    workflows: [bento deploy]\n    types: [completed]\n  workflow_dispatch:\n',
  },
  update: { on: '  schedule:\n    - cron: "43 4 * * 1"\n  workflow_dispatch:\n' },
};

/** The names of those that are copied: NAME.yml in this repository's .github/workflows. */
export const COPIED: readonly string[] = Object.keys(ORIGINALS);

/** What the callers of the originals may set: in copies it is written out, or asked of a variable of the repository's. */
const INPUTS: Record<string, string> = {
  fleet: ".",
  nixpkgs: "channel:nixos-26.05",
  wait: "1h",
  // biome-ignore lint/suspicious/noTemplateCurlyInString: as below.
  runner: "${{ vars.BENTO_RUNNER }}",
  cache: "file:///var/lib/bento-runner/cache",
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is an expression of a workflow's.
  shards: "${{ vars.BENTO_SHARDS }}",
};

/** A fleet's workflows by their file, of the originals' texts by their name. */
export function workflowCopies(originals: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(ORIGINALS).map(([name, original]) => [
      `.github/workflows/bento-${name}.yml`,
      copy(name, originals[name] ?? "", original),
    ]),
  );
}

function copy(name: string, text: string, { on }: Original): string {
  return text
    .replace(/^name: .*$/m, `name: bento ${name}`)
    .replace(/^on:\n(?: .*\n)+/m, `on:\n${on}`)
    .replace(/^ *# Bento, as of the commit.*\n.*\n *with:\n(?: {10}.*\n)+/gm, "")
    .replaceAll("uses: ./.bento", `uses: ${ACTION}@v1`)
    .replaceAll(/\$\{\{ inputs\.(\w+) \}\}/g, (_, input: string) => INPUTS[input] ?? "")
    .replaceAll(/\binputs\.shards\b/g, "vars.BENTO_SHARDS")
    .replaceAll(/\binputs\.runner\b/g, "vars.BENTO_RUNNER")
    .replace(/ Who calls this from a workflow[^.]*\./s, "");
}
