import { expect, test } from "vitest";
import { nearest } from "../../src/fleet/suggest.ts";

test.each<[string, string[], string | undefined]>([
  ["pth", ["key", "path", "attr"], "path"],
  ["adress", ["address", "port"], "address"],
  ["HOSTS", ["hosts", "host"], "hosts"],
  ["wbe", ["web", "nas"], undefined],
  ["web-2", ["web-1", "web-10"], "web-1"],
  ["colour", ["key", "path"], undefined],
  ["x", ["y"], "y"],
  ["", ["a", "ab"], "a"],
  ["anything", [], undefined],
  ["signers", ["signers"], "signers"],
])("%j of %j: %j", (word, candidates, expected) => {
  expect(nearest(word, candidates)).toBe(expected);
});
