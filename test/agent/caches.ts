import { chmod, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach } from "vitest";
import type { Manifest } from "../../src/release/manifest.ts";
import { BinaryCache } from "../support/binary-cache.ts";
import type { Machine } from "../support/machine.ts";
import { succeed } from "../support/programs.ts";
import { buildChannelHost, type Content, channelHost, forgetSystems } from "../support/release.ts";
import { World } from "../support/world.ts";

// A world with a binary cache for each test, with an HTTP server. Systems are built for a cache and then thrown away, so that the
// machines, who share a store, have to get them.

export let world: World;
export let cache: BinaryCache;
let serial = 0;

/** Makes the world of a test file. */
export function cachesFor(hosts: readonly string[]): void {
  beforeAll(async () => {
    world = await World.make({ hosts });
  });
  afterAll(async () => world?.[Symbol.asyncDispose]());
  beforeEach(async () => {
    cache = await anotherCache("cache-1");
  });
  afterEach(async () => cache?.[Symbol.asyncDispose]());
}

export const anotherCache = (keyName: string): Promise<BinaryCache> =>
  BinaryCache.start(path.join(world.dir, `caches-${++serial}`), keyName);

/** A machine that has these caches; the cache of the test unless told otherwise. */
export async function machineWith(name = "nas", substituters = [cache.substituter]): Promise<Machine> {
  const machine = await world.machine(name);
  await writeFile(machine.path("etc/bento.json"), world.agentSettings({ substituters }));
  await rm(machine.path("state/retry.json"), { force: true });
  return machine;
}

/** Another system each time. */
export const next = (name = "nas", program = "nginx") =>
  channelHost(name, `environment.systemPackages = [ pkgs.${program} ];\nenvironment.etc.serial = "${++serial}";`);

/** Builds a host's system, and leaves it in the cache alone. */
export async function pushed(content: Content, push = (system: string) => cache.push(system)): Promise<string> {
  const built = await buildChannelHost(content, world.dir);
  await push(built);
  await forgetSystems();
  return built;
}

export async function published(content: Content, name = "nas"): Promise<Manifest> {
  return (await world.publish(name, content)).manifest;
}

export const downloads = () => cache.requests.filter((request) => request.startsWith("/nar/"));

/** Programs in front of Nix's that write down how they are called. */
export async function recorded(machine: Machine): Promise<{ PATH: string; calls: () => Promise<string> }> {
  const bin = machine.path("recorders");
  const log = machine.path("recorders/log");
  await rm(bin, { recursive: true, force: true });
  await mkdir(bin);
  await writeFile(log, "");
  for (const name of ["nix", "nix-build", "nix-instantiate", "nix-env", "nix-store"]) {
    const real = await succeed("sh", ["-c", `command -v ${name}`]);
    await writeFile(path.join(bin, name), `#!/bin/sh\necho "${name} $*" >> ${log}\nexec ${real} "$@"\n`);
    await chmod(path.join(bin, name), 0o755);
  }
  return { PATH: `${bin}:${process.env.PATH}`, calls: () => readFile(log, "utf8") };
}
