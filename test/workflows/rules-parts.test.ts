// Each part of each rule: what is left out of one, or put into it, makes one of these fail. rules.test.ts has whole workflows.
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: a workflow's expressions look the same.
import { expect, test } from "vitest";
import { RULES, workflowProblems } from "../../src/workflows/rules.ts";
import { parseWorkflow } from "../../src/workflows/workflow.ts";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";
const GOOD = `on:
  pull_request:
  push: { branches: [main] }
permissions: {}
jobs:
  check:
    if: github.event_name == 'pull_request'
    runs-on: ubuntu-latest
    permissions: { contents: read }
    steps:
      - uses: actions/checkout@${COMMIT} # v6
        with: { persist-credentials: false }
      - uses: bento-nix/bento@v1
        with: { command: check }
      - run: echo "$TITLE" "\${{ github.sha }}"
        env: { TITLE: "\${{ github.event.pull_request.title }}" }
  deploy:
    if: github.event_name == 'push'
    runs-on: ubuntu-latest
    environment: fleet
    concurrency: { group: bento-deploy, cancel-in-progress: false }
    permissions: { contents: read }
    steps:
      - uses: ./
        with: { command: deploy, ssh-key: "\${{ secrets.BENTO_SSH_KEY }}" }
`;

/** From where the deploy's job says how it runs, to its end. */
const DEPLOY = GOOD.slice(GOOD.indexOf("    environment: fleet\n"));

function problems(text: string): string[] {
  const workflow = parseWorkflow("w.yml", text);
  if (workflow === null) throw new Error("no workflow");
  return workflowProblems(workflow, { floating: ["bento-nix/bento"] });
}

test("a workflow that breaks none of them", () => {
  expect(problems(GOOD)).toEqual([]);
});

