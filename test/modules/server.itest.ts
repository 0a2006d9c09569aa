import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { loadFleet } from "../../src/fleet/load.ts";
import { temporaryDirectory } from "../../src/platform/temporary.ts";
import { succeed } from "../support/programs.ts";
import { evaluate, MACHINE, nixpkgs, once, root } from "./nixos.ts";

/** utils/fleet.nix, evaluated as part of real NixOS systems (BENTO_TEST_NIXPKGS). */
describe.skipIf(!nixpkgs)("the server", () => {
  const configuration = `{
    imports = [ ${root}/utils/fleet.nix ];
    ${MACHINE}
    services.openssh.enable = true;
    services.openssh.extraConfig = "AllowUsers alice\\nMatch User alice\\n  X11Forwarding no\\n";
    services.bento-server.enable = true;
    # An administrator's own addition to what the module makes.
    users.users.bento.openssh.authorizedKeys.keys = [ "ssh-ed25519 AAAA more" ];
  }`;
  const server = once(async () => {
    const found = await evaluate(
      configuration,
      `{
        system = config.system.build.toplevel.outPath;
        sshd = config.services.openssh.extraConfig;
        rules = lib.filter (rule: lib.hasInfix "chroot" rule) config.systemd.tmpfiles.rules;
        users = lib.mapAttrs
          (name: user: { inherit (user) group home isSystemUser; inherit (user.openssh.authorizedKeys) keys; })
          (lib.filterAttrs (name: user: user.description == "Bento fleet") config.users.users);
      }`,
    );
    return found as { system: string; sshd: string; rules: string[]; users: Record<string, { keys: string[] }> };
  });

  test("gives each login its chroot and sftp, and leaves the other logins alone", async () => {
    await using scratch = await temporaryDirectory();
    const place = (name: string) => path.join(scratch.path, name);
    await succeed("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", place("key")]);
    await mkdir("/run/sshd", { recursive: true });
    await writeFile(place("sshd_config"), (await server()).sshd.replace(/^HostKey .*$/gm, ""));
    const sshd = await succeed("sh", ["-c", "PATH=$PATH:/usr/sbin:/sbin command -v sshd"]);
    const rules = async (user: string) => {
      const connection = `user=${user},host=client.example.org,addr=192.0.2.1`;
      const text = await succeed(sshd, ["-T", "-f", place("sshd_config"), "-h", place("key"), "-C", connection]);
      return text.split("\n");
    };
    for (const [user, chroot] of [
      ["bento", "/home/chroot"],
      ["router", "/home/chroot/router"],
      ["t470", "/home/chroot/t470"],
    ] as const) {
      expect(await rules(user), user).toEqual(
        expect.arrayContaining([
          `chrootdirectory ${chroot}`,
          "forcecommand internal-sftp -u 0027",
          "authenticationmethods publickey",
          "passwordauthentication no",
          "kbdinteractiveauthentication no",
          "disableforwarding yes",
          "permittty no",
          "authorizedkeysfile /etc/ssh/authorized_keys.d/%u",
          `allowusers ${user}`,
        ]),
      );
    }
    const alice = await rules("alice");
    expect(alice).toEqual(
      expect.arrayContaining([
        "chrootdirectory none",
        "forcecommand none",
        "authenticationmethods any",
        "passwordauthentication yes",
        "permittty yes",
        "disableforwarding no",
        "allowusers alice",
        "maxstartups 200:30:1000",
      ]),
    );
    expect(alice.filter((line) => line.startsWith("allow"))).toEqual(
      expect.not.arrayContaining(["allowusers router", "allowgroups router"]),
    );
  });

  test("has the directories and logins that provision makes", async () => {
    const { system, rules, users } = await server();
    expect(system).toMatch(/^\/nix\/store\//);
    expect(rules.slice(0, 5)).toEqual([
      "d /home/chroot 0755 root root -",
      "d /home/chroot/.bento 0700 bento bento -",
      "d /home/chroot/nas 0755 root root -",
      "d /home/chroot/nas/releases 2750 bento nas -",
      "d /home/chroot/nas/reports 2750 nas bento -",
    ]);
    expect(Object.keys(users)).toEqual(["bento", "nas", "router", "t470", "x1"]);
    const nas = (await loadFleet(root)).hosts.find(({ name }) => name === "nas");
    expect(users.nas).toEqual({ group: "nas", home: "/", isSystemUser: true, keys: [`restrict ${nas?.key}`] });
    expect(users.bento?.keys.length).toBe(2);
  });

  test("may be a host of the fleet itself", async () => {
    const both = `{ imports = [ ${configuration} ${root}/utils/bento.nix ];
      networking.hostName = "router"; services.bento.enable = true; }`;
    const found = await evaluate(
      both,
      `{
        system = config.system.build.toplevel.outPath;
        inherit (config.systemd.services.sshd) stopIfChanged;
        killed = config.systemd.services.sshd.serviceConfig.KillMode;
        agent = config.systemd.services.bento-upgrade.restartIfChanged;
      }`,
    );
    expect(found.system).toMatch(/^\/nix\/store\//);
    // sshd is restarted in one step at the end, with its sessions left alone, and the agent that does it isn't.
    expect(found).toMatchObject({ stopIfChanged: false, killed: "process", agent: false });
  });

  test("has numbers for the logins of a large fleet", { timeout: 300_000 }, async () => {
    await using scratch = await temporaryDirectory();
    const { server, hosts } = JSON.parse(await readFile(path.join(root, "fleet.json"), "utf8"));
    const many = Array.from({ length: 400 }, (_, n) => [`host-${n}`, { ...hosts.nas, login: `host-${n}` }]);
    const file = path.join(scratch.path, "fleet.json");
    await writeFile(file, JSON.stringify({ version: 1, server, hosts: Object.fromEntries(many) }));
    const { users, startups, failed } = await evaluate(
      `{ imports = [ ${configuration} ]; services.bento-server.fleetFile = ${file}; }`,
      `{
        users = lib.mapAttrsToList (name: user: [ user.uid config.users.groups.\${name}.gid ])
          (lib.filterAttrs (name: user: user.description == "Bento fleet") config.users.users);
        startups = config.services.openssh.extraConfig;
        failed = map (one: one.message) (lib.filter (one: !one.assertion) config.assertions);
      }`,
    );
    expect(failed).toEqual([]);
    expect(users).toHaveLength(401);
    expect(new Set(users.map(([uid]: [number]) => uid)).size).toBe(401);
    for (const [uid, gid] of users) {
      expect(gid).toBe(uid);
      expect(uid).toBeGreaterThanOrEqual(1879048192);
      expect(uid).toBeLessThan(2147483648);
    }
    expect(startups).toContain("MaxStartups 401:30:2005\n");
  });

  test("with server.tree it has what hosts of the 2022 Bento read as well", async () => {
    await using scratch = await temporaryDirectory();
    const fleetFile = path.join(scratch.path, "fleet.json");
    const fleet = JSON.parse(await readFile(path.join(root, "fleet.json"), "utf8"));
    await writeFile(fleetFile, JSON.stringify({ ...fleet, server: { ...fleet.server, tree: true } }));
    const rules = await evaluate(
      `{ imports = [ ${configuration} ]; services.bento-server.fleetFile = ${fleetFile}; }`,
      `lib.filter (rule: lib.hasInfix "chroot/nas/" rule) config.systemd.tmpfiles.rules`,
    );
    expect(rules).toEqual([
      "d /home/chroot/nas/releases 2750 bento nas -",
      "d /home/chroot/nas/reports 2750 nas bento -",
      "d /home/chroot/nas/trees 2750 bento nas -",
      "L+ /home/chroot/nas/config - - - - trees/config",
      "f /home/chroot/nas/last_change_date 0640 bento nas -",
      "d /home/chroot/nas/logs 2750 nas bento -",
    ]);
  });

  test("doesn't take a login that is somebody's already", async () => {
    const taken = `{ imports = [ ${configuration} ]; users.users.router.isNormalUser = true; }`;
    await expect(evaluate(taken, "config.system.build.toplevel.outPath")).rejects.toThrow(
      /login 'router' is in users\.users of this machine already/,
    );
  });
});
