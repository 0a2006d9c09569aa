import { existsSync } from "node:fs";
import { readlink } from "node:fs/promises";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Hold } from "../support/hold.ts";
import { long } from "../support/long.ts";
import type { Machine } from "../support/machine.ts";
import { kill, succeed } from "../support/programs.ts";
import { channelHost, forgetSystems, type Release } from "../support/release.ts";
import { World } from "../support/world.ts";

// The tests follow the life of one machine: an upgrade takes seconds.
let world: World;
let machine: Machine;
let hold: Hold;
let first: Release["manifest"];
beforeAll(async () => {
  world = await World.make({ hosts: ["hand"] });
  machine = await world.machine("hand");
  hold = await Hold.make(machine, "boot");
});
afterAll(async () => world?.[Symbol.asyncDispose]());

/** Which system it is can be seen in its /etc. */
const system = (name: string, more = "") => channelHost("hand", `environment.etc."system" = "${name}"; ${more}`);

async function upgrade(content: ReturnType<typeof system>): Promise<Release["manifest"]> {
  const { manifest } = await world.publish("hand", content);
  expect((await machine.agent()).status).toBe(0);
  return manifest;
}

const rollback = (...args: string[]) => machine.agent({ BENTO_CONFIRM_TIMEOUT: "5" }, ["rollback", "-y", ...args]);

/** What runs is what boots, and there is nothing left that is going on. */
async function expectSettled(toplevel: string | null): Promise<void> {
  expect(await machine.running()).toBe(toplevel);
  expect(await machine.profile()).toBe(toplevel);
  expect(await machine.bootDefault()).toBe(toplevel);
  expect(await machine.state("intent.json")).toBeUndefined();
  expect(await machine.state("undo.json")).toBeUndefined();
}

test("a release can be undone by hand, as safely as it came", async () => {
  expect((await rollback()).stderr).toMatch(/^no system from before this one is known/);
  // Made the boot default, it can be stopped.
  first = await upgrade(system("first", `system.bootScript = ''if [ -e $MACHINE/hold ]; then ${hold.script}; fi'';`));
  const second = await upgrade(system("second"));

  // What it goes back to is kept by the agent itself, whatever becomes of generations; what nobody keeps is gone, and that is said.
  await succeed("nix-env", ["--profile", machine.path("profiles/system"), "--delete-generations", "old"]);
  await forgetSystems();
  const gone = `${world.store.dir}/${"0".repeat(32)}-nixos-system-hand`;
  expect(await rollback("--to", gone)).toMatchObject({
    status: 2,
    stderr: expect.stringContaining(`${gone} is not on this machine`),
  });

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
  await expectSettled(first.toplevel);
  expect(await world.report("hand")).toMatchObject({
    outcome: "rolled-back",
    reason: "by hand, by alice: the scanner is gone",
    sequence: second.sequence,
    commit: second.commit,
    from: second.toplevel,
    to: first.toplevel,
  });
  expect(await world.heartbeat("hand")).toMatchObject({ sequence: first.sequence, running: first.toplevel });
  expect((await rollback()).stderr).toMatch(/^no system from before this one is known/);
});

test("what was undone by hand is not tried again, and the next release is", async () => {
  // The same once more, as a commit that changes nothing would bring it.
  const same = await world.publish("hand", system("second", "# the same"));
  const refused = await machine.agent();
  expect(refused.stderr).toContain("refused: it is what was undone by hand, and is not tried again\n");
  const again = await machine.agent();
  expect(again.stderr).toBe(`release ${same.manifest.sequence} was undone by hand, and is not tried again\n`);
  expect(again.status).toBe(0);
  await upgrade(system("third"));
  expect(await readlink(machine.path("state/gcroots/before"))).toBe(first.toplevel);
});

