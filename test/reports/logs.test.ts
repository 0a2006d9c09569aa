import { expect, test } from "vitest";
import type { LogFile } from "../../src/publish/publisher.ts";
import { statusOfLogs } from "../../src/reports/logs.ts";

const MINUTE = 60_000;
const CHANGED = Date.parse("2026-11-24T12:00:00.000Z");
const NOW = CHANGED + 20 * MINUTE;
const ONE = `${"1".repeat(32)}-nixos-system-my_router-22.05`;
const TWO = `${"2".repeat(32)}-nixos-system-my_router-22.05`;
const published = {
  sequence: 2,
  toplevel: `/nix/store/${TWO}`,
  kind: "flake",
  issued: "2026-11-24T11:59:59.000Z",
} as const;
const BY = "reported by the Bento of 2022";

/** A log that came so many minutes after the configuration changed. */
function log(result: string, after = 10, version = TWO, more: Partial<LogFile> = {}): LogFile {
  return {
    name: `20261124-1210_${version}_${result}.log.gz`,
    isFile: true,
    modified: CHANGED + after * MINUTE,
    ...more,
  };
}
const status = (logs: readonly LogFile[], more: Partial<Parameters<typeof statusOfLogs>[0]> = {}) =>
  statusOfLogs({ published, logs, changed: CHANGED, now: NOW, ...more });

test.each([
  ["the system that is published", [log("success")], "up-to-date", BY],
  ["a system that isn't", [log("success", 10, ONE)], "drifted", `it runs ${ONE}, and not what is published; ${BY}`],
  ["a build or a switch that failed", [log("failure", 10, ONE)], "failed", BY],
  ["a host that went back", [log("rollback", 10, ONE)], "rolled-back", BY],
  ["a host that updates its flake's inputs by itself", [log("autoupdate", 10, ONE)], "auto-updated", BY],
  ["a log from before", [log("success", -1)], "pending", BY],
  ["a log of the same second", [log("success", 0)], "pending", BY],
  [
    "the newest of several, by when it came",
    [log("failure", 5), log("success", 6), log("success", -9)],
    "up-to-date",
    BY,
  ],
  ["the same minute and second", [log("failure"), log("success")], "up-to-date", BY],
  ["a time in the future", [log("success", 1000)], "up-to-date", BY],
  ["one that says it is of this", [log("success_2")], "up-to-date", BY],
  ["one that says so, of the same second", [log("failure_2", 0)], "failed", BY],
  ["a late one, of a build that began before", [log("failure_1")], "pending", BY],
  ["a late one of another system, that isn't what is published", [log("success_1", 10, ONE)], "pending", BY],
  ["none", [], "new", "it has not been heard of yet"],
])("%s", (_, logs, state, reason) => {
  expect(status(logs)).toMatchObject({ state, reason });
});

test("it says what ran last, what became of it, and when it was heard of", () => {
  expect(status([log("failure", 10, ONE)])).toEqual({
    state: "failed",
    sync: "failed",
    health: "ok",
    reason: BY,
    running: { toplevel: `/nix/store/${ONE}`, sequence: null },
    lastContact: "2026-11-24T12:10:00.000Z",
    lastOutcome: "failed",
  });
  expect(status([log("success", 1000)]).lastContact).toBe("2026-11-24T12:20:00.000Z");
});

test("a host without a flake builds with a channel of its own: it can't be compared", () => {
  expect(status([log("success", 10, ONE)], { published: { ...published, kind: "channel" } }).state).toBe("up-to-date");
});

test("who doesn't take what is there is silent after a while, and never green", () => {
  const now = CHANGED + 46 * MINUTE;
  for (const logs of [[], [log("success", -1)]]) expect(status(logs, { now }).state).toBe("silent");
  expect(status([log("success", 30)], { now }).state).toBe("up-to-date");
});

test("nothing published", () => {
  expect(status([log("success")], { published: null })).toMatchObject({ state: "new", lastOutcome: "success" });
});

test.each([
  ["a directory, or a fifo", log("success", 10, TWO, { isFile: false })],
  ["a name that is something else", log("success", 10, TWO, { name: "notes.txt" })],
  ["a result that there is not", log("improved")],
  ["a version that is no store path's name", log("success", 10, "../../etc/passwd")],
  ["control characters", log("success", 10, `${"1".repeat(32)}-x\u001b[31m`)],
  ["a release that is no number", log("success_x")],
  ["a very long number", log(`success_${"1".repeat(17)}`)],
  ["a line more", log("success", 10, TWO, { name: `${log("success").name}\n` })],
  ["a very long name", log("success", 10, `${"1".repeat(32)}-${"x".repeat(200)}`)],
])("%s counts for nothing", (_, one) => {
  expect(status([one])).toMatchObject({ state: "new", running: null, lastContact: null });
});
