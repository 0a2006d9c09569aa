import { existsSync } from "node:fs";
import { readlink } from "node:fs/promises";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Hold } from "../support/hold.ts";
import type { Machine } from "../support/machine.ts";
import { kill } from "../support/programs.ts";
import { channelHost, type Release } from "../support/release.ts";
import { World } from "../support/world.ts";

let world: World;
const hosts = ["hand", "cut"];
beforeAll(async () => {
  world = await World.make({ hosts });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

/** Which system it is can be seen in its /etc. */
const system = (host: string, name: string) => channelHost(host, `environment.etc."system" = "${name}";`);

async function upgrade(machine: Machine, name: string): Promise<Release["manifest"]> {
  const { manifest } = await world.publish(machine.name, system(machine.name, name));
  expect((await machine.agent()).status).toBe(0);
  return manifest;
}

/** What runs is what boots, and there is nothing left that is going on. */
async function expectSettled(machine: Machine, toplevel: string | null): Promise<void> {
  expect(await machine.running()).toBe(toplevel);
  expect(await machine.profile()).toBe(toplevel);
  expect(await machine.bootDefault()).toBe(toplevel);
  expect(await machine.state("intent.json")).toBeUndefined();
  expect(await machine.state("undo.json")).toBeUndefined();
}

test("a release can be undone by hand, as safely as it came", async () => {
  const machine = await world.machine("hand");
  expect((await machine.agent({}, ["rollback", "-y"])).stderr).toMatch(/^no system from before this one is known/);
  const first = await upgrade(machine, "first");
  const second = await upgrade(machine, "second");
  // Nobody is there to be asked.
  expect(await machine.agent({}, ["rollback"])).toMatchObject({ status: 2, stderr: expect.stringContaining("-y") });
  const args = ["rollback", "-y", "--reason", "the scanner is gone"];
  const { status, stderr } = await machine.agent({ SUDO_USER: "alice" }, args);
  expect(stderr.split("\n")).toEqual([
    `going back from ${second.toplevel}`,
    `to ${first.toplevel}`,
    `activating ${first.toplevel}`,
    "confirmation 1 of 1",
    "rolled-back: by hand, by alice: the scanner is gone",
    "",
  ]);
  expect(status).toBe(0);
  await expectSettled(machine, first.toplevel);
  expect(await world.report("hand")).toMatchObject({
    outcome: "rolled-back",
    reason: "by hand, by alice: the scanner is gone",
    sequence: second.sequence,
    commit: second.commit,
    from: second.toplevel,
    to: first.toplevel,
  });
  expect(await world.heartbeat("hand")).toMatchObject({ sequence: first.sequence, running: first.toplevel });
  expect((await machine.agent({}, ["rollback", "-y"])).stderr).toMatch(/^no system from before this one is known/);
});

test("what was undone by hand is not tried again, and the next release is; what fails is not what is gone back from", async () => {
  const machine = await world.machine("hand");
  const first = await machine.running();
  // The same once more, as a commit that changes nothing would bring it.
  const same = await world.publish("hand", system("hand", "second"));
  const refused = await machine.agent();
  expect(refused.stderr).toContain("refused: it is what was undone by hand, and is not tried again\n");
  const again = await machine.agent();
  expect(again.stderr).toBe(`release ${same.manifest.sequence} was undone by hand, and is not tried again\n`);
  expect(again.status).toBe(0);
  await machine.healthCheck("third", "! grep -q third $MACHINE/etc/system");
  await world.publish("hand", system("hand", "third"));
  expect((await machine.agent({ BENTO_CONFIRM_TIMEOUT: "2" })).status).toBe(1);
  const fourth = await upgrade(machine, "fourth");
  expect(await machine.running()).toBe(fourth.toplevel);
  expect(await readlink(machine.path("state/gcroots/before"))).toBe(first);
});

test("without contact nothing is done, unless somebody wants it; to a system by its name", async () => {
  const machine = await world.machine("hand");
  const running = await machine.running();
  await world.server.stop();
  await using _ = { [Symbol.asyncDispose]: () => world.server.start() };
  const refused = await machine.agent({}, ["rollback", "-y"]);
  expect(refused.stderr).toMatch(/\nnot going back: no contact: .*; --offline does without it\n$/);
  expect(refused.status).toBe(75);
  await expectSettled(machine, running);
  const { status, stderr } = await machine.agent({}, ["rollback", "-y", "--offline", "--to", machine.path("factory")]);
  expect(stderr).toMatch(/\nrolled-back: by hand, by \w+\nthe report could not be delivered now/);
  expect(status).toBe(0);
  await expectSettled(machine, machine.factory);
  expect(await readlink(machine.path("state/gcroots/before"))).toBe(machine.factory);
  expect((await machine.agent({}, ["rollback", "-y", "--to", "/etc"])).stderr).toContain("/etc is no NixOS system");
});

test("a system that isn't confirmed any more is not gone back to, and the release isn't to blame", async () => {
  const machine = await world.machine("cut");
  await upgrade(machine, "first");
  const second = await upgrade(machine, "second");
  await machine.healthCheck("first", "! grep -q first $MACHINE/etc/system");
  const { status, stderr } = await machine.agent({ BENTO_CONFIRM_TIMEOUT: "2" }, ["rollback", "-y"]);
  expect(stderr).toMatch(/\nfailed: going back to \S+ failed \(by hand, by \w+\): the health check first failed: /);
  expect(status).toBe(1);
  await expectSettled(machine, second.toplevel);
  expect(await world.report("cut")).toMatchObject({ outcome: "failed", sequence: null });
  expect((await machine.agent()).stderr).toBe(`up to date with release ${second.sequence}\n`);
});

test("cut off before the confirmation, it is undone by the next run, as an upgrade is", async () => {
  const machine = await world.machine("cut");
  const second = await machine.running();
  await using hold = await Hold.make(machine, "check");
  await machine.healthCheck("first", hold.script);
  const killed = machine.startAgent({}, ["rollback", "-y"]);
  await hold.reached();
  expect(await machine.running()).not.toBe(second);
  await killOutright(killed);
  await hold.letGo();
  const next = await machine.agent();
  expect(next.stderr).toMatch(/^going back to \S+ was cut off\ngoing back to \S+\nfailed: going back to \S+ failed/);
  await expectSettled(machine, second);
});

test("cut off after the confirmation, it is completed by the next run", async () => {
  const machine = await world.machine("cut");
  // The first system holds while the boot loader is told.
  await using boot = await Hold.make(machine, "boot");
  const holding = await world.publish(
    "cut",
    channelHost("cut", `system.bootScript = ''if [ -e $MACHINE/hold ]; then ${boot.script}; fi'';`),
  );
  expect((await machine.agent()).status).toBe(0);
  const { sequence } = await upgrade(machine, "third");
  await machine.healthCheck("first", "touch $MACHINE/hold");
  const committing = machine.startAgent({}, ["rollback", "-y", "--reason", "no sound"]);
  await boot.reached();
  await killOutright(committing);
  await boot.forget();
  const completed = await machine.agent();
  expect(completed.stderr).toMatch(
    /\nrolled-back: by hand, by \w+: no sound; the upgrade was cut off after it was con/,
  );
  expect(completed.status).toBe(0);
  await expectSettled(machine, holding.manifest.toplevel);
  expect(await world.report("cut")).toMatchObject({ outcome: "rolled-back", sequence });
  expect(await machine.state("applied.json")).toMatchObject({ sequence: holding.manifest.sequence });
  expect((await machine.agent()).stderr).toMatch(/was undone by hand, and is not tried again\n$/);
});

/** Ends the agent as the kernel does when memory is short: without a chance to do anything. */
async function killOutright({ pid, done }: { pid: number; done: Promise<unknown> }): Promise<void> {
  kill([pid]);
  await vi.waitFor(() => expect(existsSync(`/proc/${pid}/exe`)).toBe(false), { timeout: 10_000, interval: 10 });
  void done;
}
