import { afterAll, beforeAll, expect, test } from "vitest";
import { narDigest } from "../../src/tree/nar.ts";
import { Hold } from "../support/hold.ts";
import { long } from "../support/long.ts";
import { succeed } from "../support/programs.ts";
import { buildChannelHost, channelHost } from "../support/release.ts";
import { World } from "../support/world.ts";

let world: World;
const hosts = ["cut", "gone", "sick", "broken", "fails", "units", "boot", "replaced", "talks"];
beforeAll(async () => {
  world = await World.make({ hosts });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

/** For a confirmation that can't succeed: long enough for one whole try on a slow machine. */
const SHORT = { BENTO_CONFIRM_TIMEOUT: "6" };

function shell(option: "activationScript" | "bootScript", script: string): string {
  return `system.${option} = ''${script}'';`;
}

test("a release that cuts the host off is undone to the path, and never tried again; the next one is", async () => {
  const machine = await world.machine("cut");
  const good = await world.publish("cut", channelHost("cut", "environment.systemPackages = [ pkgs.curl ];"));
  expect((await machine.agent()).status).toBe(0);
  const generations = await machine.generations();
  const gateway = channelHost("cut", 'networking.gateway = "127.0.0.9";');
  const bad = await world.publish("cut", gateway);

  const { status, stderr } = await machine.agent(SHORT);
  expect(stderr).toContain(`activating ${bad.manifest.toplevel}\n`);
  expect(stderr).toMatch(/rolled-back: no contact: sftp: \S+ can't be reached: .*127\.0\.0\.9.*\n$/);
  expect(status).toBe(1);
  expect(await machine.running()).toBe(good.manifest.toplevel);
  expect(await machine.profile()).toBe(good.manifest.toplevel);
  expect(await machine.bootDefault()).toBe(good.manifest.toplevel);
  expect(await machine.generations()).toBe(generations);
  expect(await world.report("cut")).toMatchObject({
    outcome: "rolled-back",
    sequence: bad.manifest.sequence,
    from: good.manifest.toplevel,
    to: bad.manifest.toplevel,
    reason: expect.stringContaining("127.0.0.9"),
  });
  // What is at hand on the machine is what runs; what didn't is beside it.
  expect(await narDigest(machine.path("state/release"))).toBe(good.manifest.digest);
  expect(await narDigest(machine.path("state/release.next"))).toBe(bad.manifest.digest);
  expect(await world.heartbeat("cut")).toMatchObject({
    running: good.manifest.toplevel,
    sequence: good.manifest.sequence,
  });

  const again = await machine.agent(SHORT);
  expect(again.stderr).toBe(`release ${bad.manifest.sequence} cut this machine off before, and is not tried again\n`);
  expect(again.status).toBe(0);

  // The same system under another commit is no better.
  const same = await world.publish("cut", channelHost("cut", 'networking.gateway = "127.0.0.9"; # a comment'));
  // It is told once, or the fleet would wait for this machine.
  const renamed = await machine.agent(SHORT);
  expect(renamed.stderr).toMatch(/^refused: it is what cut this machine off before, and is not tried again$/m);
  expect(renamed.status).toBe(1);
  expect(await world.report("cut")).toMatchObject({ outcome: "refused", sequence: same.manifest.sequence });
  expect((await machine.agent(SHORT)).status).toBe(0);
  expect(await world.outcomes("cut")).toEqual(["success", "rolled-back", "refused"]);

  const next = await world.publish("cut", channelHost("cut", "environment.systemPackages = [ pkgs.git ];"));
  expect((await machine.agent()).status).toBe(0);
  expect(await machine.running()).toBe(next.manifest.toplevel);
});

long("a server that goes away during the confirmation is not the release's fault", async () => {
  const machine = await world.machine("gone");
  await using hold = await Hold.make(machine, "activation");
  const { manifest } = await world.publish("gone", channelHost("gone", shell("activationScript", hold.script)));
  const attempt = machine.startAgent({ BENTO_CONFIRM_TIMEOUT: "1", BENTO_RECOVERY_TIMEOUT: "1" });
  await hold.reached();
  await world.server.stop();
  await hold.letGo();
  const { status, stderr } = await attempt.done;
  expect(stderr).toMatch(
    /\ninconclusive: no contact: .*; the server can't be reached from the system before it either\n/,
  );
  expect(stderr).toMatch(/the report could not be delivered now, and is kept: sftp: \S+ can't be reached: .*\n$/);
  expect(status).toBe(1);
  expect(await machine.running()).toBe(machine.factory);
  expect(await machine.profile()).toBe(machine.factory);

  await world.server.start();
  const waiting = await machine.agent();
  expect(waiting.stderr).toMatch(/^release \d+ failed before, and is tried again in \d+ s\n$/);
  expect(waiting.status).toBe(0);
  expect(await world.report("gone")).toMatchObject({ outcome: "inconclusive", sequence: manifest.sequence });

  await machine.endBackoff();
  expect((await machine.agent()).status).toBe(0);
  expect(await machine.running()).toBe(manifest.toplevel);
  expect(await world.outcomes("gone")).toEqual(["inconclusive", "success"]);
});

test("a release that fails a health check is undone", async () => {
  const machine = await world.machine("sick");
  await machine.healthCheck("dns", 'echo "nothing from 9.9.9.9"; [ ! -e $MACHINE/etc/sick ]');
  const { manifest } = await world.publish("sick", channelHost("sick", 'environment.etc."sick" = "yes";'));
  const { status, stderr } = await machine.agent(SHORT);
  expect(stderr).toMatch(/\nrolled-back: the health check dns failed: nothing from 9\.9\.9\.9\n$/);
  expect(status).toBe(1);
  expect(await machine.running()).toBe(machine.factory);
  expect(await world.report("sick")).toMatchObject({ outcome: "rolled-back", sequence: manifest.sequence });
});

test.each([
  ["is well", "exit 0"],
  ["would be undone", "exit 1"],
])(
  "what somebody activates by hand before a release is confirmed that %s stays, and nothing else boots",
  async (_, end) => {
    const machine = await world.machine("replaced");
    const [ran, boots] = [await machine.running(), await machine.bootDefault()];
    const mine = channelHost("replaced", "environment.systemPackages = [ pkgs.git ];");
    const system = await buildChannelHost(mine, world.dir);
    await world.publish("replaced", channelHost("replaced", `environment.systemPackages = [ pkgs.curl ]; # ${end}`));
    const runs = machine.path("run/current-system");
    await machine.healthCheck(
      "somebody",
      `[ ${system} -ef ${runs} ] || ${system}/bin/switch-to-configuration test; ${end}`,
    );
    const { status, stderr } = await machine.agent(SHORT);
    expect(stderr).toContain(`\ninconclusive: ${system} was activated by hand before it was confirmed, and stays\n`);
    expect(status).toBe(1);
    expect(await machine.running()).toBe(system);
    expect([await machine.profile(), await machine.bootDefault()]).toEqual([boots, boots]);
    expect(await machine.state("intent.json")).toBeUndefined();
    await succeed(`${ran}/bin/switch-to-configuration`, ["test"], { env: machine.env });
  },
);

long("a check that says something without end fills no disk", async () => {
  const machine = await world.machine("talks");
  const log = machine.path("state/attempt.log");
  const talk = `head -c 80000000 /dev/zero | tr '\\0' x; until [ $(stat -c %s ${log}) -lt 70000000 ]; do sleep 0.1; done`;
  await machine.healthCheck("talks", `${talk}; echo; echo 'that was all'; exit 1`);
  await world.publish("talks", channelHost("talks", "environment.systemPackages = [ pkgs.git ];"));
  const { stderr } = await machine.agent({ BENTO_CONFIRM_TIMEOUT: "30" });
  expect(stderr).toMatch(/\nrolled-back: the health check talks failed: that was all\n$/);
});

long("what was undone can be tried again, when what was wrong is mended", async () => {
  const machine = await world.machine("sick");
  const { sequence, to } = await world.report("sick");
  const again = () => machine.agent(SHORT, ["upgrade", "--again"]);
  const bad = await machine.state("bad.json");
  const asBefore = await again();
  expect(asBefore.stderr).toMatch(/\nactivating \S+\n(.*\n)*rolled-back: the health check dns failed: /);
  expect(asBefore.status).toBe(1);
  expect(await machine.state("bad.json")).toEqual(bad);
  const waits = `release ${sequence} cut this machine off before, and is not tried again`;
  expect((await machine.agent()).stderr).toBe(`${waits}\n`);
  const shown = await machine.agent({}, ["status"]);
  expect(shown.stdout).toMatch(
    new RegExp(`^last poll {2}\\S+Z: ${waits}\nto do {6}.*'bento-agent upgrade --again'`, "m"),
  );
  expect(JSON.parse((await machine.agent({}, ["status", "--json"])).stdout)).toMatchObject({
    poll: { result: "bad", text: waits },
    startedApart: false,
  });

  await machine.healthCheck("dns", "true");
  const mended = await again();
  expect(mended.stderr).toMatch(/\nconfirmation 1 of 1\nsuccess\n$/);
  expect(mended.status).toBe(0);
  expect(await machine.running()).toBe(to);
  // It isn't bad any more, and would be taken after another one, too.
  expect(await machine.state("bad.json")).toEqual([]);
  expect((await machine.agent()).stderr).toBe(`up to date with release ${sequence}\n`);
  expect(await world.outcomes("sick")).toEqual(["rolled-back", "rolled-back", "success"]);
  expect(await machine.agent({}, ["upgrade", "--agian"])).toMatchObject({ status: 2 });
});

test("a release that doesn't build costs nothing, and is tried again later", async () => {
  const machine = await world.machine("broken");
  const builder = `environment.systemPackages = [
    (derivation { name = "broken-1.0"; system = pkgs.system; builder = "/bin/sh"; args = [ "-c" "echo no such header >&2; exit 1" ]; })
  ];`;
  const { manifest } = await world.publish("broken", channelHost("broken", builder));
  const { status, stderr } = await machine.agent();
  expect(stderr).toMatch(
    // Before and since Nix 2.29.
    /\nfailed: it does not build: error: (builder for|Cannot build) '\S+-broken-1\.0\.drv'.* failed with exit code 1.*\n$/,
  );
  expect(stderr).not.toContain("activating");
  expect(status).toBe(1);
  expect(await machine.running()).toBe(machine.factory);
  expect(await world.report("broken")).toMatchObject({ outcome: "failed", from: machine.factory, to: null });

  const waiting = await machine.agent();
  expect(waiting.stderr).toMatch(/^release \d+ failed before, and is tried again in [123]\d\d s\n$/);
  expect(waiting.status).toBe(0);
  expect((await machine.agent({}, ["upgrade", "--again"])).status).toBe(1);
  expect(await world.outcomes("broken")).toEqual(["failed", "failed"]);
  expect(await machine.state("retry.json")).toMatchObject({ sequence: manifest.sequence, failures: 2 });

  // Mended: taken at once.
  await world.publish("broken", channelHost("broken", "environment.systemPackages = [ pkgs.git ];"));
  expect((await machine.agent()).status).toBe(0);
  expect(await machine.state("retry.json")).toBeUndefined();
});

test("of a configuration that NixOS refuses, it is told which assertions have failed", async () => {
  const machine = await world.machine("broken");
  const assertions = 'throw "\\nFailed assertions:\\n- a key is missing\\n- and a door"';
  const wrong = { files: { "configuration.nix": `{ networking.hostName = ${assertions}; }\n` } };
  await world.publish("broken", wrong, { evaluate: false });
  expect((await machine.agent()).stderr).toMatch(
    /\nfailed: it does not build: Failed assertions: - a key is missing - and a door\n$/,
  );
});

test("a release whose activation fails is undone", async () => {
  const machine = await world.machine("fails");
  const script = shell("activationScript", "echo could not mount /srv >&2; exit 1");
  const { manifest } = await world.publish("fails", channelHost("fails", script));
  const { status, stderr } = await machine.agent();
  expect(stderr).toMatch(/\nrolled-back: the activation failed with status 1: could not mount \/srv\n$/);
  expect(status).toBe(1);
  expect(await machine.running()).toBe(machine.factory);
  expect(await machine.bootDefault()).toBe(machine.factory);
  expect(await world.report("fails")).toMatchObject({ outcome: "rolled-back", to: manifest.toplevel });

  // What the agent itself has said before is no reason.
  await world.publish("fails", channelHost("fails", shell("activationScript", "exit 3")));
  const silent = await machine.agent();
  expect(silent.stderr).toMatch(/\nrolled-back: the activation failed with status 3: nothing was said\n$/);
});

test("units that fail to start are told, and don't undo a machine that is well", async () => {
  const machine = await world.machine("units");
  const script = shell("activationScript", "echo warning: the following units failed: cups.service >&2; exit 4");
  const { manifest } = await world.publish("units", channelHost("units", script));
  const { status, stderr } = await machine.agent();
  expect(stderr).toMatch(/\nsuccess: some units failed to start\n$/);
  expect(status).toBe(0);
  expect(await machine.running()).toBe(manifest.toplevel);
  expect(await machine.bootDefault()).toBe(manifest.toplevel);
  expect(await world.report("units")).toMatchObject({ outcome: "success", reason: "some units failed to start" });
});

test("where the boot loader can't be told, the profile goes back, and the report says what runs and what boots", async () => {
  const machine = await world.machine("boot");
  const script = shell("bootScript", "echo cp: No space left on device >&2; exit 1");
  const { manifest } = await world.publish("boot", channelHost("boot", script));
  const { status, stderr } = await machine.agent();
  const reason =
    "it runs, but could not be made the boot default (status 1): cp: No space left on device; " +
    `the profile is back at ${machine.factory}`;
  expect(stderr).toContain(`\nfailed: ${reason}\n`);
  expect(status).toBe(1);
  expect(await machine.running()).toBe(manifest.toplevel);
  expect(await machine.profile()).toBe(machine.factory);
  expect(await machine.bootDefault()).toBe(machine.factory);
  expect(await world.report("boot")).toMatchObject({ outcome: "failed", reason });
  expect(await world.heartbeat("boot")).toMatchObject({ running: manifest.toplevel, profile: machine.factory });

  const next = await world.publish("boot", channelHost("boot"));
  expect((await machine.agent()).status).toBe(0);
  expect(await machine.bootDefault()).toBe(next.manifest.toplevel);
});
