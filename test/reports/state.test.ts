import { expect, test } from "vitest";
import { gateOf } from "../../src/reports/gate.ts";
import type { Heartbeat, Report } from "../../src/reports/schema.ts";
import { type Known, lastContact, stateOf } from "../../src/reports/state.ts";
import { FLEET_STATES, type FleetState, needsAttention, OUTCOMES, type Outcome } from "../../src/results.ts";

const NOW = Date.parse("2026-11-23T12:00:00Z");
const MINUTE = 60_000;
const YEAR = 365 * 24 * 60 * MINUTE;
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
    interval: null,
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
    commit: null,
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
    "it was started with an older system, by somebody at the boot menu",
    { heartbeat: heartbeat({ running: OLD, booted: OLD }), report: report("success") },
    "drifted",
    `it was started with ${OLD}, and not with its release, which boots by default: on it, ` +
      "'bento-agent upgrade --again' goes back to the release, 'bento-agent rollback' stays with what runs for good",
  ],
  [
    "it was started with an older system, and that one boots",
    { heartbeat: heartbeat({ running: OLD, booted: OLD, profile: OLD }), report: report("success") },
    "drifted",
    `it runs ${OLD}, and not what it confirmed`,
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
  [
    "the times of its files are years in the future, and it would look alive for as long",
    { heartbeat: heartbeat({}, -10 * YEAR), report: report("success", {}, -10 * YEAR) },
    "unknown",
    "its files are dated in the future, so nobody knows when it was heard of",
  ],
  [
    "one of them is, and the other is old",
    { heartbeat: heartbeat({}, 60 * MINUTE), report: report("success", {}, -YEAR) },
    "silent",
  ],
  ["the server's clock was put back a little", { heartbeat: heartbeat({}, -2 * MINUTE) }, "up-to-date"],
  ["it polls every hour, and missed two", { heartbeat: heartbeat({ interval: 3600 }, 179 * MINUTE) }, "up-to-date"],
  ["it polls every hour, and missed three", { heartbeat: heartbeat({ interval: 3600 }, 181 * MINUTE) }, "silent"],
  ["it polls every minute, and missed three", { heartbeat: heartbeat({ interval: 60 }, 4 * MINUTE) }, "silent"],
  [
    "it has asked since, and not reported",
    { published: published({ since: NOW - 5 * MINUTE }), heartbeat: heartbeat({ sequence: 1, running: OLD }) },
    "applying",
    "it has asked since this was published, and has not said what became of it",
  ],
  [
    "it asked in the second in which this was published",
    { published: published({ since: NOW - MINUTE }), heartbeat: heartbeat({ sequence: 1, running: OLD }) },
    "pending",
  ],
  [
    "it polls every minute, and builds for half an hour",
    {
      published: published({ since: NOW - 35 * MINUTE }),
      heartbeat: heartbeat({ sequence: 1, running: OLD, interval: 60 }, 30 * MINUTE),
    },
    "applying",
  ],
  [
    "it refused what it couldn't read, and something else was published since",
    {
      published: published({ since: NOW - 2 * MINUTE }),
      heartbeat: heartbeat({ sequence: 1, running: OLD }, 3 * MINUTE),
      report: report("refused", { sequence: null }, 3 * MINUTE),
    },
    "pending",
  ],
  [
    "it waits for the next release, and was changed by hand",
    { heartbeat: heartbeat({ sequence: 1, running: OTHER }), report: report("success", { sequence: 1, to: OLD }) },
    "pending",
    `it runs ${OTHER}, and not what it confirmed`,
  ],
  [
    "the server has an older release than it had",
    { heartbeat: heartbeat({ sequence: 3, running: OTHER }) },
    "pending",
    "it has had release 3, which is newer than what is published",
  ],
  [
    "it updated itself, and waits for a restart",
    { heartbeat: heartbeat({ reboot: true }), report: report("auto-updated") },
    "reboot-pending",
  ],
  [
    "it updated itself, and then somebody changed it",
    { heartbeat: heartbeat({ running: OTHER }), report: report("auto-updated") },
    "drifted",
  ],
];

test.each(CASES)("%s", (_, known, state, reason) => {
  const result = stateOf({ published: published(), heartbeat: heartbeat(), report: null, now: NOW, ...known });
  expect(result.state).toBe(state);
  if (reason !== undefined) expect(result.reason).toBe(reason);
});

