import { existsSync, readFileSync } from "node:fs";
import { readdir, readFile, readlink, rm, symlink } from "node:fs/promises";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { Hold } from "../support/hold.ts";
import { long } from "../support/long.ts";
import type { Machine } from "../support/machine.ts";
import { familyOf, kill, processesWith, type Running, succeed } from "../support/programs.ts";
import { channelHost } from "../support/release.ts";
import { kernel } from "../support/restarts.ts";
import { World } from "../support/world.ts";

let world: World;
const hosts = [
  "guarded",
  "activating",
  "hanging",
  "confirming",
  "soon",
  "committing",
  "restarted",
  "unlinked",
  "slow",
  "ended",
];
beforeAll(async () => {
  world = await World.make({ hosts });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

/** Whatever happened, nothing of Bento's runs on: no guard, no activation, no fetcher. */
afterEach(() => vi.waitFor(() => expect(programsOf(world)).toEqual([]), { timeout: 30_000, interval: 50 }));

function programsOf({ dir }: World): string[] {
  return processesWith("BENTO_TEST_WORLD", dir)
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " ");
      } catch {
        return "";
      }
    })
    .filter((command) => /utils\/agent|switch-to-configuration/.test(command));
}

/** Its guard's deadline comes soon, but not before a slow machine has got to where it is killed. */
const SOON = { BENTO_ACTIVATION_TIMEOUT: "5", BENTO_GUARD_SLACK: "0" };
const changed = "environment.systemPackages = [ pkgs.curl ];";

/** Ends the agent as the kernel does when memory is short: without a chance to do anything. */
async function killOutright({ pid, done }: Running): Promise<void> {
  kill([pid]);
  // Its output may be held by what it started; that it doesn't end is what these tests are about.
  await vi.waitFor(() => expect(existsSync(`/proc/${pid}/exe`)).toBe(false), { timeout: 10_000, interval: 10 });
  void done;
}

async function guardOf(machine: Machine): Promise<string> {
  const names = (await readdir(machine.path("run/bento"))).filter((name) => name.startsWith("guard-"));
  expect(names).toHaveLength(1);
  return machine.path(`run/bento/${names[0]}`);
}

test("killed while the new system is being activated: the guard puts the old one back", async () => {
  const machine = await world.machine("activating");
  await using hold = await Hold.make(machine, "activation");
  // An activation that ignores being asked to end.
  const script = `system.activationScript = ''trap : TERM; ${hold.script}; ${hold.script}'';`;
  const { manifest } = await world.publish("activating", channelHost("activating", script));
  const attempt = machine.startAgent({ ...SOON, BENTO_CONFIRM_TIMEOUT: "1" });
  await hold.reached();
  await killOutright(attempt);
  expect(await machine.running()).toBe(manifest.toplevel);

  const guard = await guardOf(machine);
  await vi.waitFor(() => expect(existsSync(`${guard}/done`)).toBe(true), { timeout: 60_000, interval: 50 });
  expect(await machine.running()).toBe(machine.factory);
  expect(await machine.bootDefault()).toBe(machine.factory);

  const { status, stderr } = await machine.agent();
  expect(stderr).toBe(
    `an upgrade to release ${manifest.sequence} was cut off\n` +
      "inconclusive: the upgrade was cut off before it was confirmed; the system before it runs again\n",
  );
  expect(status).toBe(1);
  expect(await world.report("activating")).toMatchObject({
    outcome: "inconclusive",
    sequence: manifest.sequence,
    from: machine.factory,
    to: manifest.toplevel,
  });
});

long("killed during an activation that hangs: the next run ends it, and puts the old system back", async () => {
  const machine = await world.machine("hanging");
  await using hold = await Hold.make(machine, "activation");
  const script = `system.activationScript = ''${hold.script}'';`;
  const { manifest } = await world.publish("hanging", channelHost("hanging", script));
  const attempt = machine.startAgent();
  await hold.reached();
  await killOutright(attempt);
  expect(await machine.running()).toBe(manifest.toplevel);

  const { status, stderr } = await machine.agent();
  expect(stderr).toBe(
    `an upgrade to release ${manifest.sequence} was cut off\n` +
      "ending an activation that is still going on\n" +
      `going back to ${machine.factory}\n` +
      "inconclusive: the upgrade was cut off before it was confirmed; the system before it runs again\n",
  );
  expect(status).toBe(1);
  expect(await machine.running()).toBe(machine.factory);
  expect((await machine.agent()).stderr).toMatch(/failed before, and is tried again in/);

  await hold.forget();
  await machine.endBackoff();
  expect((await machine.agent()).status).toBe(0);
  expect(await machine.running()).toBe(manifest.toplevel);
});

