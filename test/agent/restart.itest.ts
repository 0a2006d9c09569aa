import { existsSync } from "node:fs";
import { mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { long } from "../support/long.ts";
import { channelHost } from "../support/release.ts";
import { kernel, restartable, restarts, stateIn } from "../support/restarts.ts";
import { World } from "../support/world.ts";

let world: World;
beforeAll(async () => {
  world = await World.make({ hosts: ["ways", "soon", "kernel", "inhibited", "avoided", "fails"] });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

const bus = (name: string) => `system.switch.inhibitors = { dbus = "${name}"; };`;

/** A time of day so many hours from now, as the machine has it. */
function hoursFromNow(hours: number): string {
  const time = new Date(Date.now() + hours * 3_600_000);
  return `${String(time.getHours()).padStart(2, "0")}:00`;
}

test("a new kernel waits for the window, is brought in by a restart, and is confirmed after it", async () => {
  const machine = await world.machine("kernel");
  const window = `${hoursFromNow(2)}-${hoursFromNow(4)}`;
  const settings = await restartable(machine, { BENTO_REBOOT: "window", BENTO_REBOOT_WINDOW: window });
  const release = await world.publish("kernel", channelHost("kernel", kernel("6.18.2")));

  const upgraded = await machine.agent(settings);
  expect(upgraded.status, upgraded.stderr).toBe(0);
  expect(upgraded.stderr).toMatch(new RegExp(`\na restart is needed, and waits for ${window}\n$`));
  expect(await restarts(machine)).toBe(0);
  expect(await stateIn(world, "kernel", release)).toMatchObject({ state: "reboot-pending" });

  // Midnight may be in it.
  const now = await machine.agent({ ...settings, BENTO_REBOOT_WINDOW: `${hoursFromNow(0)}-${hoursFromNow(-1)}` });
  expect(now.stderr).toMatch(
    /^up to date with release \d+\nrestarting this machine: a restart is needed for the new kernel/,
  );
  expect(await restarts(machine)).toBe(1);

  await machine.restart();
  const { status, stderr } = await machine.agent(settings);
  expect(stderr).toMatch(
    /^this machine was restarted into release \d+\nconfirmation 1 of 1\nup to date with release \d+\n$/,
  );
  expect(status).toBe(0);
  expect((await machine.agent(settings)).stderr).toMatch(/^up to date with release \d+\n$/);
  expect(await restarts(machine)).toBe(1);
  expect(await stateIn(world, "kernel", release)).toMatchObject({ state: "up-to-date" });
});

test("how it is restarted: with kexec where that can be, and otherwise a minute after it is said", async () => {
  const machine = await world.machine("ways");
  // The machine that these programs restart would be this one.
  const [bin, calls] = [machine.path("stand-ins"), machine.path("calls")];
  await mkdir(bin);
  const standIn = (name: string, status: number) =>
    writeFile(path.join(bin, name), `#!/bin/sh\necho "${name} $*" >> ${calls}\nexit ${status}\n`, { mode: 0o755 });
  const restartWith = async (env: Record<string, string>) => {
    await rm(calls, { force: true });
    const { status, stderr } = await machine.agent({ BENTO_REBOOT: "now", PATH: `${bin}:${process.env.PATH}`, ...env });
    expect(status, stderr).toBe(0);
    return (await readFile(calls, "utf8")).trimEnd().split("\n");
  };
  await world.publish("ways", channelHost("ways", `${kernel("6.18.3")} boot.kernelParams = [ "quiet" ];`));
  await standIn("systemctl", 0);
  await standIn("shutdown", 0);
  const why = "Bento: a restart is needed for the new kernel, initrd, modules or system";
  expect(await restartWith({})).toEqual([`shutdown -r +1 ${why}`]);
  const soon = `shutdown -r +1 ${why}`;
  const kexec = { BENTO_REBOOT_KEXEC: "1" };
  // As nixpkgs' prepare-kexec has it (nixos/modules/system/boot/kexec.nix), of the system that was confirmed.
  const system = await machine.running();
  const load = `kexec --load ${system}/kernel --initrd=${system}/initrd --append=loglevel=4 quiet init=${system}/init`;
  await standIn("kexec", 0);
  expect(await restartWith(kexec)).toEqual([load, "systemctl kexec"]);
  // A kernel that can't be loaded, systemd that doesn't want to, and no kexec-tools.
  await standIn("kexec", 1);
  expect(await restartWith(kexec)).toEqual([load, soon]);
  await standIn("kexec", 0);
  await standIn("systemctl", 1);
  expect(await restartWith(kexec)).toEqual([load, "systemctl kexec", "kexec --unload", soon]);
  await rm(path.join(bin, "kexec"));
  expect(await restartWith(kexec)).toEqual([soon]);
  await standIn("shutdown", 1);
  await standIn("systemctl", 0);
  expect(await restartWith({})).toEqual([`shutdown -r +1 ${why}`, "systemctl reboot"]);

  // Out of what has failed it is an ordinary one.
  await standIn("kexec", 0);
  await standIn("shutdown", 0);
  await machine.restart();
  await machine.healthCheck("job", "exit 1");
  await rm(calls);
  const failed = await machine.agent({
    ...{ BENTO_REBOOT: "now", PATH: `${bin}:${process.env.PATH}`, ...kexec },
    ...{ BENTO_LAST_RESORT: "1", BENTO_CONFIRM_TIMEOUT: "10" },
  });
  expect(failed.stderr).toMatch(/^rolled-back: after a restart: the health check job failed: /m);
  expect(await readFile(calls, "utf8")).toMatch(/^shutdown -r \+1 Bento: after a restart: .*\n$/);
});

test("a restart that comes within a minute is not asked for again, which would put it off for another one", async () => {
  const machine = await world.machine("soon");
  const bin = machine.path("stand-ins");
  const calls = machine.path("calls");
  await mkdir(bin);
  for (const name of ["shutdown", "kexec"])
    await writeFile(path.join(bin, name), `#!/bin/sh\necho "$*" >> ${calls}\n`, { mode: 0o755 });
  await world.publish("soon", channelHost("soon", kernel("6.18.3")));
  // What logind writes down of it, in a /run that nobody else sees.
  const agent = machine.path("agent");
  const write = `mount -t tmpfs none /run && mkdir -p /run/systemd/shutdown && printf "$SCHEDULED" > /run/systemd/shutdown/scheduled`;
  await writeFile(agent, `exec unshare -m sh -c '${write}; exec bash "$@"' sh ${machine.agentFile} "$@"\n`);
  const asks = async (scheduled: string, settings = {}) => {
    await rm(calls, { force: true });
    const env = { BENTO_REBOOT: "now", PATH: `${bin}:${process.env.PATH}`, SCHEDULED: scheduled, ...settings };
    const { status, stderr } = await machine.agent(env, ["upgrade"], agent);
    expect(status, stderr).toBe(0);
    expect(stderr).toMatch(/\nrestarting this machine: a restart is needed/);
    return existsSync(calls);
  };
  const at = (seconds: number) => `USEC=${Date.now() + seconds * 1000}000\\nWARN_WALL=1\\nMODE=`;
  expect(await asks("")).toBe(true);
  expect(await asks(`${at(50)}reboot\\n`)).toBe(false);
  expect(await asks(`${at(50)}reboot\\n`, { BENTO_REBOOT_KEXEC: "1" })).toBe(false);
  // Not so soon, or not a restart, is what somebody else has asked for.
  expect(await asks(`${at(3600)}reboot\\n`)).toBe(true);
  expect(await asks(`${at(50)}poweroff\\n`)).toBe(true);
  // One that came to nothing.
  expect(await asks(`${at(-3600)}reboot\\n`)).toBe(true);
});

test("a system that can't be switched to while the machine runs takes effect at the next restart", async () => {
  const machine = await world.machine("inhibited");
  const settings = await restartable(machine, { BENTO_REBOOT: "never" });
  // Nothing keeps one from a system with a component that the running one doesn't have.
  const before = await world.publish("inhibited", channelHost("inhibited", bus("dbus")));
  expect((await machine.agent(settings)).status).toBe(0);
  expect(await machine.running()).toBe(before.manifest.toplevel);

  const release = await world.publish("inhibited", channelHost("inhibited", bus("broker")));
  const staged = await machine.agent(settings);
  expect(staged.stderr).toMatch(
    /\nrelease \d+ can't be activated while this machine runs, since it has another dbus\nit takes effect at the next restart\n$/,
  );
  expect(staged.status).toBe(0);
  expect(await machine.running()).toBe(before.manifest.toplevel);
  expect(await machine.bootDefault()).toBe(release.manifest.toplevel);
  expect(await stateIn(world, "inhibited", release)).toEqual({
    state: "pending",
    sync: "pending",
    health: "reboot-pending",
    reason: "it takes effect at the next restart",
  });
  expect((await machine.agent(settings)).stderr).toMatch(/^release \d+ takes effect at the next restart\n$/);
  expect(await world.outcomes("inhibited")).toEqual(["success"]);

  await machine.restart();
  const { status, stderr } = await machine.agent(settings);
  expect(stderr).toMatch(/\nconfirmation 1 of 1\nsuccess: it took effect with a restart\n$/);
  expect(status).toBe(0);
  expect(await world.report("inhibited")).toMatchObject({ outcome: "success", to: release.manifest.toplevel });
  expect(await stateIn(world, "inhibited", release)).toMatchObject({ state: "up-to-date" });
  expect((await machine.agent(settings)).stderr).toMatch(/^up to date with release \d+\n$/);
});

long("one that the machine didn't boot is not tried again, and what runs is what boots", async () => {
  const machine = await world.machine("avoided");
  const settings = await restartable(machine, { BENTO_REBOOT: "never" });
  const before = await world.publish("avoided", channelHost("avoided", bus("dbus")));
  expect((await machine.agent(settings)).status).toBe(0);
  const release = await world.publish("avoided", channelHost("avoided", bus("broker")));
  expect((await machine.agent(settings)).status).toBe(0);

  // The boot loader, or somebody at the machine, takes the entry before.
  await rm(machine.path("boot/default"));
  await symlink(before.manifest.toplevel ?? "", machine.path("boot/default"));
  await machine.restart();
  const { status, stderr } = await machine.agent(settings);
  expect(stderr).toMatch(/^rolled-back: the machine was restarted, and booted \S+ instead\n$/);
  expect(status).toBe(1);
  expect(await machine.profile()).toBe(before.manifest.toplevel);
  expect(await machine.bootDefault()).toBe(before.manifest.toplevel);
  expect(await stateIn(world, "avoided", release)).toMatchObject({ state: "rolled-back" });
  expect((await machine.agent(settings)).stderr).toMatch(/^release \d+ cut this machine off before/);
});

test("a restart that is due is made also while the next release fails, or waits", async () => {
  const machine = await world.machine("fails");
  const window = `${hoursFromNow(2)}-${hoursFromNow(4)}`;
  const settings = await restartable(machine, {
    BENTO_REBOOT: "window",
    BENTO_REBOOT_WINDOW: window,
    BENTO_BACKOFF: "3600",
  });
  await world.publish("fails", channelHost("fails", kernel("6.18.2")));
  expect((await machine.agent(settings)).status).toBe(0);
  const broken = channelHost("fails", 'environment.etc."word" = throw "no such word";');
  await world.publish("fails", broken, { evaluate: false });
  const failed = await machine.agent(settings);
  expect(failed.stderr).toMatch(
    new RegExp(`\nfailed: .*no such word.*\na restart is needed, and waits for ${window}\n$`),
  );
  expect(failed.status).toBe(1);
  expect(await restarts(machine)).toBe(0);
  const waiting = await machine.agent({ ...settings, BENTO_REBOOT: "now" });
  expect(waiting.stderr).toMatch(/^release \d+ failed before, and is tried again in \d+ s\nrestarting this machine: /);
  expect(await restarts(machine)).toBe(1);

  // What would boot is not what runs: a restart would bring in another system than the one that needs it.
  await rm(machine.path("profiles/system"));
  await symlink(machine.factory, machine.path("profiles/system"));
  expect((await machine.agent({ ...settings, BENTO_REBOOT: "now" })).stderr).toMatch(/^release .* again in \d+ s\n$/);
  expect(await restarts(machine)).toBe(1);
});
