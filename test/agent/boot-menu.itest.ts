import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { long } from "../support/long.ts";
import type { Machine } from "../support/machine.ts";
import { channelHost, type Release } from "../support/release.ts";
import { stateIn } from "../support/restarts.ts";
import { World } from "../support/world.ts";

let world: World;
beforeAll(async () => {
  world = await World.make({ hosts: ["chosen"] });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

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
    expect(await stateIn(world, "chosen", release)).toMatchObject({
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
    expect(await stateIn(world, "chosen", release)).toMatchObject({ state: "up-to-date" });
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
    expect(await stateIn(world, "chosen", next)).toMatchObject({ state: "rolled-back" });
    expect(await agent()).toBe(`release ${next.manifest.sequence} was undone by hand, and is not tried again\n`);
  });
});
