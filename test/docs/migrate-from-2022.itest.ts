import { execFileSync } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFailed, test } from "vitest";
import { parseDocument } from "yaml";
import { evaluateModule, installModule, missing } from "../support/booted-module.ts";
import { makeKey } from "../support/keys.ts";
import { succeed } from "../support/programs.ts";
import { ofKind } from "./blocks.ts";
import { Walk } from "./walk.ts";

/**
 * docs/migrate-from-2022.md, from the first line to the last, with a fleet that the 2022 Bento itself has deployed
 * (BENTO_TEST_OLD_BENTO, a clone of it): its program on the server, its scripts and its timer on the router.
 */
const OLD_BENTO = process.env.BENTO_TEST_OLD_BENTO ?? "";
const lacking = [...missing, ...(OLD_BENTO === "" ? ["BENTO_TEST_OLD_BENTO=/path/to/it"] : [])];
const old = (file: string) => execFileSync("git", ["-C", OLD_BENTO, "show", `HEAD:${file}`], { encoding: "utf8" });

/** What of nixos-rebuild the old scripts use, for the tiny nixpkgs. */
const NIXOS_REBUILD = `#!/bin/bash
set -e
what=$1 config=/var/bento/configuration.nix
while [ $# -gt 0 ]; do case $1 in nixos-config=*) config=\${1#nixos-config=} ;; --rollback) exit 1 ;; esac; shift; done
export MACHINE=/
nix-build '<nixpkgs/nixos>' -A system -I nixpkgs=/nix/var/nix/profiles/per-user/root/channels/nixos -I "nixos-config=$config" --out-link result
[ "$what" = switch ] || exit 0
nix-env --profile /nix/var/nix/profiles/system --set ./result
./result/bin/switch-to-configuration switch
`;

/** The units of its module. */
const OLD_UNITS = {
  "bento-upgrade.service":
    "[Service]\nType=oneshot\nEnvironment=HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin\nExecStart=/bin/sh -c 'cd /var/bento && exec /bin/sh update.sh'\n",
  "bento-upgrade.timer": "[Timer]\nOnCalendar=*:*:0/3\nAccuracySec=100ms\n",
};