long("killed during the confirmation: the guard puts the old system back", async () => {
  const machine = await world.machine("confirming");
  await using hold = await Hold.make(machine, "check");
  await machine.healthCheck("hold", hold.script);
  const { manifest } = await world.publish("confirming", channelHost("confirming", changed));
  const attempt = machine.startAgent({ ...SOON, BENTO_CONFIRM_TIMEOUT: "10" });
  await hold.reached();
  expect(await machine.running()).toBe(manifest.toplevel);
  await killOutright(attempt);

  const guard = await guardOf(machine);
  await vi.waitFor(() => expect(existsSync(`${guard}/done`)).toBe(true), { timeout: 60_000, interval: 50 });
  expect(await machine.running()).toBe(machine.factory);
  await hold.letGo();
  const { status } = await machine.agent();
  expect(status).toBe(1);
  expect(await machine.running()).toBe(machine.factory);
  expect(await world.outcomes("confirming")).toEqual(["inconclusive"]);
});

test("killed during the confirmation: a next run before the guard's deadline puts the old system back itself", async () => {
  const machine = await world.machine("soon");
  await using hold = await Hold.make(machine, "check");
  await machine.healthCheck("hold", hold.script);
  const { manifest } = await world.publish("soon", channelHost("soon", changed));
  const attempt = machine.startAgent();
  await hold.reached();
  await killOutright(attempt);
  await hold.letGo();
  expect(await machine.running()).toBe(manifest.toplevel);

  const { status, stderr } = await machine.agent();
  expect(stderr).toContain(`going back to ${machine.factory}\ninconclusive: `);
  expect(status).toBe(1);
  expect(await machine.running()).toBe(machine.factory);
  expect((await readdir(machine.path("run/bento"))).filter((name) => name.startsWith("guard-"))).toEqual([]);
});

long("a release that ends its agent each time it is tried is not tried for ever", async () => {
  const machine = await world.machine("ended");
  await machine.healthCheck(
    "ends",
    `[ ! -e ${machine.path("etc/ends")} ] || kill -KILL $(cut -d' ' -f1 ${machine.path("run/bento/attempt")})`,
  );
  const { manifest } = await world.publish("ended", channelHost("ended", 'environment.etc."ends" = "1";'));
  for (let times = 1; times <= 3; times++) {
    await machine.agent({ BENTO_BACKOFF: "0" });
    await rm(machine.path("etc/ends"));
    const { stderr } = await machine.agent();
    expect(stderr).toMatch(times < 3 ? /\ninconclusive: / : /\nrolled-back: .*; it came to that three times, so /);
    if (times < 3) await machine.endBackoff();
  }
  expect((await machine.agent()).stderr).toBe(
    `release ${manifest.sequence} cut this machine off before, and is not tried again\n`,
  );
  expect(await world.outcomes("ended")).toEqual(["inconclusive", "inconclusive", "rolled-back"]);
});

long("the agent killed, and then its guard while it goes back: the next run goes back from the start", async () => {
  const machine = await world.machine("guarded");
  const pipe = machine.path("run/back.reached");
  // Where there is a pipe it stops, which is only later.
  const script = `if [ -p ${pipe} ]; then echo > ${pipe}; sleep 1000; fi; echo $$ >> $MACHINE/activations`;
  const good = await world.publish("guarded", channelHost("guarded", `system.activationScript = ''${script}'';`));
  expect((await machine.agent()).status).toBe(0);
  expect(await machine.running()).toBe(good.manifest.toplevel);

  await using hold = await Hold.make(machine, "check");
  await machine.healthCheck("hold", hold.script);
  await world.publish("guarded", channelHost("guarded", changed));
  const attempt = machine.startAgent({ ...SOON, BENTO_CONFIRM_TIMEOUT: "3" });
  await hold.reached();
  await killOutright(attempt);
  await hold.letGo();
  await succeed("mkfifo", [pipe]);
  await succeed("cat", [pipe]);
  // It is said to run again, while not all of it does.
  expect(await machine.running()).toBe(good.manifest.toplevel);
  const guard = await guardOf(machine);
  kill(familyOf(Number(await readFile(`${guard}/watching`, "utf8"))));
  await rm(pipe);

  const activations = async () => (await readFile(machine.path("activations"), "utf8")).split("\n").length - 1;
  expect(await activations()).toBe(1);
  const { status, stderr } = await machine.agent();
  expect(stderr).toMatch(
    /\ngoing back to \S+\nthe guard was ended before it was done\ninconclusive: the upgrade was cut off /,
  );
  expect(status).toBe(1);
  expect(await activations()).toBe(2);
  expect(await machine.running()).toBe(good.manifest.toplevel);
});

