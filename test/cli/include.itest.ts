import { cp } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { collapsed } from "../../src/commands/check/include.ts";
import type { CheckDocument } from "../../src/results.ts";
import { gitRepository } from "../platform/git.ts";
import { World } from "../support/world.ts";
import { bentoJson } from "./bento.ts";

let world: World;
beforeAll(async () => {
  world = await World.make({ hosts: [] });
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});

const flake = (system: string) => `{
  outputs = { self }: {
    nixosConfigurations =
      let host = name: import ./nixpkgs/nixos/eval.nix { system = "${system}"; modules = [ ./hosts/\${name} ]; };
      in { a = host "a"; b = host "b"; };
  };
}
`;

test("a root flake's host that is shipped another's directory is told what it needs, and is well with that", async () => {
  await using repo = await gitRepository({
    "flake.nix": flake(world.store.system),
    "hosts/a/default.nix": '{ imports = [ ../../modules/x.nix ]; networking.hostName = "a"; }',
    "hosts/b/default.nix": '{ networking.hostName = "b"; }',
    "modules/x.nix": "{ }",
  });
  await cp(world.store.nixpkgs, path.join(repo.dir, "nixpkgs"), { recursive: true });
  await repo.commit({ "README.md": "not needed" });
  const check = async () => (await bentoJson<CheckDocument>(["check"], { cwd: repo.dir })).document.hosts;
  const [a, b] = await check();
  expect([a?.status, b?.status]).toEqual(["ok", "ok"]);
  expect(a?.warnings).toEqual([
    "it is shipped hosts/b as well, which is another host's; what it evaluates is in include: [flake.nix, hosts/a, modules, nixpkgs]",
  ]);
  expect(b?.warnings[0]).toContain("include: [flake.nix, hosts/b, nixpkgs]");

  const include = (own: string) => `{ path: ., include: [flake.nix, ${own}, modules, nixpkgs] }`;
  await repo.commit({ "fleet.yaml": `hosts:\n  a: ${include("hosts/a")}\n  b: ${include("hosts/b")}\n` });
  const { stderr } = await bentoJson(["render"], { cwd: repo.dir });
  expect(stderr).toBe("");
  await repo.commit({});
  const again = await check();
  expect(again.map(({ name, status, warnings, error }) => [name, status, warnings, error])).toEqual([
    ["a", "ok", [], null],
    ["b", "ok", [], null],
  ]);
  expect(again.map((host) => host.toplevel)).toEqual([a?.toplevel, b?.toplevel]);
});

test("what is needed is said by the largest directories that have nothing of another host", () => {
  const others = ["hosts/b", "hosts/c"];
  expect(
    collapsed(["flake.nix", "hosts/a/x.nix", "hosts/a/deep/y.nix", "hosts/common.nix", "lib/z/z.nix"], others),
  ).toEqual(["flake.nix", "hosts/a", "hosts/common.nix", "lib"]);
});
