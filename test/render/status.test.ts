import { stripVTControlCharacters } from "node:util";
import width from "string-width";
import { expect, test } from "vitest";
import {
  changeLine,
  contactText,
  look,
  renderHostStatus,
  renderStatus,
  systemsText,
  took,
  watchLines,
} from "../../src/render/status.ts";
import { painter } from "../../src/render/terminal.ts";
import { FLEET_STATES, failedHosts, needsAttention } from "../../src/results.ts";
import { HOSTILE, reported, status } from "./documents.ts";

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
  expect(renderStatus(status(hosts), painter(false), NOW).split("\n")).toEqual([
    "   HOST    STATE        LAST CONTACT   PUBLISHED              REASON",
    "↩  longer  rolled back  just now       0123456789ab A change  no contact",
    "…  b       pending      never          0123456789ab A change",
    "✓  a       up to date   5 minutes ago  0123456789ab A change",
    "",
    "3 hosts: 1 rolled back, 1 pending, 1 up to date",
  ]);
});

test("every state has its look and its place, and what makes a run red stands above what doesn't", () => {
  const places = FLEET_STATES.map(needsAttention);
  const red = FLEET_STATES.filter((state) => look(state)[1] === "red");
  expect(FLEET_STATES.slice(0, red.length)).toEqual(red);
  for (const state of red) expect(needsAttention(state), state).toBe(true);
  expect(places.lastIndexOf(true)).toBeLessThan(FLEET_STATES.indexOf("suspended"));
  // Told apart without a colour.
  expect(new Set(FLEET_STATES.map((state) => look(state)[0])).size).toBe(FLEET_STATES.length);
  for (const state of ["up-to-date", "auto-updated", "pending", "applying", "new", "unreported"] as const) {
    expect(needsAttention(state), state).toBe(false);
  }
  const hosts = FLEET_STATES.map((state) => reported(state, { state }));
  expect(failedHosts(status(hosts)).sort()).toEqual([
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
  const lines = renderStatus(status(hosts), painter(false), NOW).split("\n");
  expect(lines).toHaveLength(4);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: there must be none.
  expect(lines.join("")).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/);
});

test("characters that take two columns, and those that take none, are counted as a terminal does", () => {
  const subject = "更新 e\u0301 👩‍🚀";
  const hosts = [
    reported("a", { published: { ...published, subject }, reason: "wide" }),
    reported("b", { published: { ...published, subject: "0123456789" }, reason: "narrow" }),
  ];
  const [, first = "", second = ""] = renderStatus(status(hosts), painter(false), NOW).split("\n");
  // 更新, a blank, é, a blank, and a person: 4 + 1 + 1 + 1 + 2 columns.
  expect(first.endsWith(`${subject}   wide`)).toBe(true);
  expect(second.endsWith("0123456789  narrow")).toBe(true);
});

test("a terminal shows as much as it has room for, the worst first, and says what is left", () => {
  const hosts = Array.from({ length: 50 }, (_, n) =>
    reported(`host-${n}`, n === 49 ? { state: "failed", reason: "更".repeat(100) } : {}),
  );
  const view = { columns: 60, rows: 10, trouble: "", now: NOW };
  const lines = watchLines(status(hosts), painter(true), view);
  expect(lines).toHaveLength(10);
  expect(lines[1]).toContain("host-49");
  for (const line of lines) expect(width(line), line).toBeLessThanOrEqual(60);
  expect(lines[1]).toMatch(/更…$/);
  expect(lines.slice(6).map(stripVTControlCharacters)).toEqual([
    "… and 45 hosts more",
    "",
    "50 hosts: 1 failed, 49 up to date",
    "as of 12:00:00 UTC",
  ]);
  const troubled = watchLines(status(hosts), painter(false), { ...view, rows: 60, trouble: "the connection was lost" });
  expect(troubled).toHaveLength(55);
  expect(troubled.at(-1)).toBe("! the connection was lost");
  for (const rows of [1, 2, 3, 4])
    expect(watchLines(status(hosts), painter(false), { ...view, rows })).toHaveLength(rows);
});

test.each(HOSTILE)("%j stays on its line wherever a host's page has it", (text) => {
  const attempt = {
    ...({ sequence: 1, commit: null, outcome: "failed", started: text, finished: text, duration: null } as const),
    ...{ subject: text, reason: text, from: text, to: `/nix/store/${text}`, received: published.issued },
  };
  const host = reported("a", {
    reason: text,
    agent: text,
    running: { toplevel: text, sequence: 1 },
    history: [attempt],
  });
  const shown = renderHostStatus(host, painter(false), NOW);
  expect(shown.split("\n")).toHaveLength(7);
  const line = shown.replaceAll("\n", "") + changeLine(published.issued, undefined, host);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: there must be none.
  expect(line).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/);
});

test("systems by the beginning of their hashes, times by what people say", () => {
  const [from, to] = ["a", "b"].map((letter) => `/nix/store/${letter.repeat(32)}-nixos-system-nas-26.05`) as [
    string,
    string,
  ];
  expect(systemsText({ from, to })).toBe("aaaaaaaa → bbbbbbbb nixos-system-nas-26.05");
  expect(systemsText({ from, to: from })).toBe("aaaaaaaa nixos-system-nas-26.05");
  expect(systemsText({ from, to: null })).toBe("aaaaaaaa nixos-system-nas-26.05");
  expect(systemsText({ from: null, to: null })).toBe("");
  expect([0, 59, 60, 3599, 3600, 7290].map(took)).toEqual(["0 s", "59 s", "1 min", "59 min", "1 h 0 min", "2 h 1 min"]);
});