// Whatever a host may have said, and not said, and when.
const LATE = 46 * MINUTE;
const AGES = [MINUTE, LATE, -YEAR];
const HEARTBEATS = [
  null,
  ...product({
    age: AGES,
    running: [null, OLD, NEW, OTHER],
    sequence: [null, 1, 2, 3],
    suspended: [false, true],
    reboot: [false, true],
    profile: [OLD, NEW],
  }).map(({ age, ...said }) => heartbeat(said, age)),
];
const REPORTS = [
  null,
  ...product({ age: AGES, outcome: OUTCOMES, sequence: [null, 1, 2, 3], to: [null, NEW, OLD] }).map(
    ({ age, outcome, ...said }) => report(outcome, said, age),
  ),
];
const PUBLISHED = [
  null,
  published(),
  published({ toplevel: null }),
  published({ since: NOW - 2 * MINUTE }),
  published({ since: NOW }),
];

/** Every combination of one value of each. */
function product<T extends Record<string, readonly unknown[]>>(values: T): { [K in keyof T]: T[K][number] }[] {
  return Object.entries(values).reduce<Record<string, unknown>[]>(
    (all, [key, some]) => all.flatMap((one) => some.map((value) => ({ ...one, [key]: value }))),
    [{}],
  ) as { [K in keyof T]: T[K][number] }[];
}

test("every combination has one state, which says no more than is known", () => {
  const reached = new Map<string, number>();
  const wrong: unknown[] = [];
  let count = 0;
  for (const published of PUBLISHED) {
    for (const beat of HEARTBEATS) {
      for (const said of REPORTS) {
        const known: Known = { published, heartbeat: beat, report: said, now: NOW };
        const { state, sync, health, reason } = stateOf(known);
        count += 1;
        reached.set(state, (reached.get(state) ?? 0) + 1);
        const attempt = said?.content.sequence === 2 ? said.content.outcome : null;
        const contact = [beat, said].some((one) => one?.received === NOW - MINUTE);
        const isGreen = state === "up-to-date" || state === "auto-updated";
        const rules: Record<string, boolean> = {
          "silence is never green": !isGreen || contact,
          "nor is it a reason to go on with a rollout": gateOf(state) !== "open" || contact,
          "nothing published is nothing applied": published !== null || (sync === "none" && !isGreen),
          "a host that was never heard of is new": beat !== null || said !== null || state === "new",
          "green is what was applied": !isGreen || sync === "applied" || sync === "auto-updated",
          "green is well": !isGreen || health === "ok",
          "an attempt at what is published counts, however it ended":
            published === null || attempt === null || !BAD.has(attempt) || sync === attempt,
          "and a bad end is never green": attempt === null || !BAD.has(attempt) || !isGreen,
          "what ended badly is not hidden by anything but silence, a suspension and not knowing":
            !BAD.has(sync) || [sync, "silent", "suspended", "unknown", "new"].includes(state),
          "suspended is what it says itself": health !== "suspended" || beat?.content.suspended === true,
          "who runs another system than is published and confirmed is not up to date":
            state !== "up-to-date" ||
            beat?.content.sequence !== 2 ||
            beat.content.running === null ||
            published?.toplevel === null ||
            [published?.toplevel, said?.content.to].includes(beat.content.running),
          "a state that asks for somebody says why, unless it is the host that didn't":
            !needsAttention(state) || reason !== null,
          "a state is one of its two parts, or their sum":
            [sync, health].includes(state as never) || ["up-to-date", "new", "unknown"].includes(state),
        };
        for (const [rule, holds] of Object.entries(rules)) {
          if (!holds && wrong.length < 5) wrong.push({ rule, state, sync, health, known });
        }
      }
    }
  }
  expect(wrong).toEqual([]);
  // What has nowhere to report to isn't asked.
  expect([...reached.keys(), "unreported"].sort()).toEqual([...FLEET_STATES].sort());
  expect(count).toBe(PUBLISHED.length * HEARTBEATS.length * REPORTS.length);
});

const BAD: ReadonlySet<string> = new Set(["failed", "rolled-back", "inconclusive", "refused"]);

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
