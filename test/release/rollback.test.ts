import { expect, test } from "vitest";
import { chooseEarlier, parseWanted } from "../../src/release/rollback.ts";
import { manifest } from "./manifest.ts";

const sri = (letter: string) => `sha256-${letter.repeat(43)}=`;
const release = (sequence: number, commit: string, digest = String(sequence % 10)) =>
  manifest({ sequence, commit: commit.repeat(40 / commit.length), digest: sri(digest) });

const first = release(1_795_000_000_001, "ab");
const second = release(1_795_000_000_002, "cd");
const third = release(1_795_000_000_003, "ef");
const all = [second, third, first];

test("a sequence is a time in milliseconds, and anything else a commit", () => {
  expect(parseWanted(null)).toBeNull();
  expect(parseWanted("1795000000001")).toEqual({ sequence: 1_795_000_000_001 });
  expect(parseWanted("1234567")).toEqual({ commit: "1234567" });
  expect(parseWanted("HEAD~2")).toEqual({ commit: "HEAD~2" });
});

test("without a wish it is the newest that is older and another", () => {
  expect(chooseEarlier(third, all, null)).toBe(second);
  expect(chooseEarlier(first, all, null)).toBeUndefined();
  // Rolled back already: what it has now is what the first was, so the one before that is the second.
  const back = { ...first, sequence: 1_795_000_000_004 };
  expect(chooseEarlier(back, [...all, back], null)).toBe(third);
  const again = { ...third, sequence: 1_795_000_000_005 };
  expect(chooseEarlier(again, [...all, back, again], null)).toBe(back);
});

test("by sequence, and by the beginning of a commit: the newest of that commit", () => {
  expect(chooseEarlier(third, all, { sequence: second.sequence })).toBe(second);
  expect(chooseEarlier(third, all, { sequence: 1_795_000_000_009 })).toBeUndefined();
  expect(chooseEarlier(third, all, { commit: "abababab" })).toBe(first);
  const twice = { ...first, sequence: 1_795_000_000_004 };
  expect(chooseEarlier(third, [...all, twice], { commit: first.commit })).toBe(twice);
  expect(chooseEarlier(third, all, { commit: "abababac" })).toBeUndefined();
  // Too short to mean one, or no commit at all.
  expect(chooseEarlier(third, all, { commit: "abab" })).toBeUndefined();
  expect(chooseEarlier(third, all, { commit: "main" })).toBeUndefined();
});
