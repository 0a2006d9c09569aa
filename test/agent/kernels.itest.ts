import { afterAll, beforeAll, beforeEach, describe, expect, onTestFailed, test, vi } from "vitest";
import type { Release } from "../support/release.ts";
import { stateIn } from "../support/restarts.ts";
import { missing } from "../support/virtual-disk.ts";
import { kernelOf, PATIENCE, VirtualHost } from "../support/virtual-host.ts";

const needs = missing.length > 0 ? ` (needs ${missing.join(", ")})` : "";

/** What GRUB says, and no kernel. */
const GRUB = /Booting `/;

/** What only a machine shows that has a boot loader, and kernels to start: nothing of that can be done in a container. */
describe.skipIf(missing.length > 0)(`on a machine with a boot loader and kernels${needs}`, () => {
  let host: VirtualHost;
  beforeEach(() => onTestFailed(() => console.log(host?.text)));
  beforeAll(async () => {
    host = await VirtualHost.make("grub", {
      kexec: 'reboot = { policy = "now"; kexec = true; };',
      ordinary: 'reboot.policy = "now";',
    });
    await host.switchOn();
  }, PATIENCE);
  afterAll(() => host?.[Symbol.asyncDispose]());

  /** What was started, runs, is the system profile, and is what GRUB starts, is one. */
  async function onlySystem(): Promise<string> {
    const system = await host.system();
    const starts = "sed -n '0,/init=/s#.* init=\\(.*\\)/init$#\\1#p' /boot/grub/grub.cfg";
    expect(await host.machine.run(starts)).toBe(system);
    return system;
  }

  let release: Release;

  test(
    "kexec brings in another kernel, which is confirmed once",
    async () => {
      await host.machine.journal.says(/^nothing has been published/);
      expect(await host.machine.run("uname -r")).toBe(kernelOf(0));
      const before = await onlySystem();
      const [boot, log] = [host.machine.console.count, host.machine.journal.count];
      release = await host.publish("other", "ordinary");
      await host.machine.console.says(/first stage of/, boot);
      await host.upToDate(release, await host.machine.journal.says(/^this machine was restarted into release /, log));
      // Neither firmware nor boot loader had a part in it.
      expect(host.machine.console.since(boot)).not.toMatch(GRUB);
      expect(await host.machine.run("uname -r")).toBe(kernelOf(1));
      const after = await onlySystem();
      expect(after).not.toBe(before);
      expect(await host.world.outcomes("far")).toEqual(["success"]);
      expect(await host.world.report("far")).toMatchObject({ to: after, sequence: release.manifest.sequence });
      expect(await stateIn(host.world, "far", release)).toMatchObject({ state: "up-to-date" });
      expect(await host.machine.run("ls /var/bento/trial.json /var/bento/ending.json 2> /dev/null || true")).toBe("");
    },
    PATIENCE,
  );

  test(
    "what was reported as a success boots, where the power is lost right after that",
    async () => {
      release = await host.publish("other", "ordinary", "echo the second one");
      await vi.waitFor(async () => expect(await host.world.outcomes("far")).toEqual(["success", "success"]), {
        timeout: PATIENCE,
        interval: 100,
      });
      await host.machine.powerOff();
      await host.switchOn();
      await host.machine.console.says(GRUB);
      await host.upToDate(release, 0);
      expect(await onlySystem()).toBe((await host.world.report("far")).to);
      expect(await stateIn(host.world, "far", release)).toMatchObject({ state: "up-to-date" });
    },
    PATIENCE,
  );

  test(
    "polls don't put off a restart that is announced, and it is made by the boot loader",
    async () => {
      const { machine } = host;
      const [boot, log] = [machine.console.count, machine.journal.count];
      release = await host.publish("one", "ordinary");
      await machine.journal.says(/^restarting this machine: /, await machine.journal.says(/^success/, log));
      // It polls every five seconds, and is restarted after a minute.
      await machine.console.says(/first stage of/, boot);
      expect(machine.console.since(boot)).toMatch(GRUB);
      await host.upToDate(release, await machine.journal.says(/^this machine was restarted into release /, log));
      expect(await machine.run("uname -r")).toBe(kernelOf(0));
      await onlySystem();
      expect(await stateIn(host.world, "far", release)).toMatchObject({ state: "up-to-date" });
    },
    PATIENCE,
  );
});
