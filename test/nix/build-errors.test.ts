import { describe, expect, test } from "vitest";
import { nameOf, parseBuildError } from "../../src/nix/build-errors.ts";

// As Nix 2.8.0, 2.26.3 and 2.34.8 said it.
const DRV = "/nix/store/c987mpiv4aksk0s9f6dl3fdp6sqafjaz-broken-1.0.drv";
const OTHER = "/nix/store/k71c16sdzg6919ygb6qmkvnh4yyvkcjs-nixos-system-a-1.drv";
const coloured = (path: string) => `'\u001b[35;1m${path}\u001b[0m'`;
const ERROR = "\u001b[31;1merror:\u001b[0m";

const failed: Record<string, [string, string]> = {
  "2.8 and 2.26": [`${ERROR} builder for ${coloured(DRV)} failed with exit code 3`, "builder failed with exit code 3"],
  "2.34": [
    `${ERROR} Cannot build ${coloured(DRV)}.\n       Reason: \u001b[31;1mbuilder failed with exit code 3\u001b[0m.\n       Output paths:\n         /nix/store/x`,
    "builder failed with exit code 3",
  ],
  "a wrong hash": [
    `error: hash mismatch in fixed-output derivation '${DRV}':\n         specified: sha256-A\n            got:    sha256-B`,
    "hash mismatch in fixed-output derivation broken-1.0",
  ],
  "too long": [
    `error: building of '${DRV}' timed out after 5 seconds`,
    "building of broken-1.0 timed out after 5 seconds",
  ],
};

test.each(Object.entries(failed))("what failed, in the words of %s", (_, [text, reason]) => {
  expect(parseBuildError(text)).toEqual({ kind: "failed", drv: DRV, reason });
});

const unbuildable: Record<string, [string, { system: string | null; features: string[] }]> = {
  "2.8 and 2.26": [
    `error: a 'aarch64-linux' with features {} is required to build '${DRV}', but I am a 'x86_64-linux' with features {benchmark, kvm}`,
    { system: "aarch64-linux", features: [] },
  ],
  "2.8 and 2.26, for a feature": [
    `error: a 'x86_64-linux' with features {gpu, kvm} is required to build '${DRV}', but I am a 'x86_64-linux' with features {benchmark, kvm}`,
    { system: "x86_64-linux", features: ["gpu", "kvm"] },
  ],
  "versions between": [
    `error: Cannot build '${DRV}'.\n       Reason: required system or feature not available\n       Required system: 'aarch64-linux' with features {kvm}\n       Current system: 'x86_64-linux' with features {benchmark}`,
    { system: "aarch64-linux", features: ["kvm"] },
  ],
  "2.34": [
    `error: Cannot build '${DRV}'.\n       Reason: platform mismatch\n       Required system: 'aarch64-linux'\n       Current system: 'x86_64-linux'`,
    { system: "aarch64-linux", features: [] },
  ],
  "2.34, for a feature": [
    `error: Cannot build '${DRV}'.\n       Reason: missing system features\n       Required features: {gpu, kvm}\n       Available features: {benchmark, kvm}`,
    { system: null, features: ["gpu", "kvm"] },
  ],
};

test.each(Object.entries(unbuildable))("what can't be built here, in the words of %s", (_, [text, needs]) => {
  expect(parseBuildError(text)).toEqual({ kind: "unbuildable", drv: DRV, needs });
});

describe("what is only an echo of another error", () => {
  test.each([
    `${ERROR} \u001b[35;1m1\u001b[0m dependencies of derivation ${coloured(OTHER)} failed to build`,
    `${ERROR} Cannot build ${coloured(OTHER)}.\n       Reason: \u001b[31;1m1 dependency failed\u001b[0m.`,
    `error: Cannot build '${OTHER}'.\n       Reason: 2 dependencies failed.`,
    `error: build of '${OTHER}', '${DRV}' failed`,
  ])("%s", (text) => expect(parseBuildError(text)).toEqual({ kind: "dependent" }));
});

test("what concerns no derivation", () => {
  expect(parseBuildError("error: writing to file: No space left on device")).toEqual({
    kind: "other",
    text: "writing to file: No space left on device",
  });
  expect(nameOf(DRV)).toBe("broken-1.0");
});
