import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { stateOf } from "../../src/reports/state.ts";
import type { Machine } from "./machine.ts";
import type { Release } from "./release.ts";
import type { World } from "./world.ts";

export const kernel = (version: string) => `boot.kernelVersion = "${version}";`;

/** The settings of a machine that may be restarted; why it was is in a file. */
export async function restartable(
  machine: Machine,
  settings: Record<string, string> = {},
): Promise<Record<string, string>> {
  const command = machine.path("etc/restart");
  await writeFile(command, `#!/bin/sh\necho "$1" >> ${machine.path("etc/restarts")}\n`, { mode: 0o755 });
  return { BENTO_REBOOT: "now", BENTO_REBOOT_COMMAND: command, BENTO_BACKOFF: "0", ...settings };
}

export async function restarts(machine: Machine): Promise<number> {
  const file = machine.path("etc/restarts");
  return existsSync(file) ? (await readFile(file, "utf8")).trimEnd().split("\n").length : 0;
}

/** What the fleet sees of a host. */
export async function stateIn(world: World, host: string, { manifest }: Release) {
  const said = await world.said(host);
  if (said.state !== "read") throw new Error(`${host} can't be read`);
  const now = Date.now();
  const report = said.report && { content: JSON.parse(said.report.text), received: now };
  return stateOf({
    published: manifest,
    heartbeat: { content: await world.heartbeat(host), received: now } as never,
    report,
    now,
  });
}