test("killed after the confirmation, while it tells the boot loader: the next run completes it", async () => {
  const machine = await world.machine("committing");
  await using hold = await Hold.make(machine, "boot");
  const { manifest } = await world.publish(
    "committing",
    channelHost("committing", `system.bootScript = ''${hold.script}'';`),
  );
  const attempt = machine.startAgent();
  await hold.reached();
  await killOutright(attempt);
  await hold.forget();
  expect(await machine.running()).toBe(manifest.toplevel);
  expect(await machine.bootDefault()).toBe(machine.factory);

  const { status, stderr } = await machine.agent();
  expect(stderr).toBe(
    `an upgrade to release ${manifest.sequence} was cut off\n` +
      "ending an activation that is still going on\n" +
      "success: the upgrade was cut off after it was confirmed, and completed at the next run\n",
  );
  expect(status).toBe(0);
  expect(await machine.running()).toBe(manifest.toplevel);
  expect(await machine.profile()).toBe(manifest.toplevel);
  expect(await machine.bootDefault()).toBe(manifest.toplevel);
  expect(await world.outcomes("committing")).toEqual(["success"]);
  expect((await machine.agent()).stderr).toMatch(/^up to date with release/);
});

test("power lost before the confirmation: the old system boots, and the next run says so", async () => {
  const machine = await world.machine("restarted");
  await using hold = await Hold.make(machine, "check");
  await machine.healthCheck("hold", hold.script);
  const { manifest } = await world.publish("restarted", channelHost("restarted", changed));
  const attempt = machine.startAgent();
  await hold.reached();
  await killOutright(attempt);
  await hold.letGo();
  await machine.restart();
  expect(await machine.running()).toBe(machine.factory);

  const { status, stderr } = await machine.agent();
  expect(stderr).toBe(
    `an upgrade to release ${manifest.sequence} was cut off\n` +
      `inconclusive: the machine was restarted during the upgrade; ${machine.factory} runs\n`,
  );
  expect(status).toBe(1);
  expect(await machine.profile()).toBe(machine.factory);
});

test("power lost while the boot loader is told of another kernel: that is told once, also where the profile's link was not on the disk yet", async () => {
  const machine = await world.machine("unlinked");
  await using hold = await Hold.make(machine, "boot");
  const profile = machine.path("profiles/system");
  const before = await readlink(profile);
  const { manifest } = await world.publish(
    "unlinked",
    channelHost("unlinked", `${kernel("6.18.2")} system.bootScript = ''${hold.script}'';`),
  );
  const attempt = machine.startAgent();
  await hold.reached();
  await killOutright(attempt);
  await hold.forget();
  await rm(profile);
  await symlink(before, profile);
  await machine.restart();

  const cut = await machine.agent();
  expect(cut.stderr).toBe(
    `an upgrade to release ${manifest.sequence} was cut off\n` +
      `inconclusive: the machine was restarted during the upgrade; ${machine.factory} runs\n`,
  );
  expect(await machine.profile()).toBe(machine.factory);
  const { stderr } = await machine.agent();
  expect(stderr).toMatch(new RegExp(`^release ${manifest.sequence} failed before, and is tried again in \\d+ s\n$`));
});

test("an activation that takes too long is ended and undone", async () => {
  const machine = await world.machine("slow");
  const script = "system.activationScript = ''sleep 1000'';";
  const { manifest } = await world.publish("slow", channelHost("slow", script));
  const { status, stderr } = await machine.agent({ BENTO_ACTIVATION_TIMEOUT: "1" });
  expect(stderr).toMatch(/\nrolled-back: the activation took longer than 1 s\n$/);
  expect(status).toBe(1);
  expect(await machine.running()).toBe(machine.factory);
  expect(await world.report("slow")).toMatchObject({ outcome: "rolled-back", to: manifest.toplevel });
});
