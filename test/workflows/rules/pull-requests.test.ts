// biome-ignore-all lint/suspicious/noTemplateCurlyInString: a workflow's expressions look the same.
import { expect, test } from "vitest";
import * as rules from "../../../src/workflows/rules/pull-requests.ts";
import { type Broken, COMMIT, GOOD, problems, testBroken } from "../example.ts";

testBroken(rules, [
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
    (event): Broken<keyof typeof rules> => [
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
    (condition): Broken<keyof typeof rules> => [
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
    "noOwnRunnersForForks",
    "ubuntu-latest",
    "our-ubuntu-latest",
    ["w.yml:8: the job check runs pull requests, of forks too, on our-ubuntu-latest"],
  ],
  ["noOwnRunnersForForks", "ubuntu-latest", "[ubuntu-latest]", []],
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
]);

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

test("after another workflow: the same, for each event that runs with this repository's rights", () => {
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
