import { expect, test } from "vitest";
import { FleetError } from "../../src/errors.ts";
import { chooseWave, parseWave, wavesOf } from "../../src/fleet/waves.ts";
import { hostNamed } from "./host.ts";

const hosts = [
  hostNamed("anna", { groups: ["laptops"] }),
  hostNamed("ben", { groups: ["laptops", "canary"] }),
  hostNamed("nas"),
  hostNamed("router", { groups: ["canary"] }),
  hostNamed("web-1"),
  hostNamed("web-2"),
];
const locate = (path: readonly PropertyKey[]) => ({ file: path.join(".") });
const waves = (rollout: string[][]) => wavesOf(rollout, hosts, locate);

test("an entry is a group, a host, or a glob of hosts, and a host is in the first wave that names it", () => {
  expect(waves([["canary"], ["web-*", "ben"], ["*"]])).toEqual([
    ["ben", "router"],
    ["web-1", "web-2"],
    ["anna", "nas"],
  ]);
  expect(waves([["*"]])).toEqual([["anna", "ben", "nas", "router", "web-1", "web-2"]]);
});

test.each([
  [[["canari"], ["*"]], "rollout: there is no group or host 'canari'", "rollout.0.0", "did you mean 'canary'?"],
  [
    [["canary"], ["web-*", "nas"]],
    "rollout: anna is in no wave",
    "rollout",
    'end it with a wave for all others: ["*"]',
  ],
  [[["canary"]], "rollout: anna, nas, web-1, web-2 are in no wave", "rollout", expect.any(String)],
  [[["canary"], ["router"], ["*"]], "rollout: wave 2 has no host that isn't in an earlier one", "rollout.1", undefined],
])("%j is an error with its place", (rollout, message, file, hint) => {
  try {
    waves(rollout);
  } catch (error) {
    expect(error).toBeInstanceOf(FleetError);
    expect(error).toMatchObject({ message, at: { file }, hint });
    return;
  }
  expect.unreachable();
});

test("a wave waits for all those before it", () => {
  const three = [["a"], ["b", "c"], ["d"]];
  expect(chooseWave(three, 1, false)).toEqual({ hosts: ["a"], before: [] });
  expect(chooseWave(three, 3, false)).toEqual({ hosts: ["d"], before: ["a", "b", "c"] });
  expect(chooseWave(three, "all", false)).toEqual({ hosts: null, before: [] });
});

test("with a rollout nobody deploys to everybody without having said so", () => {
  expect(() => chooseWave([["a"], ["b"]], null, false)).toThrow("fleet.yaml has a rollout of 2 waves: say which one");
  expect(chooseWave([["a"], ["b"]], null, true)).toEqual({ hosts: null, before: [] });
  expect(() => chooseWave([["a"], ["b"]], 3, false)).toThrow("there is no wave 3: fleet.yaml's rollout has 2");
});

test("without a rollout there are no waves", () => {
  expect(chooseWave(null, null, false)).toEqual({ hosts: null, before: [] });
  expect(chooseWave(null, "all", false)).toEqual({ hosts: null, before: [] });
  expect(() => chooseWave(null, 1, false)).toThrow("fleet.yaml has no rollout");
});

test("a wave is a number, or all", () => {
  expect([parseWave("1"), parseWave("12"), parseWave("all")]).toEqual([1, 12, "all"]);
  for (const text of ["", "0", "-1", "x", "1.5", "ALL"]) expect(() => parseWave(text)).toThrow(FleetError);
});
