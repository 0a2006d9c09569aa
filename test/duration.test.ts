import { expect, test } from "vitest";
import { duration, parseDuration } from "../src/duration.ts";
import { FleetError } from "../src/errors.ts";

test.each([
  [0, "0 seconds"],
  [1_000, "1 second"],
  [59_999, "59 seconds"],
  [60_000, "1 minute"],
  [7_199_000, "1 hour"],
  [49 * 3_600_000, "2 days"],
  [-5_000, "0 seconds"],
])("%d ms are %s", (milliseconds, text) => expect(duration(milliseconds)).toBe(text));

test.each([
  ["0", 0],
  ["90s", 90_000],
  ["30m", 1_800_000],
  ["2h", 7_200_000],
  ["1d", 86_400_000],
])("%s is %d ms", (text, milliseconds) => expect(parseDuration(text)).toBe(milliseconds));

test.each(["", "30", "m", "-1m", "1.5h", "1w", "30 m", "99999999s"])("'%s' is no duration", (text) =>
  expect(() => parseDuration(text)).toThrow(FleetError),
);
