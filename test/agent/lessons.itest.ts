import { afterAll, beforeAll, expect, test } from "vitest";
import { Hold } from "../support/hold.ts";
import { channelHost } from "../support/release.ts";
import { World } from "../support/world.ts";

// What went wrong with other tools that do this, and is tested nowhere else.

let world: World;

beforeAll(async () => {
  world = await World.make({ hosts: ["daemon", "offline"] });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

// NixOS's own lock was held for ever like this, by what an activation had started.
test("what an activation leaves running has no lock of the agent's, and doesn't keep the attempt from its end", async () => {
  const machine = await world.machine("daemon");
  const started = (what: string) => channelHost("daemon", `system.activationScript = "setsid sleep 600 & # ${what}";`);
  const first = await world.publish("daemon", started("first"));
  expect((await machine.agent()).status).toBe(0);
  expect(await machine.running()).toBe(first.manifest.toplevel);
  const second = await world.publish("daemon", started("second"));
  const { status, stderr } = await machine.agent();
  expect(status, stderr).toBe(0);
  expect(await machine.running()).toBe(second.manifest.toplevel);
});

// The Bento of 2022 looked for its server after every failure, and went back one generation when it wasn't there.
test("a build that fails while the server is away undoes nothing: there is nothing to undo", async () => {
  const machine = await world.machine("offline");
  const good = await world.publish("offline", channelHost("offline", "environment.systemPackages = [ pkgs.curl ];"));
  expect((await machine.agent()).status).toBe(0);
  const generations = await machine.generations();
  await using hold = await Hold.make(machine, "build");
  const script = `PATH=/usr/bin:/bin; ${hold.script}; exit 1`;
  const broken = `environment.systemPackages = [
    (derivation { name = "broken"; system = pkgs.system; builder = "/bin/sh"; args = [ "-c" ''${script}'' ]; })
  ];`;
  const { manifest } = await world.publish("offline", channelHost("offline", broken));
  const attempt = machine.startAgent();
  await hold.reached();
  await world.server.stop();
  await hold.letGo();
  const { status, stderr } = await attempt.done;
  expect(stderr).toMatch(/^failed: it does not build: /m);
  expect(stderr).not.toMatch(/activating|going back/);
  expect(status).toBe(1);
  expect(await machine.running()).toBe(good.manifest.toplevel);
  expect(await machine.bootDefault()).toBe(good.manifest.toplevel);
  expect(await machine.profile()).toBe(good.manifest.toplevel);
  expect(await machine.generations()).toBe(generations);
  await world.server.start();
  await machine.agent();
  expect(await world.report("offline")).toMatchObject({ outcome: "failed", sequence: manifest.sequence });
});
