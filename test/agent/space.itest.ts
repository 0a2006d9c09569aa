import { randomBytes } from "node:crypto";
import { mkdir, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { long } from "../support/long.ts";
import type { Machine } from "../support/machine.ts";
import { memoryGroup } from "../support/memory-group.ts";
import { exec, start, succeed } from "../support/programs.ts";
import { type Content, channelHost } from "../support/release.ts";
import { World } from "../support/world.ts";

let world: World;
const hosts = ["full", "narrow", "store", "boot", "endless"];
beforeAll(async () => {
  world = await World.make({ hosts });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

const change = (host: string) => channelHost(host, "environment.systemPackages = [ pkgs.curl ];");

/** Puts the machine's state on a file system of its own. */
async function smallState(machine: Machine, size: string): Promise<string> {
  const state = machine.path("state");
  await succeed("mount", ["-t", "tmpfs", "-o", `size=${size}`, "bento-test", state]);
  return state;
}

/** Fills a directory's file system to the last byte. */
async function fill(dir: string): Promise<string> {
  const filler = `${dir}/filler`;
  const { stderr } = await exec("dd", ["if=/dev/zero", `of=${filler}`, "bs=4096"]);
  expect(stderr).toContain("No space left on device");
  return filler;
}

test("a host whose disk is full says so, does nothing, is known to be alive, and works again when there is room", async () => {
  const machine = await world.machine("full");
  const state = await smallState(machine, "4m");
  const filler = await fill(state);
  const { manifest } = await world.publish("full", change("full"));
  for (const env of [{}, { BENTO_FETCHER: "sftp" }]) {
    const { status, stderr } = await machine.agent(env);
    expect(stderr).toBe(`no space is left on the disk of ${state}: nothing was done\n`);
    expect(status).toBe(1);
  }
  expect(await machine.running()).toBe(machine.factory);
  expect(await world.said("full")).toMatchObject({ state: "read", report: null });
  expect(await world.heartbeat("full")).toMatchObject({ running: machine.factory, sequence: null });

  await rm(filler);
  expect((await machine.agent()).status).toBe(0);
  expect(await machine.running()).toBe(manifest.toplevel);

  // Full once more, with a release that is up to date: nothing to write, nothing wrong.
  await fill(state);
  const upToDate = await machine.agent();
  expect(upToDate.stderr).toBe(`up to date with release ${manifest.sequence}\n`);
  expect(upToDate.status).toBe(0);
});

long("a disk that gets full while the release is fetched leaves nothing half done", async () => {
  const machine = await world.machine("narrow");
  const state = await smallState(machine, "2500k");
  const dir = machine.path("large");
  await mkdir(`${dir}/tree`, { recursive: true });
  const { files } = change("narrow") as Extract<Content, { files: unknown }>;
  await writeFile(`${dir}/tree/configuration.nix`, files["configuration.nix"] ?? "");
  await writeFile(`${dir}/tree/picture`, randomBytes(4 * 1024 ** 2));
  const { manifest } = await world.publish("narrow", { dir });

  const { status, stderr } = await machine.agent();
  expect(stderr).toMatch(/\nfailed: .*no space.*\n$/i);
  expect(status).toBe(1);
  expect(await machine.running()).toBe(machine.factory);
  expect((await readdir(state)).filter((name) => /release|\.new$/.test(name))).toEqual([]);
  expect(await world.report("narrow")).toMatchObject({
    outcome: "failed",
    reason: expect.stringMatching(/no space/i),
    sequence: manifest.sequence,
  });

  await succeed("mount", ["-o", "remount,size=64m", state]);
  await machine.endBackoff();
  expect((await machine.agent()).status).toBe(0);
  expect(await machine.running()).toBe(manifest.toplevel);
});

test("an evaluation that takes all memory is ended for it, and it is the agent that says so", async ({ skip }) => {
  using group = memoryGroup(256 * 1024 ** 2);
  if (!group) return skip("no control group with a limit of memory can be made");
  const machine = await world.machine("endless");
  const endless = 'builtins.concatStringsSep "" (builtins.genList (n: "number " + toString n) 100000000)';
  await world.publish("endless", channelHost("endless", `environment.etc.endless = ${endless};`), { evaluate: false });
  const { done } = start("sh", ["-c", `${group.enter}; exec bash ${machine.agentFile} upgrade`], { env: machine.env });
  const { status, stderr } = await done;
  expect(stderr).toMatch(/\nfailed: its build was killed, as for want of memory, after: .*\n$/);
  expect(status).toBe(1);
  expect(await world.report("endless")).toMatchObject({ outcome: "failed" });
});

long("too little room in the store ends the attempt before anything is built", async () => {
  const machine = await world.machine("store");
  const { manifest } = await world.publish("store", change("store"));
  const { status, stderr } = await machine.agent({ BENTO_MIN_FREE_STORE: "999999999" });
  expect(stderr).toMatch(/\nfailed: too little space is left in the store: \d+ KiB, and 999999999 are needed\n$/);
  expect(status).toBe(1);
  expect(await machine.running()).toBe(machine.factory);
  expect(await world.report("store")).toMatchObject({ outcome: "failed", to: null });
  await machine.endBackoff();
  expect((await machine.agent()).status).toBe(0);
  expect(await machine.running()).toBe(manifest.toplevel);
});

test("a /boot with too little room ends the attempt; one that gets full meanwhile is seen, whatever the installer says", async () => {
  const machine = await world.machine("boot");
  const boot = machine.path("boot");
  await succeed("mount", ["-t", "tmpfs", "-o", "size=1m", "bento-test", boot]);
  try {
    await symlink(machine.factory, `${boot}/default`);
    const filling = `dd if=/dev/zero of=$MACHINE/boot/kernel bs=4096 || true`;
    const { manifest } = await world.publish("boot", channelHost("boot", `system.bootScript = ''${filling}'';`));
    // The one of several that is too small.
    const mirrored = { BENTO_BOOT: `${machine.path("etc")} ${boot}` };
    const narrow = await machine.agent({ ...mirrored, BENTO_MIN_FREE_BOOT: "2048" });
    expect(narrow.stderr).toMatch(/\nfailed: too little space is left in \S+\/boot: 1024 KiB, and 2048 are needed\n$/);
    expect(narrow.stderr).not.toContain("activating");
    expect(await machine.running()).toBe(machine.factory);

    await machine.endBackoff();
    const full = await machine.agent({ ...mirrored, BENTO_MIN_FREE_BOOT: "512" });
    expect(full.stderr).toMatch(
      /\nfailed: it runs, but could not be made the boot default \(status 28\): no space is left in \S+\/boot; /,
    );
    expect(full.stderr).toContain(`; the profile is back at ${machine.factory}\n`);
    expect(await machine.running()).toBe(manifest.toplevel);
    expect([await machine.profile(), await machine.bootDefault()]).toEqual([machine.factory, machine.factory]);
    await rm(`${boot}/kernel`);
    const next = await world.publish("boot", channelHost("boot"));
    expect((await machine.agent({ BENTO_MIN_FREE_BOOT: "512" })).status).toBe(0);
    expect(await machine.bootDefault()).toBe(next.manifest.toplevel);
  } finally {
    await succeed("umount", [boot]);
  }
});
