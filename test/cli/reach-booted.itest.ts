import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { beforeAll, expect, test } from "vitest";
import { stringify } from "yaml";
import { loadFleet } from "../../src/fleet/load.ts";
import { renderedFiles } from "../../src/fleet/rendered.ts";
import type { PushDocument, TriggerDocument } from "../../src/results.ts";
import type { BootedMachine, Cable } from "../support/booted.ts";
import {
  configurationWith,
  evaluateModule,
  installModule,
  installSystem,
  type Module,
  ownStore,
} from "../support/booted-module.ts";
import { bootedWorld, describeBooted, prepareWith, writeSshd } from "../support/booted-world.ts";
import { GitServer } from "../support/git-server.ts";
import { type KeyPair, makeKey } from "../support/keys.ts";
import { succeed } from "../support/programs.ts";
import type { World } from "../support/world.ts";
import { CLI, startTidy } from "./bento.ts";

/**
 * An administrator and a machine that systemd has booted, with NixOS's own units of services.bento, an sshd, and sudo. Both have
 * their store in /nix, as in life: the administrator's is a directory that only what they run sees there.
 */
describeBooted("a booted machine", () => {
  const make = bootedWorld();
  let world: World;
  let cable: Cable;
  let machine: BootedMachine;
  let git: GitServer;
  let fleet: string;
  let module: Module;
  let ada: KeyPair;

  const host = "far";
  const userKeys = () => path.join(world.dir, "known_hosts");
  const sshConfig = () => path.join(world.dir, "ssh_config");

  beforeAll(async () => {
    const made = await make(host);
    ({ world, cable, machine } = made);
    const hostKey = world.hostKeys[host] as KeyPair;
    git = made.resources.use(
      await GitServer.make(
        path.join(world.dir, "git"),
        { write: [world.publisherKey.publicKey], read: [hostKey.publicKey] },
        {},
        cable.address,
      ),
    );
    ada = await makeKey(path.join(world.dir, "ada"));
    fleet = path.join(world.dir, "fleet");
    await mkdir(path.join(fleet, "hosts", host), { recursive: true });
    await mkdir(path.join(world.dir, "administrator/store"), { recursive: true });

    await prepareWith(machine, hostKey);
    await writeSshd(machine, {
      users: ["root", "ada", "eve"],
      key: ada,
      lines: [
        "HostKey /etc/ssh/ssh_host_ed25519_key",
        "KbdInteractiveAuthentication no",
        // Where NixOS has its own, what is run over ssh is found in the system's path, and sudo makes a terminal for it.
        "SetEnv PATH=/run/wrappers/bin:/run/current-system/sw/bin:/usr/bin:/bin",
      ],
    });
    await machine.write(
      "/etc/sudoers",
      "Defaults use_pty\nroot ALL=(ALL:ALL) ALL\nada ALL=(ALL:ALL) NOPASSWD: ALL\n",
      0o440,
    );
    await writeFile(path.join(fleet, "hosts", host, "configuration.nix"), "{ }\n");
    await writeFleet();
    module = await evaluate();
    await machine.write("/etc/nixos/configuration.nix", configurationWith(host, cable, module));
    await machine.boot();
    await machine.run(`set -e
      for user in ada eve; do useradd --create-home --shell /bin/sh --password '*' $user; done
      usermod --append --groups users eve`);
    await installSystem(machine);
    // Nothing is polled, unless it is asked for.
    await machine.run("systemctl stop bento-upgrade.timer; systemctl start sshd-test.service");
    await commit("A fleet of one", configurationWith(host, cable, module));
    const places = [cable.peer, cable.peer6].map((address) => `${address} ${hostKey.publicKey}\n`).join("");
    await writeFile(userKeys(), places);
    await writeFile(
      sshConfig(),
      `Host *\n  IdentityFile ${ada.file}\n  IdentitiesOnly yes\n  UserKnownHostsFile ${userKeys()}\n  StrictHostKeyChecking yes\n`,
    );
  }, 300_000);

  /** The fleet's settings; the host is reached as `ssh` says. */
  async function writeFleet({ ssh = `root@${cable.peer}`, way = "server", deliver = "tree" } = {}): Promise<void> {
    const { serverSettings: server, signingKey, hostKeys } = world;
    const remote = { remote: git.remote, hostKeys: [git.hostKey.publicKey] };
    const content = {
      ...(way === "server" ? { server } : { git: remote }),
      signers: [signingKey.publicKey],
      // It answers nobody: what a host gets of a push it has without a cache.
      substituters: [{ url: `http://${cable.address}:9`, key: `nobody-1:${"A".repeat(43)}=` }],
      hosts: { [host]: { key: hostKeys[host]?.publicKey, ssh, deliver } },
    };
    await writeFile(path.join(fleet, "fleet.yaml"), stringify(content, { lineWidth: 0 }));
    for (const [file, text] of renderedFiles(await loadFleet(fleet))) {
      await mkdir(path.dirname(path.join(fleet, file)), { recursive: true });
      await writeFile(path.join(fleet, file), text);
    }
  }

  /** The module with the settings that the fleet has now, put on the machine. */
  async function evaluate(): Promise<Module> {
    // By another name each time, since Nix remembers what a path was.
    const settings = path.join(world.dir, `bento-${Date.now()}.json`);
    await writeFile(settings, await readFile(path.join(fleet, "utils/bento.json")));
    const made = await evaluateModule(host, settings, `local.group = "users"; caches.connectTimeout = 1;`);
    await installModule(machine, made);
    return made;
  }

  async function commit(subject: string, configuration: string): Promise<void> {
    await writeFile(path.join(fleet, "hosts", host, "configuration.nix"), configuration);
    const run = (...args: string[]) => succeed("git", args, { cwd: fleet });
    await run("init", "-q", "-b", "main");
    await run("add", "-A");
    await run(
      "-c",
      "user.name=Ada",
      "-c",
      "user.email=ada@example.org",
      "commit",
      "-q",
      "--allow-empty",
      "-m",
      subject,
    );
  }

  /** The administrator's command, with a store of their own in /nix. */
  async function bento<T>(...args: string[]) {
    const nix = path.join(world.dir, "administrator");
    const script = `mount --bind '${nix}' /nix && exec "$@"`;
    const ssh = args[0] === "deploy" ? [] : ["--ssh-config", sshConfig()];
    const command = [process.execPath, CLI, ...args, ...ssh, "--json"];
    const running = await startTidy("unshare", ["--mount", "sh", "-c", script, "sh", ...command], {
      cwd: fleet,
      env: {
        ...ownStore,
        NIX_REMOTE: "local",
        BENTO_SSH_KEY_FILE: world.publisherKey.file,
        BENTO_GIT_SSH_KEY_FILE: world.publisherKey.file,
        BENTO_SIGNING_KEY_FILE: world.signingKey.file,
      },
    });
    const exit = await running.finished;
    const document = (exit.stdout === "" ? null : JSON.parse(exit.stdout)) as T;
    return { ...exit, document, said: `${exit.stderr}${exit.stdout}` };
  }

  const running = () => machine.run("readlink /run/current-system");
  const booting = () => machine.run("readlink -f /nix/var/nix/profiles/system");
  const change = (what: string) => configurationWith(host, cable, module, `echo ${what}`);

  test("push: what is built here runs there, by way of its own unit, over IPv4 as root", async () => {
    await commit("Pushed", change("pushed"));
    const from = machine.logged;
    const { status, said, document } = await bento<PushDocument>("push", host);
    expect(document?.hosts, said).toMatchObject([{ status: "ok", published: "published", outcome: "success" }]);
    expect(status).toBe(0);
    expect(await running()).toBe(document.hosts[0]?.toplevel);
    expect(await booting()).toBe(await running());
    expect(said).toMatch(/activating \/nix\/store\/.* success\n/s);
    await machine.says(/^Finished .*Upgrade to the fleet's release/, from);
  });

  test("the same over IPv6, as somebody who isn't root and has sudo", async () => {
    await writeFleet({ ssh: `ada@[${cable.peer6}]` });
    await commit("Pushed with sudo", change("pushed with sudo"));
    const pushed = await bento<PushDocument>("push", host);
    expect(pushed.document?.hosts, pushed.said).toMatchObject([{ status: "ok", outcome: "success" }]);
    expect(await running()).toBe(pushed.document.hosts[0]?.toplevel);
    const again = await bento<TriggerDocument>("trigger", host);
    expect(again.document?.hosts, again.said).toMatchObject([{ status: "ok", outcome: "unchanged" }]);
    expect([pushed.status, again.status]).toEqual([0, 0]);
  });

  test("a member of the group triggers over the socket, and can't push; who is neither is told what it takes", async () => {
    await writeFleet({ ssh: `eve@[${cable.peer6}]` });
    // Each activation starts the timer, which may be faster.
    await machine.run("systemctl stop bento-upgrade.timer");
    await commit("By a member of the group", change("by a member"));
    const deployed = await bento("deploy");
    expect(deployed.status, deployed.stderr).toBe(0);
    const { status, said, document } = await bento<TriggerDocument>("trigger", host);
    expect(document?.hosts, said).toMatchObject([{ status: "ok", outcome: "success", joined: false }]);
    expect(status).toBe(0);
    expect(await booting()).toBe(document.hosts[0]?.running);
    await commit("By a member of the group, again", change("by a member again"));
    const pushed = await bento<PushDocument>("push", host);
    expect(pushed.status).toBe(1);
    expect(pushed.document?.hosts).toMatchObject([{ status: "failed", published: null }]);
    expect(pushed.document?.hosts[0]?.error?.message).toMatch(/^its system could not be copied there: /);
    await machine.run("gpasswd --delete eve users");
    const stranger = await bento<TriggerDocument>("trigger", host);
    expect(stranger.document?.hosts[0]?.error).toMatchObject({
      message: expect.stringMatching(/^its agent doesn't answer: .*of the group users/),
      hint: expect.stringContaining("sudo without a password"),
    });
  });

  test("deliver: system: the path alone is published, and what was copied is what runs", async () => {
    await writeFleet({ ssh: `ada@${cable.peer}`, deliver: "system" });
    await commit("Its system alone", change("its system alone"));
    const { status, said, document } = await bento<PushDocument>("push", host);
    expect(document?.hosts, said).toMatchObject([{ status: "ok", published: "published", outcome: "success" }]);
    expect(status).toBe(0);
    expect(await running()).toBe(document.hosts[0]?.toplevel);
    // The release has no file of the repository, and nothing was evaluated there.
    expect(await machine.run("cat /var/bento/attempt.log")).not.toMatch(/fetching|these derivations will be built/);
  });

  test("one that cuts off its network is undone there, and followed to its end over the connection that comes back", async () => {
    await writeFleet({ ssh: `ada@[${cable.peer6}]` });
    const before = await running();
    // Which may be faster, so that it is its attempt that is followed.
    await machine.run("systemctl start bento-upgrade.timer");
    await commit("Cut off", configurationWith(host, cable, module, `ip link set ${cable.interface} down`));
    const { status, said, document } = await bento<PushDocument>("push", host);
    expect(document?.hosts, said).toMatchObject([{ status: "failed", outcome: "rolled-back" }]);
    expect(status).toBe(1);
    expect(await running()).toBe(before);
    expect(await booting()).toBe(before);
  }, 180_000);

  test("a fleet on git alone: published at its ref, and taken from there", async () => {
    await writeFleet({ ssh: `ada@${cable.peer}`, way: "git" });
    module = await evaluate();
    // The agent that is there knows the server alone; it is told by hand, as a bootstrap does.
    await machine.write("/etc/nixos/configuration.nix", change("on git"));
    await installSystem(machine, "/root/git");
    await machine.run("systemctl stop bento-upgrade.timer");
    await commit("On git", change("taken from git"));
    const { status, said, document } = await bento<PushDocument>("push", host);
    expect(document?.hosts, said).toMatchObject([{ status: "ok", published: "published", outcome: "success" }]);
    expect(status).toBe(0);
    expect(await running()).toBe(document.hosts[0]?.toplevel);
    expect(await git.git("log", "--format=%s", `refs/heads/bento/${host}`)).toContain("On git");
  });
});
