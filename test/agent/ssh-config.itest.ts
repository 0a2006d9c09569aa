import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { packageRoot } from "../../src/platform/package.ts";
import { GitServer } from "../support/git-server.ts";
import { believesAnybody } from "../support/hostile-ssh-config.ts";
import { makeKey } from "../support/keys.ts";
import { long } from "../support/long.ts";
import type { Machine } from "../support/machine.ts";
import { kill, processesWith, succeed } from "../support/programs.ts";
import { channelHost } from "../support/release.ts";
import { Sshd } from "../support/sshd.ts";
import { World } from "../support/world.ts";

/** What ssh_config(5) says can't change: whom a machine believes, and that it is the network which the confirmation asks. */
let world: World;
const hosts = ["kept", "jumping", "pinned", "ref"];
beforeAll(async () => {
  world = await World.make({ hosts });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

async function sshConfig(machine: Machine, text: string): Promise<{ BENTO_SSH_CONFIG: string }> {
  const file = machine.path("etc/own_ssh_config");
  await writeFile(file, text);
  return { BENTO_SSH_CONFIG: file };
}

/** A release that cuts the machine off is undone, although it had a connection before that would have stayed. */
async function expectUndone(machine: Machine, config: (sockets: string) => string): Promise<void> {
  // A socket's path is short.
  const sockets = await mkdtemp("/run/bento-test-");
  try {
    const env = { ...(await sshConfig(machine, config(sockets))), BENTO_CONFIRM_TIMEOUT: "6" };
    const good = await world.publish(
      machine.name,
      channelHost(machine.name, "environment.systemPackages = [ pkgs.curl ];"),
    );
    expect((await machine.agent(env)).stderr).toMatch(/\nsuccess\n$/);
    await world.publish(machine.name, channelHost(machine.name, 'networking.gateway = "127.0.0.9";'));
    const { status, stderr } = await machine.agent(env);
    expect(stderr).toMatch(/\nrolled-back: no contact: sftp: \S+ can't be reached: .*\n$/);
    expect(status).toBe(1);
    expect(await machine.running()).toBe(good.manifest.toplevel);
  } finally {
    // Connections that stay have gone into the background.
    kill(processesWith("MACHINE", machine.dir));
    await rm(sockets, { recursive: true });
  }
}

test("a connection that ssh keeps for later is not what confirms a release", async () => {
  const machine = await world.machine("kept");
  await expectUndone(
    machine,
    (sockets) =>
      `ControlMaster auto\nControlPath ${sockets}/%p\nControlPersist 120\nInclude ${machine.path("etc/ssh/ssh_config")}\n`,
  );
});

long("nor is one that it keeps to a jump host", async () => {
  const machine = await world.machine("jumping");
  const dir = path.join(world.dir, "jump");
  await mkdir(dir);
  const hostKey = await makeKey(path.join(dir, "host_key"));
  await writeFile(path.join(dir, "authorized_keys"), `restrict,port-forwarding ${machine.key.publicKey}\n`);
  await writeFile(path.join(dir, "known_hosts"), `jump ${hostKey.publicKey}\n`);
  const config = [
    ...["ListenAddress 127.0.0.1", `HostKey ${hostKey.file}`, "PermitRootLogin yes", "UsePAM no", "PidFile none"],
    ...["PasswordAuthentication no", "StrictModes no", `AuthorizedKeysFile ${dir}/authorized_keys`],
  ];
  await writeFile(path.join(dir, "config"), `${config.join("\n")}\n`);
  const jump = new Sshd(path.join(dir, "config"), { BENTO_TEST_WORLD: world.dir });
  await jump.start();
  try {
    await expectUndone(machine, (sockets) =>
      [
        ...["ControlMaster auto", `ControlPath ${sockets}/%p`, "ControlPersist 120"],
        // It is the way to the jump host that the release cuts.
        ...["Host jump", `  Port ${jump.port}`, "  User root", `  IdentityFile ${machine.key.file}`],
        ...[`  UserKnownHostsFile ${dir}/known_hosts`, "  HostKeyAlias jump"],
        ...[`  Include ${machine.path("etc/ssh/ssh_config")}`, "Host * !jump", "  HostName 127.0.0.1"],
        ...["  ProxyJump jump", ""],
      ].join("\n"),
    );
  } finally {
    await jump.stop();
  }
});

/** Whatever there is to make ssh believe that this key is the server's. */
const knows = (machine: Machine, publicKey: string) =>
  believesAnybody(machine.path("etc/known_hosts_command"), publicKey);

test("whom the server's pinned key isn't of is a stranger, whatever ssh is told to believe", async () => {
  const machine = await world.machine("pinned");
  const [actual = ""] = world.serverSettings.hostKeys;
  const env = await sshConfig(machine, await knows(machine, actual));
  expect(await machine.agent(env, ["contact"])).toMatchObject({ status: 0, stdout: "known\n" });
  const another = world.agentSettings({ server: { hostKeys: [world.publisherKey.publicKey] } });
  await writeFile(machine.path("etc/bento.json"), another);
  expect(await machine.agent(env, ["contact"])).toMatchObject({ status: 1, stdout: "wrong-host-key\n" });
});

test("ssh itself counts none of it: by DNS, by Kerberos, by an address that was seen before", async () => {
  const machine = await world.machine("pinned");
  const { BENTO_SSH_CONFIG } = await sshConfig(machine, await knows(machine, world.publisherKey.publicKey));
  // As fetchers/sftp is connected.
  const connected = `set -euo pipefail; scratch=$1; . "$2"; connection bento-server /key; ssh "\${connection[@]}" -G server.example`;
  const file = path.join(packageRoot(), "utils/agent/fetchers/ssh.sh");
  const env = { ...machine.env, BENTO_SSH_CONFIG };
  const counted = (text: string) => Object.fromEntries(text.split("\n").map((line) => line.split(/ (.*)/).slice(0, 2)));
  const alone = counted(await succeed("ssh", ["-F", BENTO_SSH_CONFIG, "-G", "server.example"], { env }));
  expect(alone).toMatchObject({ stricthostkeychecking: "false", verifyhostkeydns: "true", checkhostip: "yes" });
  const pinned = counted(await succeed("bash", ["-c", connected, "bash", machine.path("run"), file], { env }));
  expect(pinned).toMatchObject({
    hostkeyalias: "bento-server",
    userknownhostsfile: machine.path("run/known_hosts"),
    globalknownhostsfile: "/dev/null",
    stricthostkeychecking: "true",
    verifyhostkeydns: "false",
    updatehostkeys: "false",
    checkhostip: "no",
    controlmaster: "false",
  });
  expect(pinned).not.toHaveProperty("knownhostscommand");
  expect(pinned).not.toHaveProperty("controlpath");
  // Where this ssh has it.
  expect(pinned.gssapikeyexchange).toBe(alone.gssapikeyexchange && "no");
});

test("the same of a git remote", async () => {
  const machine = await world.machine("ref");
  await using server = await GitServer.make(path.join(world.dir, "git"), { write: [], read: [machine.key.publicKey] });
  const { remote, hostKey } = server;
  const settings = (key: string) =>
    world.agentSettings({ server: null, git: { remote, refs: "refs/heads/bento/{host}", hostKeys: [key] } });
  const env = await sshConfig(machine, await knows(machine, hostKey.publicKey));
  await writeFile(machine.path("etc/bento.json"), settings(hostKey.publicKey));
  expect(await machine.agent(env, ["contact"])).toMatchObject({ status: 0, stdout: "known\n" });
  await writeFile(machine.path("etc/bento.json"), settings(world.publisherKey.publicKey));
  expect(await machine.agent(env, ["contact"])).toMatchObject({ status: 1, stdout: "wrong-host-key\n" });
});
