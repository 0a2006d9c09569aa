import { expect, test } from "vitest";
import { type AgentStatus, parseAgentStatus } from "../../src/reach/agent-status.ts";
import { judge } from "../../src/reach/outcome.ts";

const at = (started: string, outcome: string, reason: string | null = null): AgentStatus => ({
  version: 1,
  host: "nas",
  running: null,
  sequence: 1,
  suspended: null,
  upgrading: false,
  last: { sequence: 1, started, reason, outcome: outcome as "success" },
});
const none: AgentStatus = { ...at("", "success"), last: null };
const before = at("1", "success");

test.each([
  ["an attempt that succeeded", { after: at("2", "success"), exit: 0, lastLine: "success" }, true, "success", null],
  ["newer inputs", { after: at("2", "auto-updated"), exit: 0, lastLine: "" }, true, "auto-updated", null],
  [
    "one that was undone, whatever the program ended with",
    { after: at("2", "rolled-back", "no contact"), exit: 0, lastLine: "" },
    false,
    "rolled-back",
    "no contact",
  ],
  // Where no systemd is, who joins an upgrade ends with 75.
  ["one that was joined", { after: at("2", "success"), exit: 75, lastLine: "" }, true, "success", null],
  [
    "one that was seen to its end over another connection",
    { after: at("2", "refused", "why"), exit: null, lastLine: "" },
    false,
    "refused",
    "why",
  ],
  [
    "nothing new",
    { after: before, exit: 0, lastLine: "up to date with release 1" },
    true,
    "unchanged",
    "up to date with release 1",
  ],
  [
    "a release that failed before",
    { after: before, exit: 0, lastLine: "release 2 failed before, and is tried again in 300 s" },
    false,
    null,
    "release 2 failed before, and is tried again in 300 s",
  ],
  [
    "a release that isn't tried again",
    { after: before, exit: 0, lastLine: "release 2 cut this machine off before, and is not tried again" },
    false,
    null,
    "release 2 cut this machine off before, and is not tried again",
  ],
  [
    "a machine that was started with another system",
    { after: before, exit: 0, lastLine: "release 1 is not what runs and boots here, and is not activated again" },
    false,
    null,
    "release 1 is not what runs and boots here, and is not activated again",
  ],
  [
    "no contact",
    { after: before, exit: 75, lastLine: "no contact: nothing listens" },
    false,
    null,
    "no contact: nothing listens",
  ],
  ["nothing was said", { after: before, exit: 2, lastLine: "" }, false, null, "the agent ended with status 2"],
  [
    "nothing came of it, as far as is known",
    { after: before, exit: null, lastLine: "building" },
    false,
    null,
    "it doesn't say what became of the upgrade",
  ],
] as const)("%s", (_, { after, exit, lastLine }, ok, outcome, reason) => {
  expect(judge({ before, after, exit, lastLine })).toMatchObject({ ok, outcome, reason });
});

test("the first attempt ever", () => {
  expect(judge({ before: none, after: before, exit: 0, lastLine: "" })).toMatchObject({ ok: true, outcome: "success" });
});

test("what an agent says of itself is inert, and what can't be understood is nothing", () => {
  const text = JSON.stringify({ ...at("1", "failed", "\u001b[2Jx\ny"), more: 1 });
  expect(parseAgentStatus(text)?.last?.reason).toBe("\ufffd[2Jx y");
  expect(parseAgentStatus(JSON.stringify({ ...at("1", "fine") }))?.last).toBeNull();
  for (const nothing of ["", "[]", "{}", "[".repeat(10_000)]) expect(parseAgentStatus(nothing)).toBeNull();
});

test("it says which release was attempted, so that another's attempt isn't taken for the one that was asked for", () => {
  const after = {
    ...before,
    last: { sequence: 7, outcome: "rolled-back", reason: "no contact", started: "later" } as const,
  };
  expect(judge({ before, after, exit: 1, lastLine: "" }).attempted).toBe(7);
  expect(judge({ before, after: before, exit: 0, lastLine: "" }).attempted).toBeNull();
});
