import { execFileSync } from "node:child_process";
import { access, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { statusesOf } from "../../src/commands/status.ts";
import type { HostStatus } from "../../src/results.ts";
import { hostNamed } from "../fleet/host.ts";
import { believesAnybody } from "../support/hostile-ssh-config.ts";
import { type Content, channelHost } from "../support/release.ts";
import { World } from "../support/world.ts";
import { FACTORY, LegacyMachine, legacyLogin, SFTP } from "./legacy-machine.ts";

// What becomes of a host of the 2022 Bento that runs the scripts which it finds in its tree at the server; sftp-tree.itest.ts is about
// the tree.

const OLD_BENTO = process.env.BENTO_TEST_OLD_BENTO;
let world: World;
beforeAll(async () => {
  world = await World.make({ hosts: ["scripts", "cutoff", "real"], tree: true });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

const publish = (host: string, content: Content) => world.publish(host, content, { evaluate: false });
const login = (host: string) => legacyLogin(world, host);

async function statusOf(host: string): Promise<HostStatus> {
  await using publisher = await world.connect();
  const known = hostNamed(host, { key: world.hostKeys[host]?.publicKey ?? null });
  const [status] = await statusesOf(publisher, [known], [world.signingKey.publicKey]);
  if (status === undefined) throw new Error(`${host} has no status`);
  return status;
}

/** What the system of a configuration is called, by the machine's nixos-rebuild. */
async function systemOf(machine: LegacyMachine): Promise<string> {
  return (await machine.run("readlink -f /nix/var/nix/profiles/system")).stdout.trim();
}

/** A log of the second in which something was published can't be of that: no machine is as quick, but for this one. */
async function secondPasses(host: string): Promise<void> {
  const changed = await stat(path.join(world.server.chroot(host), "last_change_date"));
  const next = (Math.floor(changed.mtimeMs / 1000) + 1) * 1000;
  await vi.waitFor(() => expect(Date.now()).toBeGreaterThanOrEqual(next), { timeout: 5000 });
}

test("its scripts fetch, switch, and leave the logs that status reads", async () => {
  const machine = await LegacyMachine.make(world, "scripts");
  await publish("scripts", channelHost("scripts", "# one"));
  expect(await statusOf("scripts")).toMatchObject({ state: "new" });
  // The first time by hand, as in 2022.
  const first = await machine.run(
    `cd /var/bento && ${SFTP} -P ${world.server.port} ${login("scripts")}:/config/bootstrap.sh . && sh bootstrap.sh`,
  );
  expect(first.status, first.stdout + first.stderr).toBe(0);
  expect(await machine.read("var/bento/configuration.nix")).toContain("# one");
  expect(await statusOf("scripts")).toMatchObject({
    state: "up-to-date",
    reason: "reported by the Bento of 2022",
    running: { toplevel: await systemOf(machine) },
    lastOutcome: "success",
  });

  const upgrade = () => machine.run("cd /var/bento && sh update.sh");
  expect((await upgrade()).status).toBe(0);
  expect((await upgrade()).stdout).toMatch(/nothing new/);

  await publish("scripts", channelHost("scripts", "# broken"));
  const works = await systemOf(machine);
  await secondPasses("scripts");
  expect((await upgrade()).status).toBe(0);
  expect(await systemOf(machine)).toBe(works);
  expect(await statusOf("scripts")).toMatchObject({ state: "failed", running: { toplevel: works } });
  // As in 2022, what failed is not tried again.
  expect((await upgrade()).stdout).toMatch(/nothing new/);

  // What is published while it builds is not what its log is about.
  await publish("scripts", channelHost("scripts", "# slow"));
  await secondPasses("scripts");
  const slow = upgrade();
  await vi.waitFor(() => access(machine.path("var/bento/building")), { timeout: 60_000 });
  await publish("scripts", channelHost("scripts", "# three"));
  await writeFile(machine.path("var/bento/building.done"), "");
  expect((await slow).status).toBe(0);
  expect(await systemOf(machine)).not.toBe(works);
  expect(await statusOf("scripts")).toMatchObject({ state: "pending", lastOutcome: "success" });

  await secondPasses("scripts");
  expect((await upgrade()).status).toBe(0);
  expect(await machine.read("var/bento/configuration.nix")).toContain("# three");
  expect(await statusOf("scripts")).toMatchObject({ state: "up-to-date", lastOutcome: "success" });

  // Only the pinned server is believed, whatever this machine's ssh is told.
  const actual = world.serverSettings.hostKeys[0]?.split(" ").slice(0, 2).join(" ") ?? "";
  const program = "etc-known-hosts";
  const config = await believesAnybody(machine.path(program), actual);
  await machine.write("root/.ssh/config", config.replaceAll(machine.path(program), `/${program}`), 0o600);
  expect((await upgrade()).stdout).toMatch(/nothing new/);
  const pinned = await machine.read("var/bento/bootstrap.sh");
  await machine.write("var/bento/bootstrap.sh", pinned.replaceAll(actual, world.publisherKey.publicKey), 0o700);
  const stranger = await machine.run("cd /var/bento && sh bootstrap.sh");
  expect(stranger).toMatchObject({ status: 75, stderr: expect.stringContaining("nothing could be fetched") });
  await machine.write("var/bento/bootstrap.sh", pinned, 0o700);

  // Who can't reach the server keeps what it has.
  await world.server.stop();
  expect((await machine.run("cd /var/bento && sh bootstrap.sh")).status).toBe(75);
  expect(await machine.read("var/bento/configuration.nix")).toContain("# three");
  await world.server.start();
});

test("a configuration that cuts the host off from its server is taken back", async () => {
  const machine = await LegacyMachine.make(world, "cutoff");
  await publish("cutoff", channelHost("cutoff", "# cut-off"));
  // The system that it had brings the network back.
  const back = "#!/bin/sh\ninstall -m 600 /root/.ssh/kept /root/.ssh/id_ed25519\n";
  await machine.run("cp /root/.ssh/id_ed25519 /root/.ssh/kept");
  await machine.write(`${FACTORY.slice(1)}/bin/switch-to-configuration`, back, 0o755);
  const { stdout } = await machine.run(
    `cd /var/bento && ${SFTP} -P ${world.server.port} ${login("cutoff")}:/config/bootstrap.sh . && sh bootstrap.sh`,
  );
  expect(stdout).toMatch(/^rollback$/m);
  expect(await systemOf(machine)).toBe(FACTORY);
  expect(await statusOf("cutoff")).toMatchObject({ state: "rolled-back", running: { toplevel: FACTORY } });
});

test.runIf(OLD_BENTO)("the scripts of 2022 themselves: from theirs to ours, and by theirs alone", async () => {
  const machine = await LegacyMachine.make(world, "real");
  await machine.write("opt/bento", oldBento(OLD_BENTO ?? ""), 0o600);
  // Its deploy made them like this.
  const settings = `REMOTE_IP=${world.server.address} REMOTE_PORT=${world.server.port} TIMEOUT=20`;
  const made =
    await machine.run(`mkdir -p /opt/old && ${settings} && eval "$(sed -n '/^create_bento_files()/,/^}/p' /opt/bento)" &&
    create_bento_files /opt/old ${world.loginPrefix}real && ls /opt/old`);
  expect(made.stdout, made.stderr).toBe("bootstrap.sh\nupdate.sh\n");

  await publish("real", channelHost("real", "# one"));
  const byHand = await machine.run("cd /var/bento && sh /opt/old/bootstrap.sh");
  expect(byHand.status, byHand.stderr).toBe(0);
  expect(await machine.read("var/bento/configuration.nix")).toContain("# one");
  expect(await statusOf("real")).toMatchObject({
    state: "up-to-date",
    running: { toplevel: await systemOf(machine) },
    lastOutcome: "success",
  });

  // The timer runs an update.sh of theirs, which is replaced by ours while it runs.
  await publish("real", channelHost("real", "# two"));
  expect(await statusOf("real")).toMatchObject({ state: "pending" });
  await machine.run("cp /opt/old/*.sh /var/bento/");
  const updated = await machine.run("cd /var/bento && /bin/bash update.sh");
  expect(updated.status, updated.stderr).toBe(0);
  expect(updated.stdout).toMatch(/update required/);
  expect(updated.stderr).not.toMatch(/syntax error|command not found/);
  expect(await machine.read("var/bento/configuration.nix")).toContain("# two");
  expect(await machine.read("var/bento/update.sh")).toMatch(/Made by Bento/);
  expect(await statusOf("real")).toMatchObject({ state: "up-to-date" });
  expect((await machine.run("cd /var/bento && /bin/bash update.sh")).stdout).toMatch(/nothing new/);

  // And for somebody who keeps theirs.
  await publish("real", channelHost("real", "# three"));
  const theirs = await machine.run("cd /var/bento && cp /opt/old/*.sh . && sh /opt/old/bootstrap.sh");
  expect(theirs.status, theirs.stderr).toBe(0);
  expect(await machine.read("var/bento/configuration.nix")).toContain("# three");
  expect(await statusOf("real")).toMatchObject({ state: "up-to-date" });
});

/** The old project's one program, out of a git directory or a checkout. */
function oldBento(repository: string): string {
  return execFileSync("git", ["-C", repository, "show", "HEAD:bento"], { encoding: "utf8" });
}
