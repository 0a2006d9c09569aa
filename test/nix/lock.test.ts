import { expect, test } from "vitest";
import { lockChanges, parseLock, updateArguments } from "../../src/nix/lock.ts";

const lock = (nodes: object) => {
  const parsed = parseLock(JSON.stringify({ version: 7, root: "root", nodes }));
  if (parsed === null) throw new Error("no lock");
  return parsed;
};
const github = (rev: string, lastModified = 1_700_000_000) => ({
  locked: { type: "github", owner: "NixOS", repo: "nixpkgs", rev, lastModified, narHash: "sha256-x" },
});

test("what moved, was added and was removed, also below other inputs; what follows is what it follows", () => {
  const before = lock({
    root: { inputs: { nixpkgs: "nixpkgs", hm: "hm", old: "old" } },
    nixpkgs: github("a"),
    old: github("o"),
    hm: { ...github("h"), inputs: { nixpkgs: ["nixpkgs"], deep: "deep" } },
    deep: github("d"),
  });
  const after = lock({
    root: { inputs: { nixpkgs: "nixpkgs_2", hm: "hm", fresh: "fresh" } },
    nixpkgs_2: github("b", 1_700_086_400),
    hm: { ...github("h"), inputs: { nixpkgs: ["nixpkgs"], deep: "deep" } },
    deep: github("e"),
    fresh: { locked: { type: "path", path: "/x", narHash: "sha256-y" } },
  });
  expect(lockChanges(before, after)).toEqual([
    { input: "fresh", from: null, to: { source: "path:/x", rev: null, date: null, narHash: "sha256-y" } },
    { input: "hm/deep", from: expect.objectContaining({ rev: "d" }), to: expect.objectContaining({ rev: "e" }) },
    {
      input: "nixpkgs",
      from: { source: "github:NixOS/nixpkgs", rev: "a", date: "2023-11-14", narHash: "sha256-x" },
      to: { source: "github:NixOS/nixpkgs", rev: "b", date: "2023-11-15", narHash: "sha256-x" },
    },
    { input: "old", from: expect.objectContaining({ rev: "o" }), to: null },
  ]);
  expect(lockChanges(before, before)).toEqual([]);
  expect(lockChanges(null, before).map(({ input }) => input)).toEqual(["hm", "hm/deep", "nixpkgs", "old"]);
});

test("a lock that goes in circles ends; what is none is none", () => {
  const circle = lock({ root: { inputs: { a: "a" } }, a: { ...github("a"), inputs: { a: "a" } } });
  expect(lockChanges(null, circle).length).toBeLessThan(100);
  // Of nodes that are locked to nothing there is nothing to count; three ways at each are more than anybody has time for.
  const nothing = lock({ root: { inputs: { a: "root", b: "root", c: "root" } } });
  expect(lockChanges(null, nothing)).toEqual([]);
  for (const text of ["", "[]", "{}", '{"root":1,"nodes":{}}', '{"root":"r","nodes":{"r":1}}'])
    expect(parseLock(text)).toBeNull();
});

test.each([
  ["2.8.0", [], ["flake", "update", "path:/x"]],
  ["2.8.0", ["a", "b"], ["flake", "lock", "--update-input", "a", "--update-input", "b", "path:/x"]],
  ["2.18.1", [], ["flake", "update", "path:/x"]],
  ["2.26.3", [], ["flake", "update", "--flake", "path:/x"]],
  ["2.34.8", ["a", "b"], ["flake", "update", "a", "b", "--flake", "path:/x"]],
] as const)("Nix %s, %j", (version, inputs, expected) => {
  expect(updateArguments({ version }, "/x", inputs)).toEqual(expected);
});
