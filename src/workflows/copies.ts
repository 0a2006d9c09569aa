import check from "../../.github/workflows/check.yml";
import comment from "../../.github/workflows/comment.yml";
import deploy from "../../.github/workflows/deploy.yml";
import status from "../../.github/workflows/status.yml";
import update from "../../.github/workflows/update.yml";

// Bento's own workflows are written to be called. A fleet that would rather see what runs gets copies, which start by themselves.

/** The Action; its tag moves with each release of this major version. */
export const ACTION = "bento-nix/bento";

interface Original {
  text: string;
  /** What starts the copy. */
  on: string;
  /** The variable that has the labels of a machine of one's own. */
  runner?: string;
}

const ORIGINALS: Record<string, Original> = {
  check: { text: check, on: "  pull_request:\n  merge_group:\n", runner: "BENTO_CHECK_RUNNER" },
  comment: { text: comment, on: "  workflow_run:\n    workflows: [bento check]\n    types: [completed]\n" },
  deploy: { text: deploy, on: "  push:\n    branches: [main]\n  workflow_dispatch:\n", runner: "BENTO_RUNNER" },
  status: {
    text: status,
    on: '  schedule:\n    - cron: "17 * * * *"\n  workflow_run:\n    workflows: [bento deploy]\n    types: [completed]\n  workflow_dispatch:\n',
  },
  update: { text: update, on: '  schedule:\n    - cron: "43 4 * * 1"\n  workflow_dispatch:\n' },
};

/** What the callers of the originals may set: in copies it is written out, or asked of a variable of the repository's. */
const INPUTS: Record<string, string> = {
  fleet: ".",
  nixpkgs: "channel:nixos-26.05",
  wait: "1h",
  cache: "file:///var/lib/bento-runner/cache",
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is an expression of a workflow's.
  shards: "${{ vars.BENTO_SHARDS }}",
};

/** A fleet's workflows by their file. */
export function workflowCopies(): Record<string, string> {
  return Object.fromEntries(
    Object.entries(ORIGINALS).map(([name, original]) => [`.github/workflows/bento-${name}.yml`, copy(name, original)]),
  );
}

function copy(name: string, { text, on, runner = "" }: Original): string {
  return text
    .replace(/^name: .*$/m, `name: bento ${name}`)
    .replace(/^on:\n(?: .*\n)+/m, `on:\n${on}`)
    .replace(/^ *# Bento, as of the commit.*\n.*\n *with:\n(?: {10}.*\n)+/gm, "")
    .replaceAll("uses: ./.bento", `uses: ${ACTION}@v1`)
    .replaceAll(/\binputs\.runner\b/g, `vars.${runner}`)
    .replaceAll(/\$\{\{ inputs\.(\w+) \}\}/g, (_, input: string) => INPUTS[input] ?? "")
    .replaceAll(/\binputs\.shards\b/g, "vars.BENTO_SHARDS")
    .replace(/ Who calls this from a workflow[^.]*\./s, "");
}
