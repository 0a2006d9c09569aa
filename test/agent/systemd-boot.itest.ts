import { afterAll, beforeAll, beforeEach, describe, expect, onTestFailed, test, vi } from "vitest";
import { stateIn } from "../support/restarts.ts";
import { missingForEfi } from "../support/virtual-disk.ts";
import { kernelOf, PATIENCE, VirtualHost } from "../support/virtual-host.ts";

const needs = missingForEfi.length > 0 ? ` (needs ${missingForEfi.join(", ")})` : "";

/** What systemd-boot was told, and still is. */
const TOLD = "ls /sys/firmware/efi/efivars | grep -E '^LoaderEntry(Default|OneShot)-' || true";

describe.skipIf(missingForEfi.length > 0)(`on a machine with EFI, systemd-boot and kernels${needs}`, () => {
  let host: VirtualHost;
  beforeEach(() => onTestFailed(() => console.log(host?.text)));
  beforeAll(async () => {
    host = await VirtualHost.make("systemd-boot", {
      "by hand": "reboot.once = true;",
      "by itself": 'reboot = { once = true; policy = "now"; };',
    });
    await host.switchOn();
  }, PATIENCE);
  afterAll(() => host?.[Symbol.asyncDispose]());

  /** What has ended otherwise after a restart is told as that, in place of how it ended before. */
  const told = (...outcomes: string[]) =>
    vi.waitFor(async () => expect(await host.world.outcomes("far")).toEqual(outcomes), {
      timeout: PATIENCE,
      interval: 500,
    });

  test(
    "a kernel that panics is gone back from by the next start, whoever restarts the machine into it",
    async () => {
      const { machine, world } = host;
      await machine.journal.says(/^nothing has been published/);
      const before = await host.system();
      const [boot, log] = [machine.console.count, machine.journal.count];
      const release = await host.publish("blind", "by hand");
      await machine.journal.says(/^success/, log);
      await machine.run("systemctl reboot --no-block");
      await machine.console.says(/Kernel panic/, boot);
      await machine.journal.says(
        /^rolled-back: the machine was restarted, and booted .* instead, as is done when a system does not come up$/,
        log,
      );
      await machine.journal.says(/ cut this machine off before, and is not tried again$/, log);
      expect(await machine.run("uname -r")).toBe(kernelOf(0));
      expect(await host.system()).toBe(before);
      expect(await machine.run(TOLD)).toBe("");
      await told("rolled-back");
      expect(await stateIn(world, "far", release)).toMatchObject({ state: "rolled-back" });
    },
    PATIENCE,
  );

  test(
    "one that comes up is what boots once it is confirmed, also after a power cut",
    async () => {
      const log = host.machine.journal.count;
      const release = await host.publish("other", "by itself");
      await host.machine.journal.says(/^release \d+ boots once: should it not come up, the next start is into /, log);
      await host.upToDate(release, await host.machine.journal.says(/^this machine was restarted into release /, log));
      expect(await host.machine.run("uname -r")).toBe(kernelOf(1));
      expect(await host.machine.run(TOLD)).toBe("");
      const after = await host.system();
      await host.machine.powerOff();
      await host.switchOn();
      await host.upToDate(release, 0);
      expect(await host.system()).toBe(after);
      await told("rolled-back", "success");
      expect(await stateIn(host.world, "far", release)).toMatchObject({ state: "up-to-date" });
    },
    PATIENCE,
  );
});
