import fc from "fast-check";
import { expect, test } from "vitest";
import { notificationsOf, type Told, toldAfter } from "../../src/reports/notifications.ts";
import { FLEET_STATES, type FleetState, needsAttention } from "../../src/results.ts";
import { reported } from "../render/documents.ts";

const TROUBLES = FLEET_STATES.filter(needsAttention);

/** What is told of a host that is in these states one after another. */
function told(states: readonly FleetState[]): string[] {
  let known: Told = {};
  return states.flatMap((state) => {
    const all = notificationsOf([reported("nas", { state })], known, TROUBLES);
    for (const one of all) known = toldAfter(known, one);
    return all.map(({ event, before, host }) => `${event}: ${before ?? "well"} → ${host.state}`);
  });
}

test.each<[FleetState[], string[]]>([
  [["up-to-date", "pending", "applying", "up-to-date"], []],
  [["failed", "failed", "failed"], ["trouble: well → failed"]],
  [["failed", "pending", "failed"], ["trouble: well → failed"]],
  [
    ["failed", "pending", "up-to-date"],
    ["trouble: well → failed", "recovered: failed → up-to-date"],
  ],
  [
    ["failed", "silent", "pending"],
    ["trouble: well → failed", "trouble: failed → silent", "recovered: silent → pending"],
  ],
  [
    ["silent", "suspended"],
    ["trouble: well → silent", "recovered: silent → suspended"],
  ],
  [
    ["drifted", "reboot-pending"],
    ["trouble: well → drifted", "recovered: drifted → reboot-pending"],
  ],
])("%j", (states, expected) => expect(told(states)).toEqual(expected));

test("whatever happens: nothing is told twice in a row, and nothing recovers that was not told", () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...FLEET_STATES), { maxLength: 30 }), (states) => {
      const lines = told(states);
      for (const [index, line] of lines.entries()) {
        expect(line).not.toBe(lines[index - 1]);
        if (line.startsWith("recovered")) expect(lines[index - 1]).toMatch(/^trouble/);
      }
      // Who looks again sees nothing new.
      const again = states.flatMap((state) => [state, state]);
      expect(told(again)).toEqual(lines);
    }),
  );
});

test("hosts that aren't looked at are remembered as they were", () => {
  const [first] = notificationsOf([reported("nas", { state: "failed" })], { router: "silent" }, TROUBLES);
  if (!first) throw new Error("nothing is told");
  expect(toldAfter({ router: "silent" }, first)).toEqual({ router: "silent", nas: "failed" });
});
