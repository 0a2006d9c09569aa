import { expect, test } from "vitest";
import * as deploys from "../../src/workflows/rules/deploys.ts";
import * as everywhere from "../../src/workflows/rules/everywhere.ts";
import * as pullRequests from "../../src/workflows/rules/pull-requests.ts";
import { RULES } from "../../src/workflows/rules.ts";
import { parseWorkflow } from "../../src/workflows/workflow.ts";
import { COMMIT, GOOD, problems } from "./example.ts";

test("a workflow that breaks none of them", () => {
  expect(problems(GOOD)).toEqual([]);
});

test("every rule that there is counts", () => {
  expect(Object.keys(RULES).sort()).toEqual(Object.keys({ ...everywhere, ...pullRequests, ...deploys }).sort());
});

test("what is found stands in the order of the file, whichever rule it is of", () => {
  const text = GOOD.replace("cancel-in-progress: false", "cancel-in-progress: true")
    .replace("permissions: {}\n", "")
    .replace(`checkout@${COMMIT}`, "checkout@v6")
    .replace("github.sha", "github.head_ref");
  expect(problems(text).map((line) => Number(line.split(":")[1]))).toEqual([1, 10, 14, 20]);
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
