import path from "node:path";
import { expect, test } from "vitest";
import type { CheckDocument } from "../../src/results.ts";
import type { FleetRepository } from "../support/fleet.ts";
import { succeed } from "../support/programs.ts";
import { withFleet } from "../support/with-fleet.ts";
import type { World } from "../support/world.ts";
import { bentoJson } from "./bento.ts";

let world: World;
let fleet: FleetRepository;

withFleet({}, (made) => {
  ({ world, fleet } = made);
});

const build = async (args: readonly string[] = []) => {
  const env = { XDG_CACHE_HOME: path.join(world.dir, "cache"), XDG_STATE_HOME: path.join(world.dir, "build-state") };
  return bentoJson<CheckDocument>(["build", "--hosts", "nas", ...args], { cwd: fleet.dir, env });
};

test("what is remembered is built all the same when its derivation is gone, and what is built counts by what is in it", async () => {
  const first = await build();
  expect([first.status, first.document.hosts[0]?.error]).toEqual([0, null]);
  const before = first.document.hosts[0]?.toplevel ?? "";
  // The system itself is kept; what it was built by is not.
  await succeed("nix-store", ["--gc"]);
  const again = await build();
  expect([again.status, again.document.hosts[0]?.toplevel]).toEqual([0, before]);

  await fleet.edit("hosts/nas/configuration.nix", "pkgs.postgresql", "pkgs.curl");
  await fleet.commit("nas: curl");
  const changed = await build(["--base", "HEAD~1"]);
  expect(changed.document.hosts[0]).toMatchObject({ status: "changed", base: before, error: null });
  expect(changed.document.hosts[0]?.packages).toEqual([
    { name: "curl", from: null, to: "8.17.0" },
    { name: "postgresql", from: "18.1", to: null },
  ]);
});
