import { mkdir, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeKey } from "../support/keys.ts";
import { long } from "../support/long.ts";
import type { Machine } from "../support/machine.ts";
import { ownAgent } from "../support/own-agent.ts";
import { channelHost } from "../support/release.ts";
import { World } from "../support/world.ts";

// A system brings its own agent, with its own settings, and it is that which polls from then on. So it is what has to reach the
// server, with the old one looking on.

let world: World;
const hosts = ["port", "interval", "signer", "checks", "leaves", "older", "slow", "broken"];
beforeAll(async () => {
  world = await World.make({ hosts });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

const SHORT = { BENTO_CONFIRM_TIMEOUT: "6" };

/** What a host is to run: a system whose bento-agent is this one, with settings of its own; and more definitions. */
function withAgent(machine: Machine, settings: Record<string, string> = {}, more = "", program = machine.agentFile) {
  return channelHost(
    machine.name,
    `environment.systemPackages = [ ${ownAgent(machine, settings, program)} ];
    ${more}`,
  );
}

async function settingsFile(machine: Machine, name: string, text: string): Promise<Record<string, string>> {
  const file = machine.path(`etc/${name}.json`);
  await writeFile(file, text);
  return { BENTO_CONFIG: file };
}

/** A machine that runs a system with its own agent. */
async function machineWithAgent(name: string): Promise<Machine> {
  const machine = await world.machine(name);
  await world.publish(name, withAgent(machine));
  const { status, stderr } = await machine.agent();
  expect(status, stderr).toBe(0);
  expect(stderr).toMatch(/^confirmation 1 of 1$/m);
  return machine;
}

test("a release whose own agent can't reach the server is undone, and the next one comes", async () => {
  const machine = await machineWithAgent("port");
  const before = await machine.running();
  const settings = await settingsFile(machine, "port", world.agentSettings({ server: { port: 1 } }));
  const { manifest } = await world.publish("port", withAgent(machine, settings));
  const { status, stderr } = await machine.agent(SHORT);
  expect(stderr).toMatch(
    /^rolled-back: no contact: sftp: \S+ can't be reached: .* port 1: Connection refused \(asked by the new system's own agent\)$/m,
  );
  expect(status).toBe(1);
  expect(await machine.running()).toBe(before);
  expect(await machine.bootDefault()).toBe(before);
  expect(await world.report("port")).toMatchObject({ outcome: "rolled-back", sequence: manifest.sequence });

  const next = await world.publish("port", withAgent(machine, {}, 'environment.etc.motd = "new";'));
  expect((await machine.agent()).status).toBe(0);
  expect(await machine.running()).toBe(next.manifest.toplevel);
});

long("a release that would never poll again is undone: systemd doesn't understand when to", async () => {
  const machine = await machineWithAgent("interval");
  const before = await machine.running();
  await world.publish("interval", withAgent(machine, { BENTO_INTERVAL: "every 5 minutes" }));
  expect((await machine.agent(SHORT)).stderr).toMatch(
    /^rolled-back: services\.bento\.interval is no time that systemd understands: every 5 minutes$/m,
  );
  expect(await machine.running()).toBe(before);
  const { manifest } = await world.publish("interval", withAgent(machine, { BENTO_INTERVAL: "*:7/15:30" }));
  expect((await machine.agent()).stderr).toMatch(/^success$/m);
  expect(await machine.running()).toBe(manifest.toplevel);
});

long("a release that would not be taken by its own agent is undone: its signer isn't one any more", async () => {
  const machine = await machineWithAgent("signer");
  const other = await makeKey(machine.path("etc/other"));
  const settings = await settingsFile(machine, "signers", world.agentSettings({ signers: [other.publicKey] }));
  await world.publish("signer", withAgent(machine, settings));
  expect((await machine.agent(SHORT)).stderr).toMatch(
    /^rolled-back: it would not take its own release: it is not signed by one of this fleet's signers$/m,
  );
});

test("the checks are those of the new system: one that it does without isn't asked, and a new one is", async () => {
  const machine = await machineWithAgent("checks");
  await machine.healthCheck("old", "exit 1");
  await mkdir(machine.path("checks-of-the-new"));
  const settings = { BENTO_HEALTH_CHECKS: machine.path("checks-of-the-new") };
  const { manifest } = await world.publish("checks", withAgent(machine, settings));
  expect((await machine.agent()).stderr).toMatch(/^success$/m);
  expect(await machine.running()).toBe(manifest.toplevel);

  const check = machine.path("checks-of-the-new/new");
  await writeFile(check, "#!/bin/sh\necho the disk is on fire\nexit 1\n", { mode: 0o755 });
  await world.publish("checks", withAgent(machine, { ...settings, BENTO_KEEP_REPORTS: "49" }));
  expect((await machine.agent(SHORT)).stderr).toMatch(
    /^rolled-back: the health check new failed: the disk is on fire$/m,
  );
  // A silent one isn't said to have said what came before it.
  await writeFile(check, "#!/bin/sh\nexit 1\n", { mode: 0o755 });
  await world.publish(
    "checks",
    withAgent(machine, { ...settings, BENTO_KEEP_REPORTS: "48" }, "system.activationScript = ''echo activated'';"),
  );
  expect((await machine.agent(SHORT)).stderr).toMatch(/^rolled-back: the health check new failed: nothing was said$/m);
});

test("an agent that doesn't run, or whose settings are wrong, is undone", async () => {
  const machine = await machineWithAgent("broken");
  const gone = withAgent(machine, {}, "", machine.path("gone"));
  await world.publish("broken", gone);
  expect((await machine.agent(SHORT)).stderr).toMatch(/^rolled-back: .*gone: No such file or directory$/m);
  await world.publish("broken", withAgent(machine, { BENTO_HEALTH_CHECKS: "/gone" }));
  expect((await machine.agent(SHORT)).stderr).toMatch(/^rolled-back: BENTO_HEALTH_CHECKS is no directory: \/gone$/m);
  await mkdir(machine.path("etc/nix"));
  await writeFile(machine.path("etc/nix/nix.conf"), "nonsense\n");
  await world.publish("broken", withAgent(machine, { NIX_CONF_DIR: machine.path("etc/nix") }));
  expect((await machine.agent(SHORT)).stderr).toMatch(/^rolled-back: its Nix does not work: error: .*nonsense/m);
});

test("a system without an agent is never activated on a machine that has one", async () => {
  const machine = await machineWithAgent("leaves");
  const before = await machine.running();
  const { manifest } = await world.publish("leaves", channelHost("leaves"));
  const { status, stderr } = await machine.agent();
  expect(stderr).toMatch(
    /^failed: it has no bento-agent, so it would be the last release that this machine takes: set /m,
  );
  expect(stderr).not.toContain("activating");
  expect(status).toBe(1);
  expect(await machine.running()).toBe(before);
  expect(await world.report("leaves")).toMatchObject({ outcome: "failed", sequence: manifest.sequence });
});

long("an agent of before this can't prove itself, and is confirmed by the one that activates it", async () => {
  const machine = await machineWithAgent("older");
  const older = machine.path("etc/older-agent");
  await writeFile(older, `echo "bento-agent: there is no '$1'; see bento-agent help" >&2\nexit 2\n`);
  const { manifest } = await world.publish("older", withAgent(machine, {}, "", older));
  expect((await machine.agent()).stderr).toMatch(/^success$/m);
  expect(await machine.running()).toBe(manifest.toplevel);
  await machine.healthCheck("old", "exit 1");
  await world.publish("older", withAgent(machine, { BENTO_KEEP_REPORTS: "49" }, "", older));
  expect((await machine.agent(SHORT)).stderr).toMatch(/^rolled-back: the health check old failed: nothing was said$/m);
});

long("what succeeds, and hasn't done so three times in time, is inconclusive: nothing has failed", async () => {
  const machine = await machineWithAgent("slow");
  const before = await machine.running();
  const { manifest } = await world.publish("slow", withAgent(machine, {}, 'environment.etc.motd = "new";'));
  const { stderr } = await machine.agent({
    BENTO_CONFIRM_TIMEOUT: "20",
    BENTO_CONFIRM_PASSES: "3",
    BENTO_CONFIRM_SETTLE: "40",
  });
  expect(stderr).toMatch(/^confirmation 1 of 3$/m);
  expect(stderr).toMatch(/^inconclusive: it was not confirmed in time$/m);
  expect(await machine.running()).toBe(before);
  await machine.endBackoff();
  expect((await machine.agent()).stderr).toMatch(/^success$/m);
  expect(await machine.running()).toBe(manifest.toplevel);
});
