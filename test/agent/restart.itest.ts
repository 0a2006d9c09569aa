import { existsSync } from "node:fs";
import { mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { stateOf } from "../../src/reports/state.ts";
import { long } from "../support/long.ts";
import type { Machine } from "../support/machine.ts";
import { channelHost, type Release } from "../support/release.ts";
import { World } from "../support/world.ts";

let world: World;
const hosts = [
  "ways",
  "kernel",
  "inhibited",
  "avoided",
  "chosen",
  "stays",
  "panics",
  "offline",
  "before",
  "again",
  "fails",
];
beforeAll(async () => {
  world = await World.make({ hosts });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

const kernel = (version: string) => `boot.kernelVersion = "${version}";`;
const bus = (name: string) => `system.switch.inhibitors = { dbus = "${name}"; };`;
/** A gateway that only works as long as nothing has gone wrong in the kernel, where an activation can't mend it. */
const ssh = (machine: Machine) =>
  `environment.etc."ssh/ssh_config" = "Match exec \\"test -e ${machine.path("run/wedged")}\\"\\n  ProxyCommand false\\n";`;

/** The settings of a machine that may be restarted; why it was is in a file. */
async function restartable(machine: Machine, settings: Record<string, string> = {}): Promise<Record<string, string>> {
  const command = machine.path("etc/restart");
  await writeFile(command, `#!/bin/sh\necho "$1" >> ${machine.path("etc/restarts")}\n`, { mode: 0o755 });
  return { BENTO_REBOOT: "now", BENTO_REBOOT_COMMAND: command, BENTO_BACKOFF: "0", ...settings };
}

async function restarts(machine: Machine): Promise<number> {
  const file = machine.path("etc/restarts");
  return existsSync(file) ? (await readFile(file, "utf8")).trimEnd().split("\n").length : 0;
}

/** What the fleet sees of a host. */
async function stateIn(host: string, { manifest }: Release) {
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
  expect(await stateIn("kernel", release)).toMatchObject({ state: "reboot-pending" });

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
  expect(await stateIn("kernel", release)).toMatchObject({ state: "up-to-date" });
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
  expect(await stateIn("inhibited", release)).toEqual({
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
  expect(await stateIn("inhibited", release)).toMatchObject({ state: "up-to-date" });
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
  expect(await stateIn("avoided", release)).toMatchObject({ state: "rolled-back" });
  expect((await machine.agent(settings)).stderr).toMatch(/^release \d+ cut this machine off before/);
});

describe("a system that somebody chose at the boot menu", () => {
  let machine: Machine;
  let older: Release["manifest"];
  const system = (name: string) => channelHost("chosen", `environment.etc."system" = "${name}";`);
  const agent = async (...args: string[]) => {
    const { status, stderr } = await machine.agent({}, args.length === 0 ? ["upgrade"] : args);
    expect(status, stderr).toBe(0);
    return stderr;
  };

  test("stays until somebody says otherwise", async () => {
    machine = await world.machine("chosen");
    older = (await world.publish("chosen", system("older"))).manifest;
    await agent();
    const release = await world.publish("chosen", system("newer"));
    const newer = release.manifest;
    await agent();

    await machine.restart(older.toplevel);
    expect((await agent()).split("\n")).toEqual([
      `this machine was started with ${older.toplevel} instead: 'bento-agent rollback' stays with that for good, ` +
        `'bento-agent upgrade --again' goes back to release ${newer.sequence}`,
      `release ${newer.sequence} is not what runs and boots here, and is not activated again`,
      "",
    ]);
    expect(await machine.running()).toBe(older.toplevel);
    expect(await machine.profile()).toBe(newer.toplevel);
    expect(await stateIn("chosen", release)).toMatchObject({
      state: "drifted",
      reason: expect.stringContaining(`it was started with ${older.toplevel}, and not with its release`),
    });
    const status = await machine.agent({}, ["status"]);
    expect(status.stdout).toMatch(
      /^started {4}with another system than boots by default: 'bento-agent rollback' stays/m,
    );
    expect(JSON.parse((await machine.agent({}, ["status", "--json"])).stdout)).toMatchObject({
      running: older.toplevel,
      boots: newer.toplevel,
      startedApart: true,
      poll: { result: "other-system" },
    });

    // Back to the release.
    expect(await agent("upgrade", "--again")).toMatch(/\nactivating \S+\nconfirmation 1 of 1\nsuccess\n$/);
    expect(await machine.running()).toBe(newer.toplevel);
    expect(await stateIn("chosen", release)).toMatchObject({ state: "up-to-date" });
    expect(await agent()).toBe(`up to date with release ${newer.sequence}\n`);
    expect((await machine.agent({}, ["status"])).stdout).not.toContain("started");
    // There is nothing to be done again.
    expect(await agent("upgrade", "--again")).toBe(`up to date with release ${newer.sequence}\n`);
  });

  long("stays until there is another release, or for good", async () => {
    await machine.restart(older.toplevel);
    const next = await world.publish("chosen", system("next"));
    expect(await agent()).toMatch(/\nsuccess\n$/);
    expect(await machine.running()).toBe(next.manifest.toplevel);

    await machine.restart(older.toplevel);
    expect(await agent("rollback", "-y")).toMatch(
      new RegExp(
        `^going back from ${next.manifest.toplevel}\nto ${older.toplevel}\n(.*\n)*rolled-back: by hand, by \\w+\n$`,
      ),
    );
    expect(await machine.profile()).toBe(older.toplevel);
    expect(await machine.bootDefault()).toBe(older.toplevel);
    expect(await machine.state("bad.json")).toMatchObject([
      { toplevel: next.manifest.toplevel, why: "was undone by hand" },
    ]);
    expect(await stateIn("chosen", next)).toMatchObject({ state: "rolled-back" });
    expect(await agent()).toBe(`release ${next.manifest.sequence} was undone by hand, and is not tried again\n`);
  });
});

test("where going back doesn't bring the server back, the machine is restarted; then the release is known to be bad", async () => {
  const machine = await world.machine("stays");
  const settings = await restartable(machine, { BENTO_REBOOT: "never", BENTO_LAST_RESORT: "2" });
  const before = await world.publish("stays", channelHost("stays", ssh(machine)));
  expect((await machine.agent(settings)).status).toBe(0);
  const wedge = `${ssh(machine)} system.activationScript = "touch ${machine.path("run/wedged")}";`;
  const release = await world.publish("stays", channelHost("stays", wedge));

  const impatient = { ...settings, BENTO_CONFIRM_TIMEOUT: "3", BENTO_RECOVERY_TIMEOUT: "1" };
  const cut = await machine.agent(impatient);
  expect(cut.stderr).toMatch(/\nno contact yet; in 2 s this machine is restarted\n/);
  expect(cut.stderr).toMatch(/\ninconclusive: no contact: .*; restarted into \S+, the last resort\n/);
  expect(cut.status).toBe(1);
  expect(await machine.running()).toBe(before.manifest.toplevel);
  expect(await restarts(machine)).toBe(1);

  // Not at once, since the network comes up with the machine: that is still the restart's doing.
  await machine.restart();
  expect((await machine.agent(impatient)).status).toBe(75);
  await rm(machine.path("run/wedged"));
  const back = await machine.agent(settings);
  expect(back.stderr).toMatch(
    /rolled-back: it cut this machine off, until a restart brought the system before it back\n$/,
  );
  expect(await stateIn("stays", release)).toMatchObject({ state: "rolled-back" });
  expect(await world.outcomes("stays")).toEqual(["success", "rolled-back"]);
  expect((await machine.agent(settings)).stderr).toMatch(/^release \d+ cut this machine off before/);
  expect(await restarts(machine)).toBe(1);
});

long("a restart that cuts the machine off is undone by another one", async () => {
  const machine = await world.machine("panics");
  const settings = await restartable(machine, { BENTO_LAST_RESORT: "2" });
  const before = await world.publish("panics", channelHost("panics", ssh(machine)));
  expect((await machine.agent(settings)).status).toBe(0);
  const release = await world.publish("panics", channelHost("panics", `${ssh(machine)} ${kernel("6.18.3")}`));
  expect((await machine.agent(settings)).status).toBe(0);
  expect(await restarts(machine)).toBe(1);

  await machine.restart();
  await writeFile(machine.path("run/wedged"), "");
  const impatient = { ...settings, BENTO_CONFIRM_TIMEOUT: "1", BENTO_RECOVERY_TIMEOUT: "1" };
  const cut = await machine.agent(impatient);
  expect(cut.stderr).toMatch(/\ninconclusive: after a restart: no contact: .*, the last resort\n/);
  expect(await machine.bootDefault()).toBe(before.manifest.toplevel);
  expect(await restarts(machine)).toBe(2);

  await machine.restart();
  await rm(machine.path("run/wedged"));
  expect((await machine.agent(settings)).stderr).toMatch(/rolled-back: it cut this machine off/);
  expect(await machine.running()).toBe(before.manifest.toplevel);
  expect(await stateIn("panics", release)).toMatchObject({ state: "rolled-back" });
  expect((await machine.agent(settings)).stderr).toMatch(/^release \d+ cut this machine off before/);
  expect(await machine.state("applied.json")).toMatchObject({ sequence: before.manifest.sequence });
  expect(await restarts(machine)).toBe(2);
});

/** A machine whose contact can be cut, and whose kernel is another one with each release. */
async function offlineAtWill(name: string) {
  const machine = await world.machine(name);
  const settings = await restartable(machine, { BENTO_REBOOT: "never" });
  const impatient = { ...settings, BENTO_CONFIRM_TIMEOUT: "1", BENTO_RECOVERY_TIMEOUT: "1" };
  return {
    machine,
    settings,
    impatient,
    resort: { ...impatient, BENTO_LAST_RESORT: "2" },
    cutOff: () => writeFile(machine.path("run/wedged"), ""),
    connect: () => rm(machine.path("run/wedged")),
    upgraded: async (version: string) => {
      const release = await world.publish(name, channelHost(name, `${ssh(machine)} ${kernel(version)}`));
      const { status, stderr } = await machine.agent(settings);
      expect(status, stderr).toBe(0);
      return release;
    },
  };
}

const WAITS =
  /^(this machine was .*\n(.*not confirmed yet.*\n)*)?release \d+ is confirmed when there is contact, .*\n$/;

test("a restart without contact: what it has brought in is judged when there is contact, and not before", async () => {
  const { machine, settings, impatient, cutOff, connect, upgraded } = await offlineAtWill("offline");
  await upgraded("6.18.4");
  await machine.restart();
  await cutOff();
  for (let poll = 0; poll < 2; poll++) {
    const { status, stderr } = await machine.agent(impatient);
    expect(stderr).toMatch(WAITS);
    expect(status).toBe(75);
    await machine.restart();
  }
  await connect();
  expect((await machine.agent(settings)).stderr).toMatch(
    /^this machine was restarted into release \d+\nconfirmation 1 of 1\nup to date with release \d+\n$/,
  );
  expect(await machine.state("trial.json")).toBeUndefined();
  expect(await world.outcomes("offline")).toEqual(["success"]);

  // A server that answers, and refuses it, is no missing contact.
  await upgraded("6.18.5");
  await machine.restart();
  const refused = { ...impatient, BENTO_CONFIRM_TIMEOUT: "10", BENTO_KEY: world.signingKey.file };
  expect((await machine.agent(refused)).stderr).toMatch(/\nfailed: after a restart: no contact: .* refused the login /);
  expect(await machine.state("trial.json")).toBeUndefined();
}, 240_000);

long("one that had no contact before the restart either is not restarted again for want of it", async () => {
  const { machine, resort, cutOff, connect, upgraded } = await offlineAtWill("before");
  await upgraded("6.18.4");
  await cutOff();
  expect((await machine.agent(resort)).status).toBe(75);
  await machine.restart();
  expect((await machine.agent(resort)).stderr).toMatch(WAITS);
  expect(await restarts(machine)).toBe(0);
  await machine.healthCheck("job", "exit 1");
  await connect();
  const judged = await machine.agent({ ...resort, BENTO_CONFIRM_TIMEOUT: "10" });
  expect(judged.stderr).toMatch(/\nrolled-back: after a restart: the health check job failed: nothing was said\n/);
  expect(await restarts(machine)).toBe(1);
});

long(
  "one that had it, and has none with the system before either: that says nothing, and it is taken again",
  async () => {
    const { machine, settings, resort, cutOff, connect, upgraded } = await offlineAtWill("again");
    const release = await upgraded("6.18.4");
    await machine.restart();
    await cutOff();
    expect((await machine.agent(resort)).stderr).toMatch(
      /\ninconclusive: after a restart: no contact: .*, the last resort\n/,
    );
    expect(await machine.bootDefault()).toBe(machine.factory);
    await machine.restart();
    for (let poll = 0; poll < 3; poll++) expect((await machine.agent(resort)).status).toBe(75);
    await connect();
    expect((await machine.agent(settings)).stderr).toMatch(/\nsuccess\n/);
    expect(await machine.running()).toBe(release.manifest.toplevel);
    expect(await machine.state("bad.json")).toBeUndefined();
  },
  240_000,
);

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
