// biome-ignore-all lint/suspicious/noTemplateCurlyInString: a workflow's expressions look the same.
import { expect, test } from "vitest";
import * as rules from "../../../src/workflows/rules/deploys.ts";
import { workflowProblems } from "../../../src/workflows/rules.ts";
import { parseWorkflow } from "../../../src/workflows/workflow.ts";
import { type Broken, COMMIT, DEPLOY, GOOD, problems, script, testBroken } from "../example.ts";

testBroken(rules, [
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
  ].map(
    (group): Broken<keyof typeof rules> => [
      "deploysOneByOne",
      "group: bento-deploy",
      `group: "${group}"`,
      [`w.yml:21: the job deploy's concurrency group, ${group}, is another one`],
    ],
  ),
  ...[
    "${{ github.workflow }}-${{ github.ref }}",
    "deploy-${{ inputs.fleet || vars.FLEET || 'fleet' }}",
    "deploy-${{ format('{0}', github.repository) }}",
    "${{ github.event_name == 'push' && 'bento-deploy' || github.run_id }}",
  ].map((group): Broken<keyof typeof rules> => ["deploysOneByOne", "group: bento-deploy", `group: "${group}"`, []]),
  [
    "deploysToTheEnd",
    "cancel-in-progress: false",
    "cancel-in-progress: true",
    ["w.yml:21: the deploy of the job deploy may be cut off"],
  ],
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
  ["deploysToTheEnd", "cancel-in-progress: false", 'cancel-in-progress: "false"', []],
  ["deploysToTheEnd", ", cancel-in-progress: false", "", []],
  [
    "deploysToTheEnd",
    "cancel-in-progress: false",
    "cancel-in-progress: true",
    ["w.yml:21: the deploy of the job deploy may be cut off"],
  ],
]);

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