describe.skipIf(lacking.length > 0)(`from 2022${lacking.length ? ` (needs ${lacking.join(", ")})` : ""}`, () => {
  let walk: Walk;
  let rootKey: string;

  beforeAll(async () => {
    walk = await Walk.make("docs/migrate-from-2022.md");
    const { router, server } = walk;
    for (const machine of [router, server]) await machine.write("/usr/bin/nixos-rebuild", NIXOS_REBUILD, 0o755);
    const key = await makeKey(walk.at("root-of-router"));
    rootKey = key.publicKey;
    const address = (await server.run("hostname -I")).split(" ")[0] ?? "";
    await router.run(
      `mkdir -p -m 700 /root/.ssh && rm -f /root/.ssh/* && rm -rf /var/bento && echo '${address} fleet.example.org' >> /etc/hosts`,
    );
    await router.write("/root/.ssh/id_ed25519", await readFile(key.file, "utf8"), 0o600);

    // The server, as the old fleet.nix has it made.
    const [, rules = ""] = /extraConfig = ''\n([\s\S]*?)''/.exec(old("fleet.nix")) ?? [];
    expect(rules).toContain("ChrootDirectory %h");
    const base =
      "Port 2222\nHostKey /etc/ssh/ssh_host_ed25519_key\nAuthorizedKeysFile /etc/ssh/old_keys/%u\nUsePAM no\nPidFile none\n";
    await server.write("/etc/ssh/sshd_2022", `${base}Subsystem sftp internal-sftp\n${rules}`);
    await server.write("/etc/ssh/old_keys/router", `${rootKey}\n`);
    await server.write(
      "/etc/systemd/system/sshd-2022.service",
      "[Service]\nExecStart=/usr/sbin/sshd -D -f /etc/ssh/sshd_2022\n",
    );
    await server.write("/usr/local/bin/bento", old("bento"), 0o755);
    await server.write(
      "/root/fleet/config.sh",
      "CHROOT_DIR=/home/chroot\nREMOTE_IP=fleet.example.org\nREMOTE_PORT=2222\n",
    );
    await server.write("/root/fleet/utils/bento.nix", walk.configurationOf({ units: OLD_UNITS }));
    await server.write(
      "/root/fleet/hosts/router/configuration.nix",
      '{ config, lib, pkgs, ... }:\n{\n  imports = [ ./hardware-configuration.nix ./utils/bento.nix ];\n  networking.hostName = "router";\n  environment.etc."word" = "old";\n}\n',
    );
    await server.write("/root/fleet/hosts/router/hardware-configuration.nix", "{ }\n");
    await server.run(`set -e
      ln -s ../../utils /root/fleet/hosts/router/utils
      groupadd sftp_users
      useradd -M -d /home/chroot/router -g sftp_users -s /usr/sbin/nologin -p '*' router
      systemctl start sshd-2022
      cd /root/fleet && git init -q && git config user.name Ada && git config user.email ada@example.org && git add -A && git commit -qm old`);
  }, 300_000);
  afterAll(async () => walk?.[Symbol.asyncDispose]());
  beforeEach(() => onTestFailed(() => console.log(walk.router.log)));

  const word = () => walk.router.run("cat /run/current-system/etc/word");
  const status = async () => (await walk.tell("cd ~/fleet && bento status || true")).stdout;

  /** Ada edits fleet.yaml. */
  const edit = async (change: (document: ReturnType<typeof parseDocument>) => void) => {
    const file = walk.at("home/fleet/fleet.yaml");
    const document = parseDocument(await readFile(file, "utf8"));
    change(document);
    await writeFile(file, document.toString({ lineWidth: 0 }));
  };

  /** Waits for what a timer of the router's does. */
  async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
    const deadline = Date.now() + 90_000;
    while (!(await holds())) {
      if (Date.now() > deadline) throw new Error(`not within 90 s: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }

  test("the old fleet works: its server deploys, its host is bootstrapped, and its timer follows", async () => {
    const deployed = await walk.server.run("cd /root/fleet && /usr/local/bin/bento deploy 2>&1");
    expect(deployed).toMatch(/success .*\n update required/);
    await walk.router.run(`set -e
      # The tiny nixpkgs has an address in the name's place.
      ssh-keyscan -p 2222 fleet.example.org "$(getent hosts fleet.example.org | cut -d' ' -f1)" > /root/.ssh/known_hosts 2> /dev/null
      mkdir -p /var/bento && cd /var/bento
      sftp -P 2222 router@fleet.example.org:/config/bootstrap.sh . && sh bootstrap.sh`);
    expect(await word()).toBe("old");
    expect(await walk.server.run("ls /home/chroot/router/logs")).toMatch(/_success\.log\.gz$/);
    // Its client goes by what `ls` prints, whole minutes: two deploys within one are a single one to it.
    await walk.server.run(
      'cd /root/fleet && sed -i \'s/"old"/"older"/\' hosts/router/configuration.nix && git commit -qam older && /usr/local/bin/bento deploy 2>&1 && touch -d "1 minute" /home/chroot/router/last_change_date',
    );
    await until("the old timer", async () => (await word()) === "older");
  }, 240_000);

  test("the fleet: Bento beside it, the hosts, the server, and what old hosts make of it", async () => {
    const ready = await walk.tell(
      "npm install --global github:bento-nix/bento && git clone -q root@fleet.example.org:/root/fleet fleet && cd fleet",
    );
    expect(ready.status, ready.stderr).toBe(0);
    await walk.run("git mv utils/bento.nix");
    await edit((document) => document.setIn(["server", "tree"], true));
    await walk.run("bento host add", (text) => text.replace("ssh-ed25519 AAAA…", rootKey));
    const { text } = walk.read("hosts:");
    expect(text).toContain("agent: false");
    await edit((document) => document.setIn(["hosts", "router", "agent"], false));
    await walk.run("bento render");

    await walk.server.run("systemctl stop sshd-2022");
    await walk.run("ssh root@fleet.example.org userdel router");
    const setUp = ofKind("shell").find(
      ({ page, text: one }) => page === "docs/tutorial.md" && one.startsWith('scp -r "$(npm root'),
    );
    const server = await walk.tell(setUp?.text ?? "false");
    expect(server.status, server.stdout + server.stderr).toBe(0);
    expect(server.stdout).toContain("the server is as it should be, for 1 host");

    const { stdout } = await walk.run("export BENTO_SSH_KEY_FILE");
    expect(stdout).toMatch(/router +published/);
    await until("the old host's log", async () =>
      /✓ +router +up to date .* reported by the Bento of 2022/.test(await status()),
    );
    expect(await walk.router.run("cat /var/bento/update.sh")).toContain("Made by Bento");
  }, 240_000);

  test("each host: the old client brings the agent, and steps aside", async () => {
    const { text } = walk.read("services.bento.enable = true;");
    const file = walk.at("home/fleet/hosts/router/configuration.nix");
    const before = await readFile(file, "utf8");
    const after = before.replace("./utils/bento-2022.nix", "./utils/bento.nix").replace(/\n\}\n$/, `\n${text}\n}\n`);
    expect(after).not.toBe(before);
    await writeFile(file, after);
    const module = await evaluateModule(
      "router",
      walk.at("home/fleet/utils/bento.json"),
      'key = "/root/.ssh/id_ed25519";',
    );
    await installModule(walk.router, module);
    await writeFile(walk.at("home/fleet/utils/bento.nix"), walk.configurationOf(module));
    const from = walk.router.logged;
    await edit((document) => document.deleteIn(["hosts", "router", "agent"]));
    const deployed = await walk.tell("bento render && git add -A && git commit -qm agent && bento deploy");
    expect(deployed.status, deployed.stdout + deployed.stderr).toBe(0);
    await until("the agent's report", async () => /✓ +router +up to date +(?!.*2022)/.test(await status()));
    expect(walk.router.log.split("\n").slice(from).join("\n")).toMatch(/^up to date|^success/m);
    // From here on it is an agent's machine.
    await walk.tell(
      'sed -i \'s/"older"/"new"/\' hosts/router/configuration.nix && git commit -qam new && bento deploy',
    );
    await until("the agent's timer", async () => (await word()) === "new");
    const contact = await succeed("bash", ["-c", "ssh root@router bento-agent contact"], { env: walk.environment() });
    expect(contact).toBe("known");

    // A system whose timer is stopped before it is confirmed would be undone.
    // Tidied up as the page says. What it has for those who don't wait finds nothing to do then; the timer is out of its way.
    await walk.router.run(
      `atRest() { while systemctl show -p ActiveState bento-upgrade | grep -q ing; do sleep 0.2; done; }
      rm -rf /var/bento/*.sh; atRest; systemctl stop bento-upgrade.timer; atRest`,
    );
    const again = await walk.run("bento bootstrap HOST", (one) => one.replaceAll("HOST", "router"));
    expect(again.stderr).toMatch(/^up to date with release /m);
    walk.expectEnd();
  }, 240_000);
});
