import { expect, test } from "vitest";
import { contactText, renderStatus, STATES } from "../../src/render/status.ts";
import { painter } from "../../src/render/terminal.ts";
import { type FleetState, failedHosts, needsAttention } from "../../src/results.ts";
import { HOSTILE, reported } from "./documents.ts";

const NOW = Date.parse("2026-11-23T12:00:00Z");
const published = {
  sequence: 1,
  commit: "0123456789abcdef0123456789abcdef01234567",
  subject: "A change",
  toplevel: null,
  issued: "2026-11-23T11:00:00.000Z",
};

test("the worst first, in columns, and a sum", () => {
  const hosts = [
    reported("a", { published, lastContact: "2026-11-23T11:55:00.000Z" }),
    reported("b", { state: "pending", published }),
    reported("longer", {
      state: "rolled-back",
      reason: "no contact",
      published,
      lastContact: "2026-11-23T11:59:59.500Z",
    }),
  ];
  expect(renderStatus({ version: 1, command: "status", hosts }, painter(false), NOW).split("\n")).toEqual([
    "   HOST    STATE        LAST CONTACT   PUBLISHED              REASON",
    "↩  longer  rolled back  just now       0123456789ab A change  no contact",
    "…  b       pending      never          0123456789ab A change",
    "✓  a       up to date   5 minutes ago  0123456789ab A change",
    "",
    "3 hosts: 1 rolled back, 1 pending, 1 up to date",
  ]);
});

test("every state has its look and its place, and what makes a run red stands above what doesn't", () => {
  const states: FleetState[] = STATES.map(([state]) => state);
  expect(new Set(states).size).toBe(14);
  const red = new Set(STATES.filter(([, , style]) => style === "red").map(([state]) => state));
  for (const state of red) expect(needsAttention(state), state).toBe(true);
  for (const state of ["up-to-date", "auto-updated", "pending", "applying", "new"] as const) {
    expect(needsAttention(state), state).toBe(false);
  }
  const hosts = STATES.map(([state]) => reported(state, { state }));
  expect(failedHosts({ version: 1, command: "status", hosts }).sort()).toEqual([
    "drifted",
    "failed",
    "inconclusive",
    "refused",
    "rolled-back",
    "silent",
    "unknown",
  ]);
});

test.each([
  [null, "never"],
  ["2026-11-23T12:00:05.000Z", "just now"],
  ["2026-11-23T11:59:59.000Z", "1 second ago"],
  ["2026-11-23T10:00:00.000Z", "2 hours ago"],
  ["2026-11-20T10:00:00.000Z", "3 days ago"],
])("contact at %s was %s", (lastContact, text) => {
  expect(contactText(reported("a", { lastContact }), NOW)).toBe(text);
});

test.each(HOSTILE)("%j as a reason, or a commit's subject, stays on its line", (text) => {
  const hosts = [reported("a", { state: "failed", reason: text, published: { ...published, subject: text } })];
  const lines = renderStatus({ version: 1, command: "status", hosts }, painter(false), NOW).split("\n");
  expect(lines).toHaveLength(4);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: there must be none.
  expect(lines.join("")).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/);
});
