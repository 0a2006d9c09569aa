import { readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import type { DeployDocument } from "../../src/results.ts";
import type { FleetRepository } from "../support/fleet.ts";
import { withFleet } from "../support/with-fleet.ts";
import type { World } from "../support/world.ts";
import { bento, bentoJson, lineOf } from "./bento.ts";

// A fleet with server.tree, some hosts of which still have the Bento of 2022.

let world: World;
let fleet: FleetRepository;
withFleet({ tree: true }, (made) => {
  ({ world, fleet } = made);
});

const options = () => ({
  cwd: fleet.dir,
  env: { BENTO_SSH_KEY_FILE: world.publisherKey.file, BENTO_SIGNING_KEY_FILE: world.signingKey.file },
});
const at = (host: string, ...place: string[]) => path.join(world.server.chroot(host), ...place);

test("deploy puts each host's tree there, and status shows old hosts beside new ones", async () => {
  const deployed = await bentoJson<DeployDocument>(["deploy", "--hosts", "router,laptop-anna"], options());
  expect(deployed.status).toBe(0);
  expect((await readdir(at("laptop-anna", "config"))).sort()).toEqual(
    expect.arrayContaining(["bootstrap.sh", "flake.lock", "flake.nix", "update.sh", "utils"]),
  );
  const script = await readFile(at("laptop-anna", "config/bootstrap.sh"), "utf8");
  expect(script).toContain(`login='${world.loginPrefix}laptop-anna'\n`);
  expect(script).toContain("kind='flake'\nattr='laptop-anna'\n");
  expect(script).not.toMatch(/=@\w+@/);

  const router = await world.machine("router");
  expect((await router.agent()).status).toBe(0);
  const toplevel = deployed.document.hosts.find(({ name }) => name === "laptop-anna")?.toplevel ?? "";
  await writeFile(at("laptop-anna", `logs/20261124-1200_${path.basename(toplevel)}_success.log.gz`), "");
  const { stdout } = await bento(["status"], options());
  expect(lineOf("router", stdout)).toMatch(/^✓ +router +up to date /);
  expect(lineOf("laptop-anna", stdout)).toMatch(/^✓ +laptop-anna +up to date .* reported by the Bento of 2022$/);

  // Nothing changed: nothing is sent.
  const again = await bentoJson<DeployDocument>(["deploy", "--hosts", "router,laptop-anna"], options());
  expect(again.document.hosts.map(({ status }) => status)).toEqual(["unchanged", "unchanged"]);
});
