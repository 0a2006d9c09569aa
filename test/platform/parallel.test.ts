import fc from "fast-check";
import { expect, test } from "vitest";
import { parallel } from "../../src/platform/parallel.ts";

/** Promises that the test settles by hand, in the order it wants. */
function gates(count: number) {
  return Array.from({ length: count }, () => Promise.withResolvers<void>());
}

/** Lets everything that can go on without a gate go on. */
const settle = () => new Promise<void>((resolve) => setImmediate(resolve));

test("results come in the items' order, whatever order they end in", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat()), fc.integer({ min: 1, max: 5 }), fc.scheduler(), async (items, limit, s) => {
      const work = s.scheduleFunction(async (item: number) => item * 2);
      const all = parallel(items, limit, work);
      await s.waitFor(all);
      expect(await all).toEqual(items.map((item) => item * 2));
    }),
    { numRuns: 50 },
  );
});

test("no more than the limit run at a time, and a place that is free is taken", async () => {
  const doors = gates(5);
  const started: number[] = [];
  const all = parallel(doors, 2, async (door, index) => {
    started.push(index);
    await door.promise;
  });
  expect(started).toEqual([0, 1]);
  doors[1]?.resolve();
  await settle();
  expect(started).toEqual([0, 1, 2]);
  for (const door of doors) door.resolve();
  await all;
  expect(started).toEqual([0, 1, 2, 3, 4]);
});

test("no items, no work", async () => {
  expect(await parallel([], 4, () => Promise.reject(new Error("called")))).toEqual([]);
});

test("the error that happens first is thrown, nothing more is begun, and nothing is left running", async () => {
  const doors = gates(4);
  const ended: number[] = [];
  const started: number[] = [];
  let outcome: unknown;
  const all = parallel(doors, 2, async (door, index) => {
    started.push(index);
    await door.promise.finally(() => ended.push(index));
  }).catch((error: unknown) => {
    outcome = error;
  });
  doors[1]?.reject(new Error("the second"));
  await settle();
  // The first is still at work, perhaps on files that the caller would remove now.
  expect({ started, ended, outcome }).toEqual({ started: [0, 1], ended: [1], outcome: undefined });
  doors[0]?.reject(new Error("the first, later"));
  await all;
  expect(outcome).toEqual(new Error("the second"));
  expect({ started, ended }).toEqual({ started: [0, 1], ended: [1, 0] });
});
