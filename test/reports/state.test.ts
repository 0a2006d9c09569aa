import { expect, test } from "vitest";
import { type Heartbeat, OUTCOMES, type Outcome, type Report } from "../../src/reports/schema.ts";
import { type Known, lastContact, stateOf } from "../../src/reports/state.ts";
import type { FleetState } from "../../src/results.ts";

const NOW = Date.parse("2026-11-23T12:00:00Z");
const MINUTE = 60_000;
const OLD = "/nix/store/old";
const NEW = "/nix/store/new";
const OTHER = "/nix/store/other";

const published = (changes: Partial<Known["published"]> = {}) => ({ sequence: 2, toplevel: NEW, ...changes });

const heartbeat = (changes: Partial<Heartbeat> = {}, age = MINUTE) => ({
  content: {
    version: 1 as const,
    host: "router",
    agent: "0.1.0",
    running: NEW,
    booted: NEW,
    profile: NEW,
    sequence: 2,
    suspended: false,
    suspendedUntil: null,
    suspendedReason: null,
    reboot: false,
    ...changes,
  },
  received: NOW - age,
});

const report = (outcome: Outcome, changes: Partial<Report> = {}, age = MINUTE) => ({
  content: {
    version: 1 as const,
    host: "router",
    sequence: 2,
    digest: null,
    outcome,
    reason: "why",
    from: OLD,
    to: NEW,
    started: null,
    finished: null,
    ...changes,
  },
  received: NOW - age,
});

/** What is known of a host, and the state that it is in. */
const CASES: [string, Partial<Known>, FleetState, (string | null)?][] = [
  ["nothing is published", { published: null, heartbeat: heartbeat() }, "new", "nothing has been published for it yet"],
  ["nothing was ever heard of it", { heartbeat: null }, "new", "it has not been heard of yet"],
  ["it applied what is published, and runs it", { report: report("success") }, "up-to-date", null],
  ["it says so by its heartbeat alone", {}, "up-to-date"],
  [
    "its kernel waits for a restart",
    { heartbeat: heartbeat({ reboot: true }), report: report("success") },
    "reboot-pending",
    "its new kernel, initrd or modules wait for a restart",
  ],
  [
    "a heartbeat of before the attempt says nothing of it",
    { heartbeat: heartbeat({ reboot: true, sequence: 1 }), report: report("success") },
    "up-to-date",
  ],
  ["there was nothing to do for it", { report: report("unchanged") }, "up-to-date"],
  ["it has not seen the release yet", { heartbeat: heartbeat({ sequence: 1, running: OLD }) }, "pending", null],
  [
    "it succeeded with the release before",
    { heartbeat: heartbeat({ sequence: 1, running: OLD }), report: report("success", { sequence: 1, to: OLD }) },
    "pending",
  ],
  [
    "it failed with the release before, and a new one is out",
    { heartbeat: heartbeat({ sequence: null, running: OLD }), report: report("failed", { sequence: 1 }) },
    "pending",
  ],
  ["it failed", { heartbeat: heartbeat({ sequence: 1, running: OLD }), report: report("failed") }, "failed", "why"],
  [
    "it rolled back",
    { heartbeat: heartbeat({ sequence: 1, running: OLD }), report: report("rolled-back") },
    "rolled-back",
    "why",
  ],
  [
    "the network failed it",
    { heartbeat: heartbeat({ sequence: 1, running: OLD }), report: report("inconclusive") },
    "inconclusive",
  ],
  [
    "it refused the release",
    { heartbeat: heartbeat({ sequence: 1, running: OLD }), report: report("refused") },
    "refused",
  ],
  [
    "it refused what it could not even read, so knows no number of",
    { heartbeat: heartbeat({ sequence: 1, running: OLD }), report: report("refused", { sequence: null }) },
    "refused",
  ],
  [
    "it failed at what has no number",
    { heartbeat: heartbeat({ sequence: 1 }), report: report("failed", { sequence: null }) },
    "pending",
  ],
  ["it was updated by its own timer", { report: report("auto-updated") }, "auto-updated"],
  [
    "it runs something else than it confirmed",
    { heartbeat: heartbeat({ running: OTHER }), report: report("success") },
    "drifted",
  ],
  [
    "it runs something else, and no system was foretold",
    { published: published({ toplevel: null }), heartbeat: heartbeat({ running: OTHER }), report: report("success") },
    "drifted",
  ],
  [
    "no system was foretold, and it runs what it built",
    { published: published({ toplevel: null }), report: report("success") },
    "up-to-date",
  ],
  [
    "its heartbeat is from before the attempt",
    { heartbeat: heartbeat({ sequence: 1, running: OLD }, 2 * MINUTE), report: report("success") },
    "up-to-date",
  ],
  ["it doesn't say what it runs", { heartbeat: heartbeat({ running: null }) }, "up-to-date"],
  [
    "its upgrades are suspended",
    { heartbeat: heartbeat({ suspended: true }) },
    "suspended",
    "its upgrades are suspended",
  ],
  [
    "somebody has said until when, and why",
    {
      heartbeat: heartbeat({
        suspended: true,
        suspendedUntil: "2026-11-28T12:00:00Z",
        suspendedReason: "a fair in Graz",
      }),
    },
    "suspended",
    "its upgrades are suspended until 2026-11-28T12:00:00Z: a fair in Graz",
  ],
  [
    "they are suspended, and it failed",
    { heartbeat: heartbeat({ suspended: true }), report: report("failed") },
    "suspended",
  ],
  ["it is silent for long enough", { heartbeat: heartbeat({}, 46 * MINUTE) }, "silent", "not heard of for 46 minutes"],
  ["it has missed two polls", { heartbeat: heartbeat({}, 44 * MINUTE) }, "up-to-date"],
  [
    "it failed, and then fell silent",
    { heartbeat: heartbeat({}, 60 * MINUTE), report: report("failed", {}, 60 * MINUTE) },
    "silent",
  ],
  ["it was suspended, and then fell silent", { heartbeat: heartbeat({ suspended: true }, 60 * MINUTE) }, "silent"],
  [
    "its heartbeat is old, but it reported",
    { heartbeat: heartbeat({}, 60 * MINUTE), report: report("success") },
    "up-to-date",
  ],
  ["it has reported, and has no heartbeat", { heartbeat: null, report: report("success") }, "up-to-date"],
  ["the times of its files are in the future", { heartbeat: heartbeat({}, -1e9) }, "up-to-date"],
];

