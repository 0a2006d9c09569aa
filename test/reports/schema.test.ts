import fc from "fast-check";
import { expect, test } from "vitest";
import { parseHeartbeat, parseReport } from "../../src/reports/schema.ts";
import { OUTCOMES } from "../../src/results.ts";

const report = {
  version: 1,
  host: "router",
  sequence: 1795430400000,
  digest: "sha256-x",
  commit: "0".repeat(40),
  outcome: "success",
  reason: null,
  from: "/nix/store/a",
  to: "/nix/store/b",
  expected: "/nix/store/b",
  started: "2026-11-23T12:00:00Z",
  finished: "2026-11-23T12:01:00Z",
  bootId: "x",
  agent: "0.1.0",
};
const heartbeat = {
  version: 1,
  host: "router",
  agent: "0.1.0",
  running: "/nix/store/a",
  booted: "/nix/store/a",
  profile: "/nix/store/a",
  sequence: 1795430400000,
  suspended: false,
  reboot: false,
};
const parsed = (changes: object) => parseReport(JSON.stringify({ ...report, ...changes }), "router");
const beat = (changes: object) => parseHeartbeat(JSON.stringify({ ...heartbeat, ...changes }), "router");

test("what a host says is understood, and fields that nobody knows are dropped", () => {
  expect(parsed({ extra: { deep: true } })).toEqual({
    version: 1,
    host: "router",
    sequence: 1795430400000,
    digest: "sha256-x",
    commit: "0".repeat(40),
    outcome: "success",
    reason: null,
    from: "/nix/store/a",
    to: "/nix/store/b",
    started: "2026-11-23T12:00:00Z",
    finished: "2026-11-23T12:01:00Z",
  });
  expect(beat({})).toEqual({ ...heartbeat, interval: null, suspendedUntil: null, suspendedReason: null });
});

test.each(OUTCOMES)("the outcome %s", (outcome) => expect(parsed({ outcome })?.outcome).toBe(outcome));

test.each([
  ["another host's", { host: "nas" }],
  ["nobody's", { host: undefined }],
  ["of another version", { version: 2 }],
  ["of a version that only looks like it", { version: "1" }],
  ["of an outcome that doesn't exist", { outcome: "splendid" }],
  ["without an outcome", { outcome: undefined }],
])("a report that is %s says nothing", (_, changes) => expect(parsed(changes)).toBeUndefined());

test.each(["", "null", "[]", "1", '"router"', "{", "{}", "\u0000", `{"version":1,"host":"router"}`])(
  "%j is no report",
  (text) => expect(parseReport(text, "router")).toBeUndefined(),
);

test("JSON as deep as it gets does no harm", () => {
  const deep = "[".repeat(30_000) + "]".repeat(30_000);
  expect(parseReport(deep, "router")).toBeUndefined();
  expect(parseReport(JSON.stringify(report).replace('"sha256-x"', deep), "router")).toMatchObject({ digest: null });
  expect(parseHeartbeat(`{"a":`.repeat(10_000), "router")).toBeUndefined();
});

test("a field of a wrong type is as good as none, and costs the others nothing", () => {
  for (const wrong of [{}, [], true, 1.5, -1, 1e300, "1795430400000", 2 ** 53]) {
    expect(parsed({ sequence: wrong }), String(wrong)).toMatchObject({ sequence: null, outcome: "success" });
  }
  expect(parsed({ reason: { a: 1 }, from: 7, to: [] })).toMatchObject({ reason: null, from: null, to: null });
  expect(beat({ suspended: "yes", suspendedReason: 5, running: 5, booted: {}, agent: 1 })).toMatchObject({
    suspended: false,
    suspendedReason: null,
    running: null,
    booted: null,
    agent: null,
    profile: "/nix/store/a",
  });
});

test("how often it polls is believed within a week, and a commit is one", () => {
  for (const interval of [1, 60, 604_800]) expect(beat({ interval })?.interval).toBe(interval);
  for (const interval of [0, -1, 604_801, 1e300, 0.5, "60", null]) expect(beat({ interval })?.interval).toBeNull();
  for (const commit of ["0".repeat(39), "--help", "G".repeat(40), `${"0".repeat(40)}\n`]) {
    expect(parsed({ commit })?.commit).toBeNull();
  }
});

test("prototypes are no fields", () => {
  const text = JSON.stringify(report).replace(
    "{",
    '{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}},',
  );
  expect(parseReport(text, "router")).toMatchObject({ host: "router" });
  expect(({} as Record<string, unknown>).polluted).toBeUndefined();
});

test("every text is one inert line, and not a long one", () => {
  const control = fc.constantFrom(
    "\n",
    "\r",
    "\t",
    "\u0000",
    "\u001b",
    "\u009b",
    "\u2028",
    "\u202e",
    "\u2066",
    "a",
    " ",
  );
  fc.assert(
    fc.property(fc.array(control, { maxLength: 500 }), (letters) => {
      const text = letters.join("");
      for (const field of ["reason", "from", "to", "digest", "started", "finished"] as const) {
        const value = parsed({ [field]: text })?.[field] ?? "";
        // biome-ignore lint/suspicious/noControlCharactersInRegex: there must be none.
        expect(value).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/);
        expect(value.length).toBeLessThanOrEqual(300);
      }
    }),
  );
});
