import { expect, test } from "vitest";
import { parseDuration } from "../../src/platform/duration.ts";

test.each([
  ["0", 0],
  ["90", 90_000],
  ["90s", 90_000],
  ["10m", 600_000],
  ["1h", 3_600_000],
])("%s", (text, milliseconds) => {
  expect(parseDuration(text)).toBe(milliseconds);
});

test.each(["", "m", "-1", "1d", "1.5h", "1 h", "1h30m", "9999999"])("'%s' is no time", (text) => {
  expect(() => parseDuration(text)).toThrow(`'${text}' is no time`);
});
