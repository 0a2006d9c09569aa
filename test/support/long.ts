import { test } from "vitest";

/** Whether everything is tested, as with `scripts/test --all`. */
export const all = process.env.BENTO_TEST_ALL === "1";

/**
 * A test of minutes, or of what a shorter one shows the most important case of: it runs with `scripts/test --all` only, and
 * is told as skipped otherwise. `timeout` in milliseconds.
 */
export function long(name: string, run: () => Promise<void>, timeout?: number): void {
  test.skipIf(!all)(all ? name : `${name} (needs --all)`, run, timeout);
}
