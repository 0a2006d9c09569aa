import { FleetError } from "./errors.ts";

/** "3 hours": the largest unit that fits, of a time in milliseconds. */
export function duration(milliseconds: number): string {
  const units = [
    [86_400_000, "day"],
    [3_600_000, "hour"],
    [60_000, "minute"],
    [1000, "second"],
  ] as const;
  const [size, name] = units.find(([size]) => milliseconds >= size) ?? [1000, "second"];
  const count = Math.max(0, Math.floor(milliseconds / size));
  return `${count} ${name}${count === 1 ? "" : "s"}`;
}

/** Milliseconds of `90s`, `30m`, `2h` or `1d`; `0` is none. @throws FleetError for anything else. */
export function parseDuration(text: string): number {
  const [, count, unit = ""] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  if (text === "0") return 0;
  if (count === undefined)
    throw new FleetError(`a duration is a number with s, m, h or d, such as 30m, and not '${text}'`);
  return Number(count) * 1000 * ({ s: 1, m: 60, h: 3600, d: 86_400 }[unit] ?? 0);
}