// What is changed in the workflow above, into what, and what is then said of it.
const BROKEN: [keyof typeof RULES, string, string, string[]][] = [
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
  ["pinned", "bento-nix/bento@v1", "bento-nix/bento-too@v1", ["w.yml:13: bento-nix/bento-too@v1 is not pinned"]],
  ["pinned", "bento-nix/bento@v1", "bento-nix/bento/sub@v1", []],
  ["pinned", `checkout@${COMMIT}`, `checkout@${COMMIT}0`, ["w.yml:11: actions/checkout@"]],
  [
    "pinned",
    "jobs:\n",
    "jobs:\n  called:\n    if: github.event_name == 'push'\n    uses: a/b/.github/workflows/c.yml@main\n",
    ["w.yml:8: a/b/.github/workflows/c.yml@main is not pinned"],
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
    "noExpressionsInScripts",
    "{ command: check }",
    '{ script: "f(${{ github.event.issue.title }})" }',
    ["w.yml:14: ${{ github.event.issue.title }} is pasted into a script"],
  ],
  [
    "noSecretsForPullRequests",
    "{ command: check }",
    '{ command: check, ssh-key: "${{ secrets.BENTO_SSH_KEY }}" }',
    ["w.yml:6: the job check runs for pull requests, and is given secrets"],
  ],
  [
    "noSecretsForPullRequests",
    "    if: github.event_name == 'push'\n",
    "",
    [
      "w.yml:17: the job deploy runs for pull requests, and is given secrets",
      "w.yml:17: the job deploy runs for pull requests, and runs in an environment",
    ],
  ],
  [
    "noSecretsForPullRequests",
    "github.event_name == 'push'",
    "github.event_name == 'push' || always()",
    ["w.yml:17: the job deploy runs", "w.yml:17: the job deploy runs"],
  ],
  [
    "noSecretsForPullRequests",
    "permissions: {}",
    'permissions: {}\nenv: { KEY: "${{ secrets.KEY }}" }',
    ["w.yml:5: every job, also for pull requests, is given secrets"],
  ],
  [
    "noSecretsForPullRequests",
    "{ contents: read }\n    steps:\n      - uses: actions",
    "{ contents: write }\n    steps:\n      - uses: actions",
    ["w.yml:6: the job check runs for pull requests, and may write contents"],
  ],
  [
    "noSecretsForPullRequests",
    "  pull_request:\n  push: { branches: [main] }",
    "  workflow_run: { workflows: [ci] }\n  push: { branches: [main] }",
    [],
  ],
  [
    "noSecretsForPullRequests",
    "{ contents: read }\n    steps:\n      - uses: actions",
    "write-all\n    steps:\n      - uses: actions",
    ["w.yml:6: the job check runs for pull requests, and may write everywhere"],
  ],
  [
    "noSecretsForPullRequests",
    "{ command: check }",
    '{ command: check, key: "${{ Secrets.KEY }}" }',
    ["w.yml:6: the job check runs for pull requests, and is given secrets"],
  ],
  ["noSecretsForPullRequests", "{ command: check }", '{ github-token: "${{ secrets.GITHUB_TOKEN }}" }', []],
  [
    "noSecretsForPullRequests",
    "{ command: check }",
    '{ github-token: "${{ secrets.GITHUB_TOKEN_2 }}" }',
    ["w.yml:6: the job check runs for pull requests, and is given secrets"],
  ],
  [
    "noSecretsForPullRequests",
    "jobs:\n",
    "jobs:\n  called:\n    uses: ./.github/workflows/c.yml\n    secrets: inherit\n",
    ["w.yml:6: the job called runs for pull requests, and is given secrets"],
  ],
  [
    "noSecretsForPullRequests",
    "  pull_request:\n  push: { branches: [main] }\npermissions: {}",
    '  push: { branches: [main] }\npermissions: {}\nenv: { KEY: "${{ secrets.KEY }}" }',
    [],
  ],
  ["noSecretsForPullRequests", "github.event_name == 'push'", "${{ github.event_name == 'push' }}", []],
  [
    "noSecretsForPullRequests",
    "github.event_name == 'push'",
    "github.event_name == 'push' && github.ref == 'x' || github.actor == 'ada'",
    ["w.yml:17: the job deploy runs", "w.yml:17: the job deploy runs"],
  ],
  ["noSecretsForPullRequests", "  pull_request:\n", "  merge_group:\n", []],
  ["noOwnRunnersForForks", "ubuntu-latest", "self-hosted", ["w.yml:8: the job check runs pull requests, of forks too"]],
  ["noOwnRunnersForForks", "ubuntu-latest", "[self-hosted, x64]", ["w.yml:8: the job check runs pull requests"]],
  ["noOwnRunnersForForks", "ubuntu-latest", "{ group: ours }", ["w.yml:8: the job check runs pull requests"]],
  ["noOwnRunnersForForks", "ubuntu-latest", '"${{ inputs.runner }}"', ["w.yml:8: the job check runs pull requests"]],
  [
    "noOwnRunnersForForks",
    "'pull_request'\n    runs-on: ubuntu-latest",
    "'pull_request' && github.event.pull_request.head.repo.full_name == github.repository\n    runs-on: self-hosted",
    [],
  ],
  [
    "noOwnRunnersForForks",
    "ubuntu-latest",
    "our-ubuntu-latest",
    ["w.yml:8: the job check runs pull requests, of forks too, on our-ubuntu-latest"],
  ],
  ["noOwnRunnersForForks", "ubuntu-latest", "[ubuntu-latest]", []],
  ["noOwnRunnersForForks", "ubuntu-latest", "[ubuntu-latest, ours]", ["w.yml:8: the job check runs pull requests"]],
  [
    "noOwnRunnersForForks",
    "ubuntu-latest",
    "[]",
    ["w.yml:8: the job check runs pull requests, of forks too, on runners"],
  ],
  [
    "noOwnRunnersForForks",
    "'pull_request'\n    runs-on: ubuntu-latest",
    "'pull_request' && !github.event.pull_request.head.repo.fork\n    runs-on: self-hosted",
    [],
  ],
  [
    "noOwnRunnersForForks",
    "'pull_request'\n    runs-on: ubuntu-latest",
    "'pull_request' && github.event.pull_request.head.repo.fork == false\n    runs-on: self-hosted",
    [],
  ],
  [
    "noOwnRunnersForForks",
    "'pull_request'\n    runs-on: ubuntu-latest",
    "'pull_request' && github.event.pull_request.head.repo.fork == false && true || true\n    runs-on: self-hosted",
    ["w.yml:8: the job check runs pull requests"],
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
  ["deploysInEnvironment", "    environment: fleet\n", "", ["w.yml:17: the job deploy deploys without an environment"]],
  [
    "deploysOneByOne",
    "    concurrency: { group: bento-deploy, cancel-in-progress: false }\n",
    "",
    ["w.yml:17: the job deploy deploys without a concurrency group"],
  ],
  [
    "deploysInEnvironment",
    DEPLOY,
    "    concurrency: bento-deploy\n    steps:\n      - run: cd fleet && bento --verbose deploy\n",
    ["w.yml:17: the job deploy deploys without an environment"],
  ],
  [
    "deploysInEnvironment",
    DEPLOY,
    "    concurrency: bento-deploy\n    steps:\n      - run: bento rollback nas\n",
    ["w.yml:17: the job deploy deploys without an environment"],
  ],
  ["deploysInEnvironment", DEPLOY, "    steps:\n      - run: bento status\n", []],
  ["deploysOneByOne", "{ group: bento-deploy, cancel-in-progress: false }", "bento-deploy", []],
  [
    "deploysOneByOne",
    "    concurrency: { group: bento-deploy, cancel-in-progress: false }\n    permissions: { contents: read }\n    steps:\n      - uses: ./",
    "    permissions: { contents: read }\n    steps:\n      - uses: ./",
    ["w.yml:17: the job deploy deploys without a concurrency group"],
  ],
  [
    "deploysOneByOne",
    "group: bento-deploy",
    'group: ""',
    ["w.yml:17: the job deploy deploys without a concurrency group"],
  ],
  ["deploysToTheEnd", "cancel-in-progress: false", 'cancel-in-progress: "false"', []],
  ["deploysToTheEnd", ", cancel-in-progress: false", "", []],
  [
    "deploysToTheEnd",
    "cancel-in-progress: false",
    "cancel-in-progress: true",
    ["w.yml:21: the deploy of the job deploy may be cut off"],
  ],
  [
    "deploysToTheEnd",
    "cancel-in-progress: false",
    "cancel-in-progress: \"${{ github.ref != 'refs/heads/main' }}\"",
    ["w.yml:21: the deploy of the job deploy may be cut off"],
  ],
  [
    "deploysToTheEnd",
    "permissions: {}",
    "permissions: {}\nconcurrency: { group: x, cancel-in-progress: true }",
    ["w.yml:5: the deploy of the job deploy may be cut off"],
  ],
];

test.each(BROKEN)("%s: %j → %j", (_rule, from, to, said) => {
  const text = GOOD.replace(from, () => to);
  expect(text).not.toBe(GOOD);
  const found = problems(text);
  expect(found).toEqual(said.map((start) => expect.stringContaining(start)));
  for (const line of found) expect(line).toMatch(/ \(.+\)$/);
});

test("every rule is broken above", () => {
  expect([...new Set(BROKEN.map(([rule]) => rule))].sort()).toEqual(Object.keys(RULES).sort());
});

const COMMENT = `on: { workflow_run: { workflows: [check], types: [completed] } }
permissions: {}
jobs:
  comment:
    runs-on: ubuntu-latest
    permissions: { pull-requests: write }
    steps:
      - uses: actions/checkout@${COMMIT}
        with: { persist-credentials: false, ref: main }
`;

test("after another workflow: what a pull request's run left is data, and its code is not checked out", () => {
  const text = (event: string, ref: string) =>
    COMMENT.replace("{ workflow_run: { workflows: [check], types: [completed] } }", event).replace(
      "ref: main",
      () => `ref: "${ref}"`,
    );
  const wrong = expect.stringContaining("checks out a pull request's code");
  expect(problems(COMMENT)).toEqual([]);
  for (const ref of ["${{ github.event.workflow_run.head_sha }}", "refs/pull/7/merge", "${{ github.head_ref }}"]) {
    expect(problems(text("workflow_run", ref)), ref).toEqual([wrong]);
    // With a push it is the repository's own.
    expect(problems(text("push", ref)), ref).toEqual([]);
  }
  expect(problems(text("issue_comment", "${{ github.event.issue.number }}"))).toEqual([wrong]);
  expect(problems(text("pull_request_target", "${{ github.event.pull_request.head.sha }}"))).toEqual([
    expect.stringContaining("pull_request_target gives"),
    wrong,
  ]);
  // To be told which commit it was is no checkout of it.
  const told = COMMENT.replace("actions/checkout@", "a/b@").replace(
    "ref: main",
    'ref: "${{ github.event.workflow_run.head_sha }}"',
  );
  expect(problems(told)).toEqual([]);
});

test("what is found stands in the order of the file, whichever rule it is of", () => {
  const text = GOOD.replace("cancel-in-progress: false", "cancel-in-progress: true")
    .replace("permissions: {}\n", "")
    .replace(`checkout@${COMMIT}`, "checkout@v6")
    .replace("github.sha", "github.head_ref");
  expect(problems(text).map((line) => Number(line.split(":")[1]))).toEqual([1, 10, 14, 20]);
});

test("events are a word, a list, or keys; those of a merge queue run pull requests, too", () => {
  const on = "on:\n  pull_request:\n  push: { branches: [main] }\n";
  for (const events of ["pull_request", "[push, pull_request]", "merge_group", "[merge_group]", "{ merge_group: }"]) {
    const text = GOOD.replace(on, `on: ${events}\n`).replace("    if: github.event_name == 'push'\n", "");
    expect(problems(text), events).toEqual([
      expect.stringContaining("the job deploy runs for pull requests, and is given secrets"),
      expect.stringContaining("the job deploy runs for pull requests, and runs in an environment"),
    ]);
  }
});

test("a job that waits for one which pull requests skip is skipped, unless it asks", () => {
  const text = (condition: string) =>
    GOOD.replace(
      "jobs:\n",
      () => `jobs:
  after:
    needs: deploy
${condition}    runs-on: self-hosted
    steps: [ { run: "echo done" } ]
`,
    );
  expect(problems(text(""))).toEqual([]);
  for (const condition of ["!cancelled()", "always()", "failure()"]) {
    expect(problems(text(`    if: \${{ ${condition} }}\n`)), condition).toHaveLength(1);
  }
  // Also one that waits for a job which waits for it, wherever they stand.
  const chain = text("").replace("needs: deploy", "needs: between");
  const between = "  between:\n    needs: [deploy]\n    runs-on: self-hosted\n    steps: [ { run: echo } ]\n";
  expect(problems(chain + between)).toEqual([]);
});

test("what is no workflow, or meant to choke whoever reads it, is none", () => {
  const bomb = `a: &a [x,x,x,x,x,x,x,x,x,x]\n${["b", "c", "d", "e", "f"].map((name, n) => `${name}: &${name} [${`*${"abcde"[n]},`.repeat(10)}]\n`).join("")}on: push\njobs: {}`;
  const long = `${GOOD}# ${"x".repeat(1 << 20)}\n`;
  for (const text of ["", "[]", "a: b", "on: push", "on: [push\njobs: {}", bomb, long]) {
    expect(parseWorkflow("w.yml", text), text.slice(0, 20)).toBeNull();
  }
  // Odd, and still read.
  expect(
    problems("on: push\npermissions: {}\njobs: { a: 1, b: { steps: 2 }, c: { steps: [3, { with: [] }] } }"),
  ).toEqual([]);
});
