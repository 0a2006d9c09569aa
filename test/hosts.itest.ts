import { mkdir, readdir, readFile, readlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { check } from "../src/commands/check.ts";
import type { Context } from "../src/commands/context.ts";
import { loadFleet } from "../src/fleet/load.ts";
import { staleFiles } from "../src/fleet/rendered.ts";
import { temporaryDirectory } from "../src/platform/temporary.ts";
import { exec, succeed } from "./support/programs.ts";

/**
 * The example fleet, and the two NixOS modules that it uses. BENTO_TEST_NIXPKGS, the path of a nixpkgs of 20.09 or
 * later, adds the tests that evaluate them as real NixOS systems; BENTO_TEST_NIXPKGS_LIB, the path of another nixpkgs'
 * lib, tries the modules with that one's module system.
 */
const root = path.resolve(import.meta.dirname, "..");
const nixpkgs = process.env.BENTO_TEST_NIXPKGS;
/** What every machine needs to be one. */
const MACHINE = `fileSystems."/" = { device = "/dev/vda1"; fsType = "ext4"; }; boot.loader.grub.device = "/dev/vda";`;

describe("as they are in the repository", () => {
  test("the rendered files are what fleet.yaml says", async () => {
    expect(await staleFiles(await loadFleet(root))).toEqual([]);
  });

  test("every host has a key, and is found where fleet.yaml says", async () => {
    const { hosts } = await loadFleet(root);
    expect(hosts.map(({ name, kind, path: place }) => `${name}: ${kind} in ${place}`)).toEqual([
      "nas: flake in hosts/nas",
      "router: channel in hosts/router",
      "t470: flake in hosts/laptops",
      "x1: flake in hosts/laptops",
    ]);
    for (const host of hosts) {
      expect(host.key, host.name).toMatch(/^ssh-ed25519 /);
      expect(host.declared, host.name).toBe(true);
    }
  });

  test("each host's utils is the shared directory", async () => {
    for (const host of await readdir(path.join(root, "hosts"))) {
      expect(await readlink(path.join(root, "hosts", host, "utils")), host).toBe("../../utils/");
    }
  });

  test.each(["nas", "laptops"])("the lock file of %s locks what its flake.nix asks for", async (host) => {
    const flake = await readFile(path.join(root, "hosts", host, "flake.nix"), "utf8");
    const lock = JSON.parse(await readFile(path.join(root, "hosts", host, "flake.lock"), "utf8"));
    expect(lock).toMatchObject({ version: 7, root: "root" });
    expect(Object.keys(lock.nodes).sort()).toEqual(["nixpkgs", "root"]);
    expect(lock.nodes.root.inputs).toEqual({ nixpkgs: "nixpkgs" });
    const { original, locked } = lock.nodes.nixpkgs;
    expect(flake).toContain(`inputs.nixpkgs.url = "github:${original.owner}/${original.repo}/${original.ref}";`);
    const { type, owner, repo } = original;
    expect(locked).toMatchObject({ type, owner, repo });
    expect(locked.rev).toMatch(/^[0-9a-f]{40}$/);
    expect(locked.narHash).toMatch(/^sha256-[A-Za-z0-9+/]{43}=$/);
    expect(locked.lastModified).toBeGreaterThan(0);
  });

  test("every .nix file parses", async () => {
    const files = (await succeed("git", ["-C", root, "ls-files", "--", "hosts/*.nix", "utils/*.nix"])).split("\n");
    expect(files).toEqual(expect.arrayContaining(["utils/bento.nix", "utils/fleet.nix", "hosts/nas/flake.nix"]));
    await succeed("nix-instantiate", ["--parse", ...files.map((file) => path.join(root, file))]);
  });
});

describe.skipIf(!nixpkgs)("on a real nixpkgs", () => {
  test("every host is a system, staged and evaluated as check does it", { timeout: 400_000 }, async () => {
    const source = await inStore(nixpkgs ?? "");
    const { warnings, hosts } = await check(quiet(), {
      fleet: root,
      hosts: [],
      base: null,
      shard: null,
      dirty: false,
      nix: { overrideInputs: [["nixpkgs", `path:${source}`]], options: [], searchPath: [`nixpkgs=${nixpkgs}`] },
      timeout: 300_000,
    });
    expect(warnings).toEqual([]);
    expect(hosts.map(({ name }) => name)).toEqual(["nas", "router", "t470", "x1"]);
    for (const host of hosts) {
      expect(host, host.name).toMatchObject({
        status: "ok",
        error: null,
        toplevel: expect.stringMatching(new RegExp(`^/nix/store/[0-9a-z]{32}-nixos-system-${host.name}-`)),
        drv: expect.stringMatching(/^\/nix\/store\/.*\.drv$/),
      });
      // What Nix says of its own installation is no matter of the host's.
      expect(host.warnings.filter((text) => !text.includes("build-users-group"))).toEqual([]);
    }
  });

  describe("the router", () => {
    const router = once(async () => {
      const found = await evaluate(
        `{ imports = [ ${root}/hosts/router/configuration.nix ]; }`,
        `let
          package = lib.findFirst (package: package.name or "" == "bento-agent") null config.environment.systemPackages;
        in {
          units = builtins.mapAttrs (name: unit: unit.text)
            (lib.filterAttrs (name: unit: lib.hasPrefix "bento" name) config.systemd.units);
          command = package.text;
          inputs = builtins.attrNames (builtins.getContext package.text);
        }`,
      );
      return found as { units: Record<string, string>; command: string; inputs: string[] };
    });

    test("has the two units, and nothing else of Bento's", async () => {
      const { units } = await router();
      expect(Object.keys(units).sort()).toEqual(["bento-upgrade.service", "bento-upgrade.timer"]);
      expect(units["bento-upgrade.service"]?.split("\n")).toEqual(
        expect.arrayContaining([
          "After=network-online.target",
          "Wants=network-online.target",
          "X-StopOnRemoval=false",
          "X-RestartIfChanged=false",
          "X-StopIfChanged=false",
          "Type=oneshot",
          "TimeoutStartSec=infinity",
          expect.stringMatching(/^ExecStart=\/nix\/store\/[0-9a-z]{32}-bento-agent\/bin\/bento-agent upgrade$/),
        ]),
      );
      expect(units["bento-upgrade.timer"]?.split("\n")).toEqual(
        expect.arrayContaining(["Persistent=true", expect.stringMatching(/^OnCalendar=\*:(0\d|1[0-4])\/15:[0-5]\d$/)]),
      );
    });

    test("tells the agent what its configuration says", async () => {
      const { command } = await router();
      const environment: Record<string, string | undefined> = Object.fromEntries(
        [...command.matchAll(/^export (\w+)='?([^']*?)'?$/gm)].map(([, name, value]) => [name, value]),
      );
      expect(environment).toMatchObject({
        BENTO_HOST: "router",
        BENTO_KEY: "/etc/ssh/ssh_host_ed25519_key",
        BENTO_FETCHER: "sftp",
        BENTO_REPORTER: "sftp",
        BENTO_BUILD: "auto",
        BENTO_CONFIRM_TIMEOUT: "300",
        BENTO_CONFIRM_SETTLE: "20",
        BENTO_MIN_FREE_STORE: "524288",
        BENTO_HEALTH_CHECKS: expect.stringMatching(/^\/nix\/store\/.*-bento-health-checks$/),
        NIX_PATH: expect.stringMatching(/^nixpkgs=/),
        PATH: expect.stringMatching(/^\/nix\/store\/[^:]*-nix-[^:]*\/bin:.*:\/run\/current-system\/sw\/bin$/),
      });
      expect(await readFile(environment.BENTO_CONFIG ?? "", "utf8")).toBe(
        await readFile(path.join(root, "utils/bento.json"), "utf8"),
      );
    });

    test("has an agent that runs", async () => {
      const { command } = await router();
      const [, bash, agent = ""] = /^exec (\S+\/bash) (\S+\/bento-agent) "\$@"$/m.exec(command) ?? [];
      expect(bash).toMatch(/^\/nix\/store\//);
      expect(agent).toMatch(/^\/nix\/store\//);
      expect(await succeed("bash", [agent, "version"])).toMatch(/^\d+\.\d+\.\d+$/);
    });

    test("has its health checks in one directory, under their own names; what is none is refused", async () => {
      const drv = (await router()).inputs.find((input) => input.endsWith("-bento-health-checks.drv")) ?? "";
      const shown = await succeed("nix", ["--extra-experimental-features", "nix-command", "show-derivation", drv]);
      const { checks = "", buildCommand = "" } = JSON.parse(shown)[drv].env;
      await using scratch = await temporaryDirectory();
      const place = (name: string) => path.join(scratch.path, name);
      await mkdir(place("package/bin"), { recursive: true });
      await writeFile(place("package/bin/web"), "#!/bin/sh\n", { mode: 0o755 });
      await writeFile(place("notes"), "", { mode: 0o644 });
      const build = (list: string, out: string) =>
        exec("bash", ["-eu", "-c", buildCommand], { env: { out: place(out), checks: list } });

      expect(await build(`${checks} ${place("package")}`, "good")).toMatchObject({ status: 0, stderr: "" });
      expect((await readdir(place("good"))).sort()).toEqual(["dns", "web"]);
      await succeed("test", ["-x", place("good/dns")]);
      expect(await build(place("notes"), "bad")).toMatchObject({
        status: 1,
        stderr: expect.stringContaining("is no executable file"),
      });
      expect(await build(`${checks} ${checks}`, "twice")).toMatchObject({
        status: 1,
        stderr: expect.stringContaining("two are called dns"),
      });
    });
  });

  test("what fleet.yaml says to all, one machine can have otherwise; what it leaves alone is the fleet's", async () => {
    await using scratch = await temporaryDirectory();
    const settings = path.join(scratch.path, "bento.json");
    const server = { address: "fleet.example.org", port: 22, loginPrefix: "b-", hostKeys: ["ssh-ed25519 AAAA"] };
    const fleet = { version: 1, server, git: null, signers: ["ssh-ed25519 BBBB"], substituters: [] };
    await writeFile(settings, JSON.stringify(fleet));
    const told = async (more: string): Promise<{ inputs: string[]; command: string; caches: string[] }> =>
      await evaluate(
        `{
          imports = [ ${root}/utils/bento.nix ];
          ${MACHINE}
          services.openssh.enable = true;
          services.bento = { enable = true; host = "far"; configFile = ${settings}; ${more} };
        }`,
        `let command = config.services.bento.command.text; in {
          command = builtins.unsafeDiscardStringContext command;
          inputs = lib.filter (lib.hasSuffix "-bento.json.drv") (builtins.attrNames (builtins.getContext command));
          caches = config.nix.binaryCaches;
        }`,
      );
    const asItIs = await told("");
    const [, file = ""] = /^export BENTO_CONFIG='?([^'\n]*)'?$/m.exec(asItIs.command) ?? [];
    expect(await readFile(file, "utf8")).toBe(JSON.stringify(fleet));
    expect(asItIs.inputs).toEqual([]);
    const near = { url: "http://10.0.0.1:5000", key: "near-1:CCCC" };
    const other = await told(`
      server = { address = "10.0.0.1"; port = 2222; };
      substituters = [ { url = "${near.url}"; key = "${near.key}"; } ];
    `);
    const drv = other.inputs[0] ?? "";
    const shown = await succeed("nix", ["--extra-experimental-features", "nix-command", "show-derivation", drv]);
    expect(JSON.parse(JSON.parse(shown)[drv].env.text)).toEqual({
      ...fleet,
      server: { ...server, address: "10.0.0.1", port: 2222 },
      substituters: [near],
    });
    expect(other.caches).toContain(near.url);
    expect(asItIs.caches).not.toContain(near.url);
  });

  test("settings that can't work are refused, in words that say the way out", async () => {
    await using scratch = await temporaryDirectory();
    const settings = path.join(scratch.path, "bento.json");
    await writeFile(settings, JSON.stringify({ version: 1, server: null, signers: [] }));
    const refused: string = await evaluate(
      `{
        imports = [ ${root}/utils/bento.nix ];
        ${MACHINE}
        networking.hostName = "Router";
        services.bento = {
          enable = true;
          configFile = ${settings};
          confirm.settle = 170;
          server.address = "fleet.example.org";
          reboot = { policy = "window"; window.lower = "05:00"; };
        };
      }`,
      "config.system.build.toplevel.outPath",
    ).then(() => "nothing", String);
    for (const words of [
      "services.bento.host is 'Router'",
      "Set services.bento.host to this machine's name in fleet.yaml",
      "services.bento.server.hostKeys is empty",
      "names no signers",
      "services.openssh.enable = true",
      "Raise that",
      "Set services.bento.reboot.window.upper to another one",
    ]) {
      expect(refused).toContain(words);
    }
    const nowhere: string = await evaluate(
      `{ imports = [ ${root}/utils/bento.nix ]; ${MACHINE} services.bento = { enable = true; configFile = ${settings}; }; }`,
      "config.system.build.toplevel.outPath",
    ).then(() => "nothing", String);
    expect(nowhere).toContain("bento.json names none. Set server in fleet.yaml and run 'bento render'");
  });

  test("the socket, the page, notifications and secrets are there where they are asked for", async () => {
    const found = await evaluate(
      `{
        imports = [ ${root}/utils/bento.nix ];
        ${MACHINE}
        services.openssh.enable = true;
        services.bento = {
          enable = true;
          host = "desk";
          local = { group = "wheel"; page.enable = true; };
          notifications = { desktop = true; command = ${root}/scripts/test; };
          secrets.wifi = { group = "wheel"; mode = "0440"; restartUnits = [ "wpa_supplicant.service" ]; };
        };
      }`,
      `{
        system = config.system.build.toplevel.outPath;
        units = builtins.mapAttrs (name: unit: unit.text)
          (lib.filterAttrs (name: unit: lib.hasPrefix "bento" name) config.systemd.units);
        inherit (config.services.bento.command) text;
        secrets = builtins.fromJSON config.environment.etc."bento-secrets.json".text;
        path = config.services.bento.secrets.wifi.path;
        activation = config.system.activationScripts.script;
      }`,
    );
    const units = found.units as Record<string, string>;
    const lines = (name: string) => units[name]?.split("\n") ?? [];
    expect(found.system).toMatch(/^\/nix\/store\//);
    expect(Object.keys(units).sort()).toEqual([
      "bento-agent.socket",
      "bento-agent@.service",
      "bento-page.socket",
      "bento-page@.service",
      "bento-secrets.service",
      "bento-upgrade.service",
      "bento-upgrade.timer",
    ]);
    expect(found.secrets).toEqual({
      wifi: { owner: "root", group: "wheel", mode: "0440", restartUnits: ["wpa_supplicant.service"] },
    });
    expect(found.path).toBe("/run/bento-secrets/wifi");
    expect(found.activation).toContain(
      "chown root:wheel /run/bento-secrets/wifi && chmod 0440 /run/bento-secrets/wifi",
    );
    expect(lines("bento-secrets.service")).toEqual(
      expect.arrayContaining([
        "Before=sysinit.target shutdown.target",
        "DefaultDependencies=false",
        "X-RestartIfChanged=false",
        expect.stringMatching(/^ExecStart=\/nix\/store\/\S+\/bin\/bento-agent secrets$/),
      ]),
    );
    expect(lines("bento-agent.socket")).toEqual(
      expect.arrayContaining([
        "ListenStream=/run/bento-agent.sock",
        "SocketMode=0660",
        "SocketGroup=wheel",
        "Accept=true",
      ]),
    );
    expect(lines("bento-page.socket").filter((line) => line.startsWith("ListenStream"))).toEqual([
      "ListenStream=127.0.0.1:51337",
      "ListenStream=[::1]:51337",
    ]);
    expect(lines("bento-page@.service")).toEqual(
      expect.arrayContaining([
        "DynamicUser=true",
        "SupplementaryGroups=wheel",
        "StandardInput=socket",
        "X-RestartIfChanged=false",
        "X-StopOnRemoval=false",
        expect.stringMatching(/^ExecStart=\/nix\/store\/\S+\/bin\/bento-agent page$/),
      ]),
    );
    expect(lines("bento-agent@.service")).toEqual(
      expect.arrayContaining([expect.stringMatching(/^ExecStart=\S+\/bin\/bento-agent serve %i$/)]),
    );
    expect(found.text).toMatch(/^export BENTO_SOCAT='?\/nix\/store\/\S+\/bin\/socat'?$/m);
    expect(found.text).toMatch(/^export BENTO_NOTIFY_SEND='?\/nix\/store\/\S+\/bin\/notify-send'?$/m);
    expect(found.text).toMatch(/^export BENTO_NOTIFY_COMMAND='?\/nix\/store\/\S+-test'?$/m);
  });

  describe("the server", () => {
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

  test("a host of a fleet on git gets its releases from there, and is told what is missing for it", async () => {
    const git = { remote: "git@git.example.org:fleet.git", refs: "refs/b/{host}", hostKeys: ["ssh-ed25519 BBBB"] };
    const { failed, environment } = await bentoWith(git, "");
    expect(failed).toEqual([]);
    expect(environment).toMatchObject({
      BENTO_FETCHER: "git",
      BENTO_REPORTER: "git",
      BENTO_GIT_REMOTE: git.remote,
      BENTO_GIT_REFS: git.refs,
      BENTO_GIT_KEY: "",
      BENTO_GIT_CREDENTIALS: "",
    });
    const failures = async (remote: object | null, settings: string) => (await bentoWith(remote, settings)).failed;
    for (const remote of [git.remote, "ssh://git@[::1]:2222/fleet", "host:/srv/fleet.git"]) {
      expect(await failures({ ...git, remote, hostKeys: [] }, "")).toEqual([
        expect.stringContaining("Put its public host key into git.hostKeys in fleet.yaml"),
      ]);
    }
    for (const remote of ["https://git.example.org/fleet.git", "file:///srv/fleet.git", "/srv/fleet.git"]) {
      expect(await failures({ ...git, remote, hostKeys: [] }, "")).toEqual([]);
    }
    expect(await failures(null, 'fetcher = "git";')).toEqual([expect.stringContaining("Set git.remote in fleet.yaml")]);
    expect(await failures(git, 'git.key = builtins.storeDir + "/key";')).toEqual([
      expect.stringContaining("must not be in the Nix store"),
    ]);
    expect(await failures(git, 'reporter = "sftp";')).toEqual([expect.stringContaining("bento.json names none")]);
  });

  test("a host that makes its releases of a branch is told whose commits it takes, and what is missing for it", async () => {
    const git = { remote: "https://git.example.org/fleet.git", refs: "refs/b/{host}", hostKeys: [] };
    const plain = await bentoWith(git, "");
    expect(plain.environment).not.toHaveProperty("BENTO_GIT_BRANCH");
    const { failed, environment } = await bentoWith(git, 'git.branch = "main"; git.directory = "machines";');
    expect(failed).toEqual([]);
    expect(environment).toMatchObject({
      BENTO_GIT_BRANCH: "main",
      BENTO_GIT_DIRECTORY: "machines",
      BENTO_GIT_COMMIT_SIGNERS: "ssh-ed25519 AAAA",
      BENTO_GIT_ALLOW_UNSIGNED: "",
    });
    const failures = async (settings: string) => (await bentoWith(git, `git.branch = "main"; ${settings}`)).failed;
    expect(await failures("git.commitSigners = [ ];")).toEqual([expect.stringContaining("List the public ssh keys")]);
    expect(await failures("git.commitSigners = [ ]; git.allowUnsigned = true;")).toEqual([]);
    expect(await failures('fetcher = "/bin/mine"; reporter = "git";')).toEqual([
      expect.stringContaining("or take git.branch out"),
    ]);
    expect(await failures('build = "prebuilt";')).toEqual([expect.stringContaining('services.bento.build = "auto"')]);
    expect((await bentoWith(git, 'git.branch = "-x";')).failed).toEqual([
      expect.stringContaining("is no branch's name"),
    ]);
  });

  test("the modules do with a module system alone, and every option is documented", async () => {
    const lib = process.env.BENTO_TEST_NIXPKGS_LIB ?? `${nixpkgs}/lib`;
    const [host, server, desk, strange, badName] = await json(
      `map (modules: let e = import ${root}/test/fixtures/modules/eval.nix { lib = ${lib}; inherit modules; }; in {
         inherit (e) failed documented;
         units = e.config.systemd.services;
         sockets = e.config.systemd.sockets;
         groups = builtins.attrNames e.config.users.groups;
         sshd = e.config.services.openssh.extraConfig;
         settings = e.config.services.openssh.settings;
       }) [
         [ ${root}/utils/bento.nix { services.openssh.enable = true; services.bento.enable = true; } ]
         [ ${root}/utils/fleet.nix { services.openssh.enable = true; services.bento-server.enable = true; } ]
         [ ${root}/utils/bento.nix {
             services.openssh.enable = true;
             services.bento = { enable = true; local.page.enable = true; notifications.desktop = true; };
             networking.enableIPv6 = false;
           } ]
         [ ${root}/utils/bento.nix {
             services.openssh.enable = true;
             services.bento = { enable = true; local.group = "whell"; };
           } ]
         [ ${root}/utils/bento.nix {
             services.openssh.enable = true;
             services.bento = { enable = true; secrets."../wifi" = { }; };
           } ]
       ]`,
    );
    expect([host.failed, server.failed]).toEqual([[], []]);
    expect(Object.keys(host.units)).toEqual(["bento-upgrade"]);
    expect(host.sockets).toEqual({});
    expect(desk.failed).toEqual([]);
    expect(desk.sockets["bento-page"].socketConfig.ListenStream).toEqual(["127.0.0.1:51337"]);
    expect(desk.sockets["bento-agent"].socketConfig.SocketGroup).toBe("bento-page");
    expect(desk.groups).toEqual(["bento-page"]);
    expect(strange.failed).toEqual([expect.stringContaining("'whell', and this machine has no such group")]);
    expect(badName.failed).toEqual([expect.stringContaining("../wifi can't be names of secrets")]);
    expect(server.settings.MaxStartups).toBe("200:30:1000");
    expect(server.settings.PerSourcePenalties).toBe("authfail:1 noauth:0 grace-exceeded:1");
    expect(server.sshd).toContain("ChrootDirectory /home/chroot/router\n");
    for (const option of [...host.documented, ...server.documented]) {
      expect(option.description, option.name).toMatch(/\w{3}/);
      // NixOS up to 22.11 reads descriptions as DocBook, where these begin something.
      expect(option.description, option.name).not.toMatch(/[<&]/);
    }
  });
});

/** `services.bento` with these settings and a bento.json with this git remote, by a module system alone. */
async function bentoWith(git: object | null, settings: string) {
  await using scratch = await temporaryDirectory();
  const file = path.join(scratch.path, "bento.json");
  await writeFile(file, JSON.stringify({ version: 1, server: null, git, signers: ["ssh-ed25519 AAAA"] }));
  const lib = process.env.BENTO_TEST_NIXPKGS_LIB ?? `${nixpkgs}/lib`;
  const { failed, text } = await json(
    `let e = import ${root}/test/fixtures/modules/eval.nix {
       lib = ${lib};
       modules = [ ${root}/utils/bento.nix {
         services.openssh.enable = true;
         services.bento = { enable = true; configFile = ${file}; ${settings} };
       } ];
     }; in { inherit (e) failed; inherit (builtins.head e.config.environment.systemPackages) text; }`,
  );
  const environment: Record<string, string | undefined> = Object.fromEntries(
    [...String(text).matchAll(/^export (\w+)='?([^']*?)'?$/gm)].map(([, name, value]) => [name, value]),
  );
  return { failed: failed as string[], environment };
}

/** `wanted`, an expression with `config` and `lib` in scope, of the NixOS machine that `configuration` describes. */
async function evaluate(configuration: string, wanted: string) {
  return json(`let
      nixos = import ${nixpkgs}/nixos { configuration = ${configuration}; };
      inherit (nixos) config;
      lib = import ${nixpkgs}/lib;
    in ${wanted}`);
}

/**
 * A directory as a store path that Nix takes for a flake's source as it is, instead of copying it for each host. To add
 * a nixpkgs takes Nix a minute, and to hash it two seconds, so one that is there is left alone.
 */
async function inStore(dir: string): Promise<string> {
  const hash = await succeed("nix-hash", ["--type", "sha256", "--base32", dir]);
  const place = await succeed("nix-store", ["--print-fixed-path", "--recursive", "sha256", hash, "source"]);
  if ((await exec("nix-store", ["--check-validity", place])).status === 0) return place;
  return json(`"\${builtins.path { path = ${dir}; name = "source"; }}"`);
}

/** The same work for several tests, done when the first of them asks. */
function once<T>(work: () => Promise<T>): () => Promise<T> {
  let result: Promise<T> | undefined;
  return () => {
    result ??= work();
    return result;
  };
}

async function json(expression: string) {
  const options = ["--eval", "--strict", "--json", "--read-write-mode"];
  return JSON.parse(await succeed("nix-instantiate", [...options, "--expr", expression]));
}

function quiet(): Context {
  const silent = () => {};
  const output = {
    info: silent,
    debug: silent,
    warning: silent,
    progress: silent,
    done: silent,
    group: () => ({ line: silent, end: silent }),
    folded: silent,
  };
  return { output, signal: new AbortController().signal, env: {}, cwd: root };
}
