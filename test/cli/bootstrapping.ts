import { writeFile } from "node:fs/promises";
import path from "node:path";
import { expect } from "vitest";
import type { FleetRepository } from "../support/fleet.ts";
import { exec } from "../support/programs.ts";
import type { World } from "../support/world.ts";
import { bento } from "./bento.ts";

// What comes before a machine is bootstrapped.

/** Publishes a host's release, whatever was published before. */
export async function deployAnew(world: World, fleet: FleetRepository, host: string): Promise<void> {
  const env = { BENTO_SSH_KEY_FILE: world.publisherKey.file, BENTO_SIGNING_KEY_FILE: world.signingKey.file };
  const { status, stdout, stderr } = await bento(["deploy", "--force", "--hosts", host], { cwd: fleet.dir, env });
  expect(status, stdout + stderr).toBe(0);
}

/** Sets the server up with these keys, by host, instead of those that the world has made. */
export async function provisionWith(world: World, keys: Record<string, string>): Promise<void> {
  const { hosts, ...logins } = world.logins;
  const others = Object.entries(hosts).map(([host, login]) => [host, { ...login, key: keys[host] ?? login.key }]);
  await world.server.provision({ ...logins, hosts: Object.fromEntries(others) });
}

/** The script for a host, in a file, and what is needed to run it on its machine, which knows nothing of the fleet. */
export async function prepareBootstrap(
  world: World,
  fleet: FleetRepository,
  host: string,
  args: readonly string[] = [],
) {
  const { status, stdout, stderr } = await bento(["bootstrap", host, ...args], { cwd: fleet.dir });
  expect(status, stderr).toBe(0);
  const machine = await world.machine(host);
  const { BENTO_CONFIG: _, ...env } = machine.env;
  const script = path.join(world.dir, `bootstrap-${host}`);
  await writeFile(script, stdout);
  const run = (more: Record<string, string> = {}) => exec("sh", [script], { env: { ...env, ...more } });
  return { machine, env, script, run };
}
