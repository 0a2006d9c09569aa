import { chown, readdir, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { parse, stringify } from "yaml";
import type { CheckDocument } from "../../src/results.ts";
import type { FleetRepository } from "../support/fleet.ts";
import { withFleet } from "../support/with-fleet.ts";
import type { World } from "../support/world.ts";
import { bentoJson } from "./bento.ts";

let world: World;
let fleet: FleetRepository;
/** The router's systems, the oldest first. */
const systems: string[] = [];

withFleet({}, async (made) => {
  ({ world, fleet } = made);
  for (const gateway of ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"]) {
    await fleet.write(
      "hosts/router/configuration.nix",
      `{ ... }: { imports = [ ./utils/common.nix ]; networking.hostName = "router"; networking.gateway = "${gateway}"; }\n`,
    );
    await fleet.commit(gateway);
    const { document } = await build("--hosts", "router");
    systems.push(document.hosts[0]?.toplevel ?? "");
  }
  await build("--hosts", "nas");
});

const roots = () => path.join(world.dir, "roots");
const build = (...args: string[]) => buildWith({ BENTO_SSH_KEY_FILE: world.publisherKey.file }, ...args);
function buildWith(key: Record<string, string>, ...args: string[]) {
  const env = { XDG_CACHE_HOME: path.join(world.dir, "cache"), XDG_STATE_HOME: path.join(world.dir, "state"), ...key };
  return bentoJson<CheckDocument>(["build", "--roots", roots(), ...args], { cwd: fleet.dir, env });
}

/** Says what the router runs, as the router does. */
async function report(running: string | null): Promise<void> {
  const file = path.join(world.server.chroot("router"), "reports/heartbeat.json");
  const heartbeat = { version: 1, host: "router", agent: "1", running, booted: running, profile: running, sequence: 1 };
  await writeFile(file, JSON.stringify(heartbeat));
  const { uid, gid } = await stat(path.dirname(file));
  await chown(file, uid, gid);
}

const kept = async (host: string) =>
  (await readdir(path.join(roots(), host))).map((name) => path.join(world.store.dir, name)).sort();

test("a build keeps everything, until it is told to prune; and nothing goes while hosts can't be asked", async () => {
  expect(await kept("router")).toEqual([...systems].sort());
  await world.server.stop();
  const { document, status } = await build("--hosts", "router", "--prune");
  await world.server.start();
  expect([status, document.pruned]).toEqual([0, []]);
  expect(document.warnings).toEqual([expect.stringContaining("--prune: nothing was removed, as hosts' reports")]);
  expect(await kept("router")).toEqual([...systems].sort());
});

test("the last three stay, and what the host runs, and nothing of other hosts is touched", async () => {
  await report(systems[0] ?? "");
  const { document } = await build("--hosts", "router", "--prune");
  expect(document.warnings).toEqual([]);
  expect(document.pruned).toEqual([{ host: "router", toplevel: systems[1], hasLeft: false }]);
  expect(await kept("router")).toEqual([systems[0], ...systems.slice(2)].sort());
  expect(await kept("nas")).toHaveLength(1);
});

test("what a host says that can't be understood takes nothing away from it", async () => {
  await report("/etc/shadow");
  await writeFile(path.join(world.server.chroot("router"), "reports/heartbeat.json"), "{");
  const { document } = await build("--hosts", "router", "--prune");
  expect(document.warnings).toEqual(["the roots of router stay: what it runs is not known now"]);
  expect(await kept("router")).toHaveLength(4);
});

test("without a key the last three stay, and it is said that nobody was asked", async () => {
  const { document } = await buildWith({}, "--hosts", "router", "--prune");
  expect(document.warnings).toEqual([expect.stringContaining("as there is no BENTO_SSH_KEY to ask with")]);
  expect(await kept("router")).toEqual(systems.slice(2).sort());
});

test("what a host has now stays, however long ago it was built, also where nothing of it has changed since the base", async () => {
  // Back to the oldest that is left.
  const configuration = await fleet.read("hosts/router/configuration.nix");
  await fleet.write("hosts/router/configuration.nix", configuration.replace("10.0.0.5", "10.0.0.3"));
  const back = await fleet.commit("Back to the third");
  // Built before the others, as far as that can be told, and one that came after them.
  const newest = configuration.replace("10.0.0.5", "10.0.0.6");
  await fleet.write("hosts/router/configuration.nix", newest);
  await fleet.commit("A sixth");
  await buildWith({}, "--hosts", "router");
  expect(await kept("router")).toHaveLength(4);
  await fleet.git("revert", "--no-edit", "HEAD");
  await buildWith({}, "--base", back, "--prune");
  expect(await kept("router")).toContain(systems[2]);
  expect(await kept("router")).toHaveLength(3);
});

test("a host that left the fleet keeps nothing alive, when the whole fleet is built", async () => {
  const settings = parse(await fleet.read("fleet.yaml"));
  delete settings.hosts.router;
  await fleet.write("fleet.yaml", stringify(settings, { lineWidth: 0 }));
  await rm(path.join(fleet.dir, "hosts/router"), { recursive: true });
  await fleet.render();
  await fleet.commit("The router is gone");
  const some = await build("--hosts", "nas", "--prune");
  expect(some.document.pruned).toEqual([]);
  const { document } = await build("--prune");
  expect(document.pruned?.map(({ host, hasLeft }) => [host, hasLeft])).toEqual([
    ["router", true],
    ["router", true],
    ["router", true],
  ]);
  expect((await readdir(roots())).sort()).toEqual(["laptop-anna", "laptop-ben", "nas"]);
});
