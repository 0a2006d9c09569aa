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
  ["noDefaultPermissions", "permissions: {}\n", "", ["w.yml:1: permissions are not set"]],
  ["noDefaultPermissions", "permissions: {}", "permissions: read-all", ["w.yml:4: every job has these permissions"]],
  ["noDefaultPermissions", "permissions: {}", "permissions: { contents: write }", ["w.yml:4: every job has these"]],
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
  // Reviews and their comments run the pull request's own workflow, as it does.
  ...["pull_request_review", "pull_request_review_comment"].map(
    (event): [keyof typeof RULES, string, string, string[]] => [
      "noSecretsForPullRequests",
      "  pull_request:\n  push: { branches: [main] }\npermissions: {}\njobs:\n  check:\n    if: github.event_name == 'pull_request'",
      `  ${event}:\npermissions: {}\njobs:\n  check:\n    if: github.event_name == '${event}'\n    env: { KEY: "\${{ secrets.KEY }}" }`,
      ["w.yml:5: the job check runs for pull requests, and is given secrets"],
    ],
  ),
  // Where nothing stands there is no environment.
  [
    "noSecretsForPullRequests",
    "runs-on: ubuntu-latest\n    permissions",
    'runs-on: ubuntu-latest\n    environment: ""\n    permissions',
    [],
  ],
  // What pull requests don't start.
  ...["github.event_name != 'pull_request'", "github.ref == 'refs/heads/main'", "(  'push' == github.event_name )"].map(
    (condition): [keyof typeof RULES, string, string, string[]] => [
      "noSecretsForPullRequests",
      "github.event_name == 'push'",
      condition,
      [],
    ],
  ),
  [
    "noSecretsForPullRequests",
    "github.event_name == 'push'",
    "startsWith(github.ref, 'refs/')",
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
  ["noOwnRunnersForForks", "ubuntu-latest", "self-hosted", ["w.yml:8: the job check runs pull requests, of forks too"]],
  ["noOwnRunnersForForks", "ubuntu-latest", "[self-hosted, x64]", ["w.yml:8: the job check runs pull requests"]],
  ["noOwnRunnersForForks", "ubuntu-latest", "{ group: ours }", ["w.yml:8: the job check runs pull requests"]],
  ["noOwnRunnersForForks", "ubuntu-latest", '"${{ inputs.runner }}"', ["w.yml:8: the job check runs pull requests"]],
  ["noOwnRunnersForForks", "ubuntu-latest", "ubuntu-ours", ["w.yml:8: the job check runs pull requests"]],
  ["noOwnRunnersForForks", "ubuntu-latest", "ubuntu-24.04-ours", ["w.yml:8: the job check runs pull requests"]],
  ["noOwnRunnersForForks", "ubuntu-latest", "[ubuntu-latest, ours]", ["w.yml:8: the job check runs pull requests"]],
  ["noOwnRunnersForForks", "ubuntu-latest", "[ubuntu-24.04-arm]", []],
  ["noOwnRunnersForForks", "ubuntu-latest", "macos-15-xlarge", []],
  ["noOwnRunnersForForks", "ubuntu-latest", "windows-11-arm", []],
  [
    "noOwnRunnersForForks",
    "ubuntu-latest",
    '"${{ matrix.on }}"\n    strategy: { matrix: { on: [ubuntu-latest, ubuntu-24.04-arm] } }',
    [],
  ],
  [
    "noOwnRunnersForForks",
    "ubuntu-latest",
    '"${{ matrix.on }}"\n    strategy: { matrix: { on: [ubuntu-latest], include: [{ on: ours }] } }',
    ["w.yml:8: the job check runs pull requests"],
  ],
  [
    "noOwnRunnersForForks",
    "ubuntu-latest",
    '"${{ matrix.on }}"\n    strategy: { matrix: { on: "${{ fromJSON(vars.RUNNERS) }}" } }',
    ["w.yml:8: the job check runs pull requests"],
  ],
  [
    "noOwnRunnersForForks",
    "  pull_request:\n  push: { branches: [main] }\npermissions: {}\njobs:\n  check:\n    if: github.event_name == 'pull_request'\n    runs-on: ubuntu-latest",
    "  pull_request_review:\npermissions: {}\njobs:\n  check:\n    runs-on: self-hosted",
    ["w.yml:6: the job check runs pull requests, of forks too"],
  ],
  [
    "noOwnRunnersForForks",
    "'pull_request'\n    runs-on: ubuntu-latest",
    "'pull_request' && github.event.pull_request.head.repo.full_name == github.repository\n    runs-on: self-hosted",
    [],
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
  ["deploysInEnvironment", "    environment: fleet\n", "", ["w.yml:17: the job deploy deploys without an environment"]],
  ["deploysInEnvironment", "environment: fleet", 'environment: ""', ["w.yml:17: the job deploy deploys without an"]],
  ["deploysInEnvironment", "environment: fleet", "environment:", ["w.yml:17: the job deploy deploys without an"]],
  [
    "deploysInEnvironment",
    "environment: fleet",
    "environment: { url: x }",
    ["w.yml:17: the job deploy deploys without"],
  ],
  ["deploysInEnvironment", "environment: fleet", "environment: { name: fleet }", []],
  [
    "deploysInEnvironment",
    "environment: fleet",
    "environment: \"${{ github.ref == 'refs/heads/main' && 'fleet' || '' }}\"",
    ["w.yml:17: the job deploy deploys without an environment"],
  ],
  [
    "deploysOneByOne",
    "    concurrency: { group: bento-deploy, cancel-in-progress: false }\n",
    "",
    ["w.yml:17: the job deploy deploys without a concurrency group"],
  ],
  // Groups that every run, or every wave of it, has of its own.
  ...[
    "${{ github.run_id }}",
    "deploy-${{ github.sha }}",
    "deploy-${{ github['run_number'] }}",
    "${{ github.head_ref || github.run_id }}",
    "deploy-${{ matrix.wave }}",
    "deploy-${{ github.event_name }}",
    "${{ github.event_name == 'schedule' && 'bento-deploy' || github.run_id }}",
  ].map((group): [keyof typeof RULES, string, string, string[]] => [
    "deploysOneByOne",
    "group: bento-deploy",
    `group: "${group}"`,
    [`w.yml:21: the job deploy's concurrency group, ${group}, is another one`],
  ]),
  ...[
    "${{ github.workflow }}-${{ github.ref }}",
    "deploy-${{ inputs.fleet || vars.FLEET || 'fleet' }}",
    "deploy-${{ format('{0}', github.repository) }}",
    "${{ github.event_name == 'push' && 'bento-deploy' || github.run_id }}",
  ].map((group): [keyof typeof RULES, string, string, string[]] => [
    "deploysOneByOne",
    "group: bento-deploy",
    `group: "${group}"`,
    [],
  ]),
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

/** Job that deploys by running a program, without anything that a deploy should have. */
const script = (run: string) =>
  `on: push\npermissions: {}\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: ${JSON.stringify(run)}\n`;

test.each([
  "bento deploy",
  "bento rollback --hosts nas",
  "bento push",
  "bento bootstrap nas",
  "bento trigger",
  "bento \\\n  deploy",
  "bento --fleet infra deploy",
  "set -e\nif true; then npx bento deploy; fi",
  "nix run github:bento-nix/bento/v1 -- deploy --wait 1h",
  "node .bento/dist/cli.js deploy",
  '"$HOME/bin/bento" "deploy"',
  "NAME=nas bento deploy",
  "out=$(bento push nas)",
])("%j deploys", (run) => {
  expect(problems(script(run))).toEqual([
    expect.stringContaining("w.yml:4: the job a deploys without an environment"),
    expect.stringContaining("w.yml:4: the job a deploys without a concurrency group"),
  ]);
});

test.each([
  "bento check",
  "bento build --push file:///cache",
  "bento check && git push",
  "bento render\ngit push origin deploy",
  "bento check # before the next deploy",
  "echo bento; make deploy",
  "cd bento-fleet && ./deploy",
  "sudo -u bento git push",
])("%j doesn't", (run) => {
  expect(problems(script(run))).toEqual([]);
});

test("what the Action is to do may be chosen by an expression, or by a matrix", () => {
  const deploys = (command: string, strategy = "") =>
    problems(
      GOOD.replace("{ command: deploy,", () => `{ command: ${command},`).replace(
        "    environment: fleet\n",
        () => strategy,
      ),
    );
  const without = [expect.stringContaining("deploys without an environment")];
  expect(deploys("\"${{ github.ref_name == 'main' && 'deploy' || 'check' }}\"")).toEqual(without);
  expect(deploys('"${{ matrix.do }}"', "    strategy: { matrix: { do: [build, deploy] } }\n")).toEqual(without);
  expect(deploys('"${{ matrix.do }}"', "    strategy: { matrix: { do: [build, status] } }\n")).toEqual([]);
});

test("who calls a workflow that deploys can't cut it off", () => {
  const caller = (uses: string, concurrency: string) => `on: { push: { branches: [main] } }
permissions: {}
${concurrency}jobs:
  fleet:
    permissions: { contents: read }
    uses: ${uses}
    secrets: inherit
`;
  const cut = "concurrency: { group: x, cancel-in-progress: true }\n";
  const deploy = `bento-nix/bento/.github/workflows/deploy.yml@${COMMIT}`;
  expect(problems(caller(deploy, ""))).toEqual([]);
  expect(problems(caller(deploy, cut))).toEqual([
    expect.stringContaining("w.yml:3: the deploy of the job fleet may be cut off"),
  ]);
  expect(problems(caller(`bento-nix/bento/.github/workflows/check.yml@${COMMIT}`, cut))).toEqual([]);
  // One of the repository's own is looked into.
  const own = "./.github/workflows/ship.yml";
  const ship = parseWorkflow("ship.yml", GOOD);
  const options = { floating: [], called: (uses: string) => (uses === own ? ship : null) };
  const told = (text: string) => {
    const workflow = parseWorkflow("w.yml", text);
    return workflow && workflowProblems(workflow, options);
  };
  expect(told(caller(own, cut))).toEqual([
    expect.stringContaining("w.yml:3: the deploy of the job fleet may be cut off"),
  ]);
  expect(told(caller("./.github/workflows/other.yml", cut))).toEqual([]);
});

test("on Forgejo, an action without a server is whatever the instance takes by that name", () => {
  const text = (uses: string) => script("true").replace("- run", `- uses: ${uses}\n      - run`);
  const told = (uses: string) => {
    const workflow = parseWorkflow(".forgejo/workflows/w.yml", text(uses));
    return workflow && workflowProblems(workflow, { floating: ["bento-nix/bento"] });
  };
  expect(told("https://github.com/bento-nix/bento@v1")).toEqual([]);
  expect(told("bento-nix/bento@v1")).toEqual([expect.stringContaining("bento-nix/bento@v1 is not pinned")]);
});

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

test("after another workflow: what a pull request's run left is data, and its code is not checked out", () => {
  const text = (ref: string) => `on: { workflow_run: { workflows: [check], types: [completed] } }
permissions: {}
jobs:
  comment:
    runs-on: ubuntu-latest
    permissions: { pull-requests: write }
    steps:
      - uses: actions/checkout@${COMMIT}
        with: { persist-credentials: false, ref: "${ref}" }
`;
  expect(problems(text("main"))).toEqual([]);
  expect(problems(text("${{ github.event.repository.default_branch }}"))).toEqual([]);
  for (const ref of [
    "${{ github.event.workflow_run.head_sha }}",
    "${{ github.event.workflow_run.pull_requests[0].head.sha }}",
    "${{ github.event.workflow_run['head_sha'] }}",
    "${{ fromJSON(toJSON(github.event)).workflow_run.head_sha }}",
    "${{ steps.pull.outputs.sha }}",
    "${{ needs.find.outputs.ref || github.sha }}",
    "refs/pull/7/merge",
    "${{ github.head_ref }}",
  ]) {
    expect(problems(text(ref)), ref).toEqual([expect.stringContaining("checks out a pull request's code")]);
  }
  // Such a run is of a push to this repository.
  const pushed = text("${{ github.event.workflow_run.head_sha }}").replace(
    "    runs-on",
    "    if: github.event.workflow_run.event == 'push'\n    runs-on",
  );
  expect(problems(pushed)).toEqual([]);
});

test("nor is it got in another way, on behalf of who comments", () => {
  const text = (event: string, run: string) => `on: ${event}
permissions: {}
jobs:
  answer:
    runs-on: ubuntu-latest
    permissions: { pull-requests: write }
    steps:
      - env: { NUMBER: "\${{ github.event.issue.number }}", SHA: "\${{ github.event.workflow_run.head_sha }}", TOKEN: x }
        run: ${JSON.stringify(run)}
`;
  for (const run of [
    'gh pr checkout "$NUMBER"',
    'gh pr \\\n checkout "$NUMBER"',
    'git fetch origin "pull/$NUMBER/head"\ngit checkout FETCH_HEAD',
    'git fetch origin "+refs/pull/$NUMBER/merge:x"',
    'git fetch origin "$SHA"',
    "git checkout ${SHA}",
  ]) {
    for (const event of ["issue_comment", "workflow_run", "discussion_comment", "check_run"]) {
      expect(problems(text(event, run)), run).toEqual([
        expect.stringContaining("w.yml:9: the job answer checks out a pull request's code"),
      ]);
    }
    expect(problems(text("push", run))).toEqual([]);
  }
  for (const run of ['gh pr comment "$NUMBER"', 'git fetch origin "$TOKEN"', "git checkout main"]) {
    expect(problems(text("issue_comment", run)), run).toEqual([]);
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
  expect(problems(text("    if: ${{ !cancelled() }}\n"))).toHaveLength(1);
});

test("what is no workflow, or meant to choke whoever reads it, is none", () => {
  const bomb = `a: &a [x,x,x,x,x,x,x,x,x,x]\n${["b", "c", "d", "e", "f"].map((name, n) => `${name}: &${name} [${`*${"abcde"[n]},`.repeat(10)}]\n`).join("")}on: push\njobs: {}`;
  for (const text of ["", "[]", "a: b", "on: push", "on: [push\njobs: {}", bomb]) {
    expect(parseWorkflow("w.yml", text), text.slice(0, 20)).toBeNull();
  }
  // Odd, and still read.
  expect(
    problems("on: push\npermissions: {}\njobs: { a: 1, b: { steps: 2 }, c: { steps: [3, { with: [] }] } }"),
  ).toEqual([]);
});
