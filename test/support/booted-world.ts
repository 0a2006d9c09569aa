import { readFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeEach, describe, onTestFailed } from "vitest";
import { BootedMachine, Cable } from "./booted.ts";
import { missing, prepareMachine } from "./booted-module.ts";
import type { KeyPair } from "./keys.ts";
import { World } from "./world.ts";

/** Tests that need a machine which systemd has booted; where that can't be, they are left out, and their name says why. */
export function describeBooted(name: string, tests: () => void): void {
  describe.skipIf(missing.length > 0)(`${name}${missing.length ? ` (needs ${missing.join(", ")})` : ""}`, tests);
}

/** A world, and a machine at the other end of a cable, that hasn't booted yet. */
export interface BootedWorld {
  world: World;
  cable: Cable;
  machine: BootedMachine;
  /** What else goes with it. */
  resources: AsyncDisposableStack;
}

/**
 * What makes them for all tests of a `describeBooted`, in its beforeAll. After the last one they are taken away, and with a test that
 * failed the machine's journal is printed.
 */
export function bootedWorld(): (host: string, others?: readonly string[]) => Promise<BootedWorld> {
  const resources = new AsyncDisposableStack();
  let machine: BootedMachine | undefined;
  beforeEach(() => onTestFailed(() => console.log(machine?.log)));
  afterAll(() => resources.disposeAsync());
  return async (host, others = []) => {
    const cable = resources.use(await Cable.make());
    const world = resources.use(await World.make({ hosts: [host, ...others], listen: cable.address }));
    machine = resources.use(await BootedMachine.make(path.join(world.dir, host), host, cable));
    return { world, cable, machine, resources };
  };
}

/** Prepares a machine whose ssh host key is this one. */
export async function prepareWith(machine: BootedMachine, key: KeyPair): Promise<void> {
  await prepareMachine(machine, { text: await readFile(key.file, "utf8"), publicKey: key.publicKey });
}

/** Sets an sshd up, as the unit sshd-test.service, for these users to log in with this key; `lines` are of sshd_config(5). */
export async function writeSshd(
  machine: BootedMachine,
  { users, key, lines }: { users: readonly string[]; key: KeyPair; lines: readonly string[] },
): Promise<void> {
  const all = ["AuthorizedKeysFile /etc/ssh/authorized/%u", "PasswordAuthentication no", "UsePAM no", ...lines];
  await machine.write("/etc/ssh/sshd_test", `${["PermitRootLogin yes", ...all].join("\n")}\n`);
  for (const user of users) await machine.write(`/etc/ssh/authorized/${user}`, `${key.publicKey}\n`);
  await machine.write(
    "/etc/systemd/system/sshd-test.service",
    "[Service]\nExecStartPre=/bin/mkdir -p /run/sshd\nExecStart=/usr/sbin/sshd -D -e -f /etc/ssh/sshd_test\n",
  );
}
