import { expect, test } from "vitest";
import { FleetError } from "../../src/errors.ts";
import { selectHosts } from "../../src/fleet/select.ts";
import { hostNamed } from "./host.ts";

const hosts = ["db", "web-1", "web-10", "web-2", "x"].map((name) => hostNamed(name));
const chosen = (...patterns: string[]) => selectHosts(hosts, patterns).map((host) => host.name);

test.each<[string[], string[]]>([
  [[], ["db", "web-1", "web-10", "web-2", "x"]],
  [["*"], ["db", "web-1", "web-10", "web-2", "x"]],
  [["web-1"], ["web-1"]],
  [["web-?"], ["web-1", "web-2"]],
  [["web-*"], ["web-1", "web-10", "web-2"]],
  [["*b*"], ["db", "web-1", "web-10", "web-2"]],
  [
    ["x", "db", "d*"],
    ["db", "x"],
  ],
])("%j chooses %j, in the fleet's order and each once", (patterns, expected) => {
  expect(chosen(...patterns)).toEqual(expected);
});

test("a pattern is a glob and nothing else", () => {
  for (const pattern of ["web.1", "web-[12]", "(db)", "db|x", "^db$", "web-1\n", ""]) {
    expect(() => chosen(pattern)).toThrow(FleetError);
  }
});

test("a group is chosen by its name behind an @", () => {
  const grouped = [hostNamed("a", { groups: ["canary"] }), hostNamed("b"), hostNamed("c", { groups: ["x", "canary"] })];
  const names = (...patterns: string[]) => selectHosts(grouped, patterns).map((host) => host.name);
  expect(names("@canary")).toEqual(["a", "c"]);
  expect(names("@x", "b")).toEqual(["b", "c"]);
  expect(() => names("@canari")).toThrow(
    expect.objectContaining({ message: "no host is in a group 'canari'", hint: "did you mean 'canary'?" }),
  );
  expect(() => chosen("@any")).toThrow(expect.objectContaining({ hint: "fleet.yaml gives no host any groups" }));
});

test.each([
  ["wbe-1", "the hosts are: db, web-1, web-10, web-2, x"],
  ["web_1", "did you mean 'web-1'?"],
  ["nothing-like-it", "the hosts are: db, web-1, web-10, web-2, x"],
])("%s matches none: an error, and what was probably meant", (pattern, hint) => {
  const error = (() => {
    try {
      chosen("db", pattern);
    } catch (thrown) {
      return thrown as FleetError;
    }
  })();
  expect(error).toBeInstanceOf(FleetError);
  expect([error?.message, error?.exitStatus]).toEqual([`no host is called '${pattern}'`, 2]);
  if (pattern !== "wbe-1") expect(error?.hint).toBe(hint);
});

test("a fleet without hosts is an error, whatever was asked for", () => {
  for (const patterns of [[], ["*"]]) expect(() => selectHosts([], patterns)).toThrow("the fleet has no hosts");
});
