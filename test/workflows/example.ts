// biome-ignore-all lint/suspicious/noTemplateCurlyInString: a workflow's expressions look the same.
import { expect, test } from "vitest";
import type { Rule } from "../../src/workflows/rule.ts";
import { workflowProblems } from "../../src/workflows/rules.ts";
import { parseWorkflow } from "../../src/workflows/workflow.ts";

export const COMMIT = "0123456789abcdef0123456789abcdef01234567";
/** A workflow that checks pull requests and deploys what is merged, and breaks no rule. */
export const GOOD = `on:
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

/** From where its job that deploys says how it runs, to its end. */
export const DEPLOY = GOOD.slice(GOOD.indexOf("    environment: fleet\n"));

/** What is said of a workflow, with Bento's Action left to move. */
export function problems(text: string): string[] {
  const workflow = parseWorkflow("w.yml", text);
  if (workflow === null) throw new Error("no workflow");
  return workflowProblems(workflow, { floating: ["bento-nix/bento"] });
}

/** A job that runs a script, with nothing of what a deploy should have. */
export const script = (run: string) =>
  `on: push\npermissions: {}\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: ${JSON.stringify(run)}\n`;

/** A rule; what is changed in the workflow above, into what; and how each line begins that is then said. */
export type Broken<Name> = readonly [rule: Name, from: string, to: string, said: readonly string[]];

/** Tests of a file's rules: each of them is broken, and in all its parts. */
export function testBroken<Name extends string>(rules: Record<Name, Rule>, broken: readonly Broken<Name>[]): void {
  test.each(broken)("%s: %j → %j", (_rule, from, to, said) => {
    const text = GOOD.replace(from, () => to);
    expect(text).not.toBe(GOOD);
    const found = problems(text);
    expect(found).toEqual(said.map((start) => expect.stringContaining(start)));
    for (const line of found) expect(line).toMatch(/ \(.+\)$/);
  });

  test("every rule is broken above", () => {
    expect([...new Set(broken.map(([rule]) => rule))].sort()).toEqual(Object.keys(rules).sort());
  });
}
