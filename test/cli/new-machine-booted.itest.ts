import { chmod, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { beforeAll, expect, test } from "vitest";
import { stringify } from "yaml";
import { packageRoot } from "../../src/platform/package.ts";
import type { BootedMachine, Cable } from "../support/booted.ts";
import {
  configurationWith,
  evaluateModule,
  installModule,
  installSystem,
  type Module,
  ownStore,
  prepareLogin,
} from "../support/booted-module.ts";
import { bootedWorld, describeBooted, prepareWith } from "../support/booted-world.ts";
import { type KeyPair, makeKey } from "../support/keys.ts";
import { type Exit, exec, succeed } from "../support/programs.ts";
import type { World } from "../support/world.ts";
import { CLI, onlyEnvironment } from "./bento.ts";

/**
 * docs/new-machine.md and docs/recover.md, gone through on a machine that systemd has booted: what is run is what stands there, and
 * only the ssh_config, and which generation it is, are filled in.
 */
describeBooted("a new machine", () => {
  const make = bootedWorld();
  let world: World;
  let cable: Cable;
  let machine: BootedMachine;
  let fleet: string;
  let bin: string;
  let module: Module;
  let ada: KeyPair;
  const host = "router";
  // Nothing happens here but what the pages say.
  const configuration = (what: string) => configurationWith(host, cable, module, `echo ${what}`);

  beforeAll(async () => {
    ({ world, cable, machine } = await make(host, ["nas"]));
    ada = await makeKey(path.join(world.dir, "ada"));
    const sshdKey = await makeKey(path.join(world.dir, "sshd-key"));
    await prepareWith(machine, sshdKey);
    // The key by which it is reached for this; the one that it logs in with it has yet to make.
    await machine.write("/etc/ssh/sshd_key", await readFile(sshdKey.file, "utf8"), 0o600);
    for (const half of ["", ".pub"]) await rm(machine.path(`/etc/ssh/ssh_host_ed25519_key${half}`));
    await prepareLogin(machine, "/etc/ssh/sshd_key", ada.publicKey, { BENTO_CONFIRM_SETTLE: "2" });
    await machine.write("/etc/nixos/configuration.nix", configurationWith(host, cable, {}));
    // Its timer waits for longer than this takes.
    const never = "[Timer]\nOnCalendar=\nOnBootSec=\nOnCalendar=2099-01-01\n";
    await machine.write("/etc/systemd/system/bento-upgrade.timer.d/never.conf", never);
    await machine.boot();
    await installSystem(machine);
    await machine.run("systemctl start sshd-test.service");

    // What the administrator has: a fleet with another host in it, bento, and ssh, which knows the machine by its name.
    bin = path.join(world.dir, "bin");
    const config = path.join(world.dir, "ssh_config");
    await mkdir(bin);
    await writeFile(path.join(world.dir, "known_hosts"), `router ${sshdKey.publicKey}\n`);
    const lines = [
      `Host router\n  HostName ${cable.peer}\n  HostKeyAlias router`,
      `  IdentityFile ${ada.file}\n  IdentitiesOnly yes\n  UserKnownHostsFile ${path.join(world.dir, "known_hosts")}`,
      "  StrictHostKeyChecking yes\n  BatchMode yes\n",
    ];
    await writeFile(config, lines.join("\n"));
    const store = path.join(world.dir, "administrator");
    await mkdir(path.join(store, "store"), { recursive: true });
    const programs = {
      ssh: `exec /usr/bin/ssh -F '${config}' "$@"`,
      scp: `exec /usr/bin/scp -F '${config}' "$@"`,
      bento: `exec unshare --mount sh -c 'mount --bind "$0" /nix && exec "$@"' '${store}' '${process.execPath}' '${CLI}' "$@"`,
    };
    for (const [name, script] of Object.entries(programs)) {
      await writeFile(path.join(bin, name), `#!/bin/sh\n${script}\n`);
      await chmod(path.join(bin, name), 0o755);
    }
    fleet = path.join(world.dir, "fleet");
    await mkdir(path.join(fleet, "hosts/nas"), { recursive: true });
    await mkdir(path.join(fleet, "utils"));
    await writeFile(
      path.join(fleet, "hosts/nas/configuration.nix"),
      '{ networking.hostName = "nas"; services.bento.enable = true; }\n',
    );
    const { serverSettings: server, signingKey, hostKeys } = world;
    const content = { server, signers: [signingKey.publicKey], hosts: { nas: { key: hostKeys.nas?.publicKey } } };
    await writeFile(path.join(fleet, "fleet.yaml"), stringify(content, { lineWidth: 0 }));
    await here(
      "bento render && git init -q -b main && git config user.name Ada && git config user.email ada@example.org",
    );
  }, 300_000);

  const environment = () =>
    onlyEnvironment({
      ...ownStore,
      NIX_REMOTE: "local",
      PATH: `${bin}:${process.env.PATH}`,
      BENTO_SSH_KEY_FILE: world.publisherKey.file,
      BENTO_SIGNING_KEY_FILE: world.signingKey.file,
    });

  /** A command line of the administrator's, in the fleet. */
  const tell = (line: string): Promise<Exit> =>
    exec("bash", ["-c", `set -o pipefail; ${line}`], { cwd: fleet, env: environment() });
  const here = (line: string) =>
    succeed("bash", ["-c", `set -eo pipefail; ${line}`], { cwd: fleet, env: environment() });

  /** The commands of a page that stand below a heading: indented lines, without what is said of them. */
  async function commands(page: string, heading: string): Promise<string[]> {
    const text = await readFile(path.join(packageRoot(), "docs", page), "utf8");
    const section = text.split(/^## /m).find((part) => part.startsWith(`${heading}\n`));
    if (section === undefined) throw new Error(`${page} has no '${heading}'`);
    return section
      .split("\n")
      .filter((line) => line.startsWith("    "))
      .map((line) => line.trim().replace(/\s+#.*$/, ""));
  }

  /** On the machine, as root over ssh. */
  const there = (lines: string) => tell(`ssh root@router 'sh -c "$(cat)"' << 'END'\n${lines}\nEND`);

  test("it isn't in the fleet yet: the page's commands bring it there, one after the other", async () => {
    const [bootstrap = "", hostAdd = "", bootstrapAgain = ""] = await commands("new-machine.md", "It isn't yet");
    const first = await tell(bootstrap);
    expect(first.status, first.stderr).toBe(2);
    // What is to be entered is what the page shows, with this machine's key.
    expect(first.stdout.trim()).toMatch(new RegExp(`^${hostAdd.replace(/AAAA….*/, "AAAA")}\\S+ root@router'$`));
    const page = await readFile(path.join(packageRoot(), "docs/new-machine.md"), "utf8");
    const scp = /`(scp -r root@router:\S+ \S+)`/.exec(page)?.[1] ?? "there is no scp any more";
    await here(scp);
    expect(await readFile(path.join(fleet, "hosts/router/configuration.nix"), "utf8")).toContain('"router"');
    await here(first.stdout.trim());
    const settings = path.join(world.dir, "bento.json");
    await writeFile(settings, await readFile(path.join(fleet, "utils/bento.json")));
    module = await evaluateModule(host, settings);
    await installModule(machine, module);
    await writeFile(path.join(fleet, "hosts/router/configuration.nix"), configuration("router is in"));
    await here("git add -A && git commit -qm 'router is in' && bento deploy --hosts router || true");
    await world.server.provisionFrom(path.join(fleet, "fleet.json"));
    await here("bento deploy --hosts router");
    const second = await tell(bootstrapAgain);
    expect(second.status, second.stderr + second.stdout).toBe(0);
    expect((await there("bento-agent contact")).stdout).toBe("known\n");
    const again = await tell((await commands("new-machine.md", "It is in fleet.yaml"))[0] ?? "");
    expect(again.status, again.stderr).toBe(0);
    expect((await tell("bento status")).stdout).toMatch(/router +up to date/);
  }, 240_000);

  test("recovering it: each command of the page does what is said of it", async () => {
    const number = async () => (await machine.run("readlink /nix/var/nix/profiles/system")).replace(/\D/g, "");
    const filledIn = async (heading: string, generation: string) =>
      (await commands("recover.md", heading)).map((line) =>
        line.replace("system-41-link", `system-${generation}-link`),
      );
    for (const line of await commands("recover.md", "What does it think?")) {
      const { status, stdout, stderr } = await there(line);
      expect(status, `${line}: ${stderr}`).toBe(0);
      expect(stdout).not.toBe("");
    }

    const before = { number: await number(), system: await machine.run("readlink /run/current-system") };
    const upgraded = async (what: string) => {
      await writeFile(path.join(fleet, "hosts/router/configuration.nix"), configuration(what));
      await here(`git commit -qam '${what}' && bento deploy --hosts router`);
      const { status, stderr } = await there("bento-agent upgrade");
      expect(status, stderr).toBe(0);
      expect(await machine.run("readlink /run/current-system")).not.toBe(before.system);
    };
    const isBack = async () => {
      expect(await machine.run("readlink /run/current-system")).toBe(before.system);
      expect(await machine.run("readlink -f /nix/var/nix/profiles/system")).toBe(before.system);
      expect(await machine.run("readlink /boot/default")).toBe(before.system);
    };
    await upgraded("bad");
    // It asks who has a terminal there, and others have to say so.
    const [back = "", to = "", suspend = ""] = await filledIn("It runs something bad, and has contact", before.number);
    expect(await there(`${back} -y`)).toMatchObject({ status: 0 });
    await isBack();
    await upgraded("bad again");
    expect(await there(`${to} -y`)).toMatchObject({ status: 0 });
    await isBack();
    expect(await there(suspend)).toMatchObject({ status: 0 });
    expect((await there("bento-agent upgrade")).stderr).toContain("the network card");
    expect(await there("bento-agent resume")).toMatchObject({ status: 0 });

    await upgraded("bad without contact");
    await world.server.stop();
    expect((await there(`${back} -y`)).status).not.toBe(0);
    const [offline = ""] = await filledIn("It runs something bad, and has no contact", before.number);
    expect(await there(`${offline} -y`)).toMatchObject({ status: 0 });
    await isBack();
    await world.server.start();

    await upgraded("bad, with a broken agent");
    const byHand = (await filledIn("The agent itself is broken", before.number)).join("\n");
    const { status, stderr } = await there(`set -e\n${byHand}`);
    expect(status, stderr).toBe(0);
    await isBack();
  }, 240_000);
});
