// biome-ignore-all lint/suspicious/noTemplateCurlyInString: a workflow's expressions look the same.
import { expect, test } from "vitest";
import * as rules from "../../../src/workflows/rules/everywhere.ts";
import { workflowProblems } from "../../../src/workflows/rules.ts";
import { parseWorkflow } from "../../../src/workflows/workflow.ts";
import { COMMIT, script, testBroken } from "../example.ts";

testBroken(rules, [
  ["pinned", `checkout@${COMMIT}`, "checkout@v6", ["w.yml:11: actions/checkout@v6 is not pinned"]],
  ["pinned", `checkout@${COMMIT}`, `checkout@${COMMIT.slice(1)}`, ["w.yml:11: actions/checkout@"]],
  ["pinned", "bento-nix/bento@v1", "bento-nixx/bento@v1", ["w.yml:13: bento-nixx/bento@v1 is not pinned"]],
  ["pinned", "bento-nix/bento@v1", "docker://alpine:3", ["w.yml:13: docker://alpine:3 is not pinned"]],
  [
    "pinned",
    "uses: ./",
    "uses: https://example.org/a/b@main",
    ["w.yml:24: https://example.org/a/b@main is not pinned"],
  ],
  // Whose server that is, nobody knows.
  [
    "pinned",
    "bento-nix/bento@v1",
    "https://evil.example/bento-nix/bento@v1",
    ["w.yml:13: https://evil.example/bento-nix/bento@v1 is not pinned"],
  ],
  [
    "pinned",
    "bento-nix/bento@v1",
    "http://github.com/bento-nix/bento@v1",
    ["w.yml:13: http://github.com/bento-nix/bento@v1 is not pinned"],
  ],
  ["pinned", "bento-nix/bento@v1", "bento-nix/bento-too@v1", ["w.yml:13: bento-nix/bento-too@v1 is not pinned"]],
  ["pinned", "bento-nix/bento@v1", "bento-nix/bento/sub@v1", []],
  ["pinned", `checkout@${COMMIT}`, `checkout@${COMMIT}0`, ["w.yml:11: actions/checkout@"]],
  [
    "pinned",
    "jobs:\n",
    "jobs:\n  called:\n    if: github.event_name == 'push'\n    uses: a/b/.github/workflows/c.yml@main\n",
    ["w.yml:8: a/b/.github/workflows/c.yml@main is not pinned"],
  ],
  [
    "pinned",
    "    runs-on: ubuntu-latest\n",
    "    runs-on: ubuntu-latest\n    container: nixos/nix:latest\n",
    ["w.yml:9: the image nixos/nix:latest is not pinned"],
  ],
  [
    "pinned",
    "    runs-on: ubuntu-latest\n",
    "    runs-on: ubuntu-latest\n    container: { image: nixos/nix:2.34 }\n    services:\n      db: { image: db:1 }\n",
    ["w.yml:9: the image nixos/nix:2.34 is not pinned", "w.yml:11: the image db:1 is not pinned"],
  ],
  [
    "pinned",
    "    runs-on: ubuntu-latest\n",
    `    runs-on: ubuntu-latest\n    container: nixos/nix@sha256:${"a".repeat(64)}\n`,
    [],
  ],
  ["noDefaultPermissions", "permissions: {}\n", "", ["w.yml:1: permissions are not set"]],
  ["noDefaultPermissions", "permissions: {}", "permissions: read-all", ["w.yml:4: every job has these permissions"]],
  ["noDefaultPermissions", "permissions: {}", "permissions: { contents: write }", ["w.yml:4: every job has these"]],
  ["noDefaultPermissions", "permissions: {}", 'permissions: ""', ["w.yml:4: every job has these"]],
  ["noPullRequestTarget", "  pull_request:\n", "  pull_request_target:\n", ["w.yml:2: pull_request_target gives"]],
  [
    "noExpressionsInScripts",
    "github.sha",
    "github.event.pull_request.title",
    ["w.yml:15: ${{ github.event.pull_request.title }} is pasted into a script"],
  ],
  ["noExpressionsInScripts", "github.sha", "github.head_ref", ["w.yml:15: ${{ github.head_ref }} is pasted"]],
  ["noExpressionsInScripts", "github.sha", "inputs.host", ["w.yml:15: ${{ inputs.host }} is pasted"]],
  ["noExpressionsInScripts", "github.sha", "toJSON(github)", ["w.yml:15: ${{ toJSON(github) }} is pasted"]],
  ["noExpressionsInScripts", "github.sha", "github['event'].x", ["w.yml:15: ${{ github['event'].x }} is pasted"]],
  ["noExpressionsInScripts", "github.sha", "steps.a.outputs.b", ["w.yml:15: ${{ steps.a.outputs.b }} is pasted"]],
  [
    "noExpressionsInScripts",
    "{ command: check }",
    '{ script: "f(${{ github.event.issue.title }})" }',
    ["w.yml:14: ${{ github.event.issue.title }} is pasted into a script"],
  ],
  [
    "noExpressionsInScripts",
    '"\n        env: { TITLE',
    '"\n        shell: bash -c "${{ github.head_ref }}" {0}\n        env: { TITLE',
    ["w.yml:16: ${{ github.head_ref }} is pasted into a script"],
  ],
  [
    "noExpressionsInScripts",
    "permissions: {}",
    'permissions: {}\ndefaults: { run: { shell: "${{ github.head_ref }} {0}" } }',
    ["w.yml:5: ${{ github.head_ref }} is pasted into a script"],
  ],
  [
    "noExpressionsInScripts",
    "    environment: fleet\n",
    '    environment: fleet\n    defaults: { run: { shell: "${{ inputs.shell }} {0}" } }\n',
    ["w.yml:21: ${{ inputs.shell }} is pasted into a script"],
  ],
  [
    "noExpressionsInScripts",
    "uses: bento-nix/bento@v1\n        with: { command: check }",
    `uses: a/retry@${COMMIT}\n        with: { command: "make \${{ github.head_ref }}" }`,
    ["w.yml:14: ${{ github.head_ref }} is pasted into a script"],
  ],
  [
    "noExpressionsInScripts",
    "github.sha",
    "github.head_ref || github.sha",
    ["w.yml:15: ${{ github.head_ref || github.sha }} is pasted"],
  ],
  [
    "noExpressionsInScripts",
    "github.sha",
    "github.sha || github.head_ref",
    ["w.yml:15: ${{ github.sha || github.head_ref }} is pasted"],
  ],
  [
    "noExpressionsInScripts",
    'run: echo "$TITLE" "${{ github.sha }}"',
    "run: |\n          echo ${{\n            github.head_ref }}",
    ["w.yml:15: ${{ github.head_ref }} is pasted"],
  ],
  [
    "noPersistedCredentials",
    "        with: { persist-credentials: false }\n",
    "",
    ["w.yml:11: the checkout leaves the job's token"],
  ],
  [
    "noPersistedCredentials",
    "persist-credentials: false",
    "persist-credentials: true",
    ["w.yml:11: the checkout leaves"],
  ],
  ["noPersistedCredentials", "persist-credentials: false", 'persist-credentials: "false"', []],
  [
    "noPersistedCredentials",
    `actions/checkout@${COMMIT} # v6\n        with: { persist-credentials: false }`,
    `https://example.org/actions/checkout@${COMMIT}`,
    ["w.yml:11: the checkout leaves"],
  ],
  [
    "noPersistedCredentials",
    `actions/checkout@${COMMIT} # v6\n        with: { persist-credentials: false }`,
    `re-actions/checkout@${COMMIT}`,
    [],
  ],
]);

test("on Forgejo, an action without a server is whatever the instance takes by that name", () => {
  const text = (uses: string) => script("true").replace("- run", `- uses: ${uses}\n      - run`);
  const told = (uses: string) => {
    const workflow = parseWorkflow(".forgejo/workflows/w.yml", text(uses));
    return workflow && workflowProblems(workflow, { floating: ["bento-nix/bento"] });
  };
  expect(told("https://github.com/bento-nix/bento@v1")).toEqual([]);
  expect(told("bento-nix/bento@v1")).toEqual([expect.stringContaining("bento-nix/bento@v1 is not pinned")]);
});