test.each(CASES)("%s", (_, known, state, reason) => {
  const result = stateOf({ published: published(), heartbeat: heartbeat(), report: null, now: NOW, ...known });
  expect(result.state).toBe(state);
  if (reason !== undefined) expect(result.reason).toBe(reason);
});

test("silence is never green, whatever else is known", () => {
  const late = 46 * MINUTE;
  for (const outcome of OUTCOMES) {
    for (const sequence of [null, 1, 2, 3]) {
      for (const running of [null, OLD, NEW]) {
        const known = {
          published: published(),
          heartbeat: heartbeat({ sequence, running }, late),
          report: report(outcome, { sequence }, late),
          now: NOW,
        };
        expect(stateOf(known).state).toBe("silent");
      }
    }
  }
});

test("an attempt that ended badly is never up to date, whatever the heartbeat says", () => {
  for (const outcome of ["failed", "rolled-back", "inconclusive", "refused"] as const) {
    for (const sequence of [null, 1, 2]) {
      const known = { published: published(), heartbeat: heartbeat({ sequence }), report: report(outcome), now: NOW };
      expect(stateOf(known).state).toBe(outcome);
    }
  }
});

test("the last contact is the newer of the two, and never later than now", () => {
  const known = { heartbeat: heartbeat({}, 5 * MINUTE), report: report("success", {}, 3 * MINUTE), now: NOW };
  expect(lastContact(known)).toBe(NOW - 3 * MINUTE);
  expect(lastContact({ ...known, report: null })).toBe(NOW - 5 * MINUTE);
  expect(lastContact({ ...known, heartbeat: heartbeat({}, -MINUTE) })).toBe(NOW);
  expect(lastContact({ heartbeat: null, report: null, now: NOW })).toBeNull();
});
