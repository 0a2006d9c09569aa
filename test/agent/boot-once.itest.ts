import { existsSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Machine } from "../support/machine.ts";
import { channelHost, type Release } from "../support/release.ts";
import { kernel, restartable, stateIn } from "../support/restarts.ts";
import { World } from "../support/world.ts";

let world: World;
beforeAll(async () => {
  world = await World.make({ hosts: ["once"] });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

// The machine whose boot loader this would tell is the one that the tests run on; on a machine of its own it is in kernels.itest.ts.
describe("with systemd-boot, what is on trial is started once", () => {
  let machine: Machine;
  let settings: Record<string, string>;
  const at = (name: string) => path.join(machine.path("stand-ins"), name);
  const kept = async (name: string) => (existsSync(at(name)) ? await readFile(at(name), "utf8") : "");

  /** The boot loader's entries, of which the first is what it starts unless it is told otherwise. */
  const entries = (...systems: string[]) =>
    writeFile(
      at("entries"),
      JSON.stringify(
        systems.map((system, index) => ({
          id: `nixos-generation-${systems.length - index}.conf`,
          options: `init=${system}/init loglevel=4`,
          isDefault: index === 0,
        })),
      ),
    );
  const stop = async (state = "stopping") => {
    await writeFile(at("state"), state);
    const { status, stderr } = await machine.agent(settings, ["boot-once"]);
    expect(status, stderr).toBe(0);
    return stderr;
  };
  const told = async () => ({ once: await kept("oneshot"), always: await kept("default") });

  let before: string;
  let release: Release;
  test("nothing is told while the machine runs, or where there is nothing on trial", async () => {
    machine = await world.machine("once");
    await mkdir(machine.path("stand-ins"));
    await writeFile(at("systemctl"), `#!/bin/sh\n[ "$1" != is-system-running ] || cat ${at("state")}\n`, {
      mode: 0o755,
    });
    await writeFile(
      at("bootctl"),
      `#!/bin/sh
case "$1" in
  --json=short) cat ${at("entries")} ;;
  set-oneshot | set-default) [ ! -e ${at("refuses")}-$1 ] || exit 1; printf %s "$2" > ${at("")}/\${1#set-} ;;
esac
`,
      { mode: 0o755 },
    );
    settings = await restartable(machine, { BENTO_REBOOT: "never", PATH: `${at("")}:${process.env.PATH}` });
    await entries(machine.factory);
    expect(await stop()).toBe("");

    before = machine.factory;
    release = await world.publish("once", channelHost("once", kernel("6.18.2")));
    expect((await machine.agent(settings)).status).toBe(0);
    await entries(release.manifest.toplevel ?? "", before);
    expect(await stop("running")).toBe("");
    expect(await told()).toEqual({ once: "", always: "" });
  });

  test("when it stops, the new one is told as the next, and the one before as what comes after that", async () => {
    expect(await stop()).toBe(
      `release ${release.manifest.sequence} boots once: should it not come up, the next start is into ${before}\n`,
    );
    expect(await told()).toEqual({ once: "nixos-generation-2.conf", always: "nixos-generation-1.conf" });
  });

  test("a machine that stops again before it was confirmed has it started once more", async () => {
    await machine.restart();
    await rm(at("oneshot"));
    // As bootctl shows it then.
    const shown = JSON.parse(await kept("entries"));
    await writeFile(
      at("entries"),
      JSON.stringify(shown.map((one: object, n: number) => ({ ...one, isDefault: n === 1 }))),
    );
    await stop();
    expect(await told()).toEqual({ once: "nixos-generation-2.conf", always: "nixos-generation-1.conf" });
  });

  test("confirmed, it is what boots from then on", async () => {
    await machine.restart();
    expect((await machine.agent(settings)).stderr).toMatch(
      /^this machine was restarted into release \d+\nconfirmation/,
    );
    expect(await told()).toEqual({ once: "", always: "" });
    expect(await stop()).toBe("");
    expect(await stateIn(world, "once", release)).toMatchObject({ state: "up-to-date" });
  });

  test("one that doesn't come up is undone by the next start, and not tried again", async () => {
    before = await machine.running();
    release = await world.publish("once", channelHost("once", kernel("6.18.3")));
    expect((await machine.agent(settings)).status).toBe(0);
    await entries(release.manifest.toplevel ?? "", before);
    await stop();
    await machine.restart(before);
    const { status, stderr } = await machine.agent(settings);
    expect(stderr).toMatch(
      /^rolled-back: the machine was restarted, and booted \S+ instead, as is done when a system does not come up\n$/,
    );
    expect(status).toBe(1);
    expect(await told()).toEqual({ once: "", always: "" });
    expect(await machine.bootDefault()).toBe(before);
    expect(await stateIn(world, "once", release)).toMatchObject({ state: "rolled-back" });
    expect((await machine.agent(settings)).stderr).toMatch(/^release \d+ cut this machine off before/);
  });

  test("where it can't be told, or somebody has told it otherwise, the restart is as ever", async () => {
    release = await world.publish("once", channelHost("once", kernel("6.18.4")));
    expect((await machine.agent(settings)).status).toBe(0);
    const to = release.manifest.toplevel ?? "";
    // No entry of the one before, another default, no boot loader that bootctl knows, and no variables to write.
    await entries(to);
    expect(await stop()).toBe("");
    await entries("/nix/store/of-somebody", to, before);
    expect(await stop()).toBe("");
    await writeFile(at("entries"), "not JSON");
    expect(await stop()).toBe("");
    await entries(to, before);
    await writeFile(at("refuses-set-default"), "");
    expect(await stop()).toMatch(/^the boot loader could not be told what boots from here on: /);
    await rm(at("refuses-set-default"));
    expect((await machine.agent(settings)).status).toBe(0);
    expect(await told()).toEqual({ once: "", always: "" });

    // What somebody makes boot by hand is no trial.
    await machine.restart();
    expect((await machine.agent(settings)).stderr).toMatch(/restarted into release/);
    expect(await stop()).toBe("");
  });
});
