import { rm, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { long } from "../support/long.ts";
import type { Machine } from "../support/machine.ts";
import { channelHost } from "../support/release.ts";
import { kernel, restartable, restarts, stateIn } from "../support/restarts.ts";
import { World } from "../support/world.ts";

// A restart, and a server that can't be reached: which of the two is to blame.

let world: World;
beforeAll(async () => {
  world = await World.make({ hosts: ["stays", "panics", "offline", "before", "again"] });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

/** A gateway that only works as long as nothing has gone wrong in the kernel, where an activation can't mend it. */
const ssh = (machine: Machine) =>
  `environment.etc."ssh/ssh_config" = "Match exec \\"test -e ${machine.path("run/wedged")}\\"\\n  ProxyCommand false\\n";`;

long(
  "where going back doesn't bring the server back, the machine is restarted; then the release is known to be bad",
  async () => {
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
    expect(await stateIn(world, "stays", release)).toMatchObject({ state: "rolled-back" });
    expect(await world.outcomes("stays")).toEqual(["success", "rolled-back"]);
    expect((await machine.agent(settings)).stderr).toMatch(/^release \d+ cut this machine off before/);
    expect(await restarts(machine)).toBe(1);
  },
);

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
  expect(await stateIn(world, "panics", release)).toMatchObject({ state: "rolled-back" });
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

    // What comes to that twice is not tried, and restarted out of, for ever.
    await machine.restart();
    await cutOff();
    expect((await machine.agent(resort)).stderr).toMatch(/, the last resort\n/);
    await machine.restart();
    for (let poll = 0; poll < 3; poll++) expect((await machine.agent(resort)).status).toBe(75);
    await connect();
    expect((await machine.agent(settings)).stderr).toMatch(/^rolled-back: it cut this machine off, until a restart /m);
    expect((await machine.agent(settings)).stderr).toMatch(/ cut this machine off before, and is not tried again\n$/);
  },
  360_000,
);