long("a system that isn't confirmed any more is not gone back to, and the release isn't to blame", async () => {
  const third = await machine.running();
  const applied = await machine.state("applied.json");
  await machine.healthCheck("check", "! grep -q first $MACHINE/etc/system");
  const { status, stderr } = await rollback();
  expect(stderr).toMatch(/\nfailed: going back to \S+ failed \(by hand, by \w+\): the health check check failed: /);
  expect(status).toBe(1);
  await expectSettled(third);
  expect(await world.report("hand")).toMatchObject({ outcome: "failed", sequence: null });
  expect(await machine.state("applied.json")).toEqual(applied);
});

long("cut off before the confirmation, it is undone by the next run, as an upgrade is", async () => {
  const third = await machine.running();
  await using check = await Hold.make(machine, "check");
  await machine.healthCheck("check", check.script);
  const killed = machine.startAgent({}, ["rollback", "-y"]);
  await check.reached();
  expect(await machine.running()).toBe(first.toplevel);
  await killOutright(killed);
  await check.letGo();
  const next = await machine.agent();
  expect(next.stderr).toMatch(/^going back to \S+ was cut off\ngoing back to \S+\nfailed: going back to \S+ failed/);
  await expectSettled(third);
});

long("cut off after the confirmation, it is completed by the next run", async () => {
  const { sequence } = (await machine.state("applied.json")) ?? {};
  await machine.healthCheck("check", "touch $MACHINE/hold");
  const committing = machine.startAgent({}, ["rollback", "-y", "--reason", "no sound"]);
  await hold.reached();
  await killOutright(committing);
  await hold.forget();
  const completed = await machine.agent();
  expect(completed.stderr).toMatch(
    /\nrolled-back: by hand, by \w+: no sound; the upgrade was cut off after it was con/,
  );
  expect(completed.status).toBe(0);
  await expectSettled(first.toplevel);
  expect(await world.report("hand")).toMatchObject({ outcome: "rolled-back", sequence });
  expect(await machine.state("applied.json")).toMatchObject({ sequence: first.sequence });
  expect((await machine.agent()).stderr).toMatch(/was undone by hand, and is not tried again\n$/);
});

long(
  "to stay with what was chosen at the boot menu, cut off once confirmed, is completed by the next run",
  async () => {
    const undone = await upgrade(system("fourth"));
    await machine.restart(first.toplevel);
    await using again = await Hold.make(machine, "boot");
    const committing = machine.startAgent({}, ["rollback", "-y"]);
    await again.reached();
    await killOutright(committing);
    await again.forget();
    expect((await machine.agent()).stderr).toMatch(
      /\nrolled-back: by hand, by \w+; the upgrade was cut off after it was/,
    );
    await expectSettled(first.toplevel);
    const bad = (await machine.state("bad.json")) as unknown as { toplevel: string }[];
    expect(bad.map(({ toplevel }) => toplevel)).toContain(undone.toplevel);
    expect(bad.map(({ toplevel }) => toplevel)).not.toContain(first.toplevel);
  },
);

test("without contact nothing is done, unless somebody wants it; to a system by its name", async () => {
  const running = await machine.running();
  await world.server.stop();
  const factory = ["--to", machine.path("factory")];
  const refused = await rollback(...factory);
  expect(refused.stderr).toMatch(/\nnot going back: no contact: .*; --offline does without it\n$/);
  expect(refused.status).toBe(75);
  await expectSettled(running);
  const { status, stderr } = await rollback("--offline", ...factory);
  expect(stderr).toMatch(/\nrolled-back: by hand, by \w+\nthe report could not be delivered now/);
  expect(status).toBe(0);
  await expectSettled(machine.factory);
  expect((await rollback("--to", "/etc")).stderr).toContain("/etc is no NixOS system");
});

/** Ends the agent as the kernel does when memory is short: without a chance to do anything. */
async function killOutright({ pid, done }: { pid: number; done: Promise<unknown> }): Promise<void> {
  kill([pid]);
  await vi.waitFor(() => expect(existsSync(`/proc/${pid}/exe`)).toBe(false), { timeout: 10_000, interval: 10 });
  void done;
}
