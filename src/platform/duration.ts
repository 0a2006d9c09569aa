import { FleetError } from "../errors.ts";

const UNITS: Record<string, number> = { s: 1_000, m: 60_000, h: 3_600_000 };

/** Milliseconds of a time such as `90s`, `10m` or `1h`; a number alone is seconds. @throws FleetError for anything else. */
export function parseDuration(text: string): number {
  const [, number, unit = "s"] = /^(\d{1,6})([smh]?)$/.exec(text) ?? [];
  if (number === undefined) throw new FleetError(`'${text}' is no time`, { hint: "it is such as 90s, 10m or 1h" });
  return Number(number) * (UNITS[unit || "s"] ?? 0);
}
