import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../src/platform/temporary.ts";
import { environmentsOf } from "../support/derivation.ts";
import { exec, succeed } from "../support/programs.ts";
import { evaluate, json, lib, MACHINE, nixpkgs, once, root } from "./nixos.ts";

/** utils/bento.nix, evaluated as part of real NixOS systems (BENTO_TEST_NIXPKGS). */
describe.skipIf(!nixpkgs)("a host", () => {
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

    test("has its units, and nothing else of Bento's", async () => {
      const { units } = await router();
      expect(Object.keys(units).sort()).toEqual([
        "bento-emergency.service",
        "bento-upgrade.service",
        "bento-upgrade.timer",
      ]);
      expect(units["bento-emergency.service"]?.split("\n")).toEqual(
        expect.arrayContaining([
          "ConditionPathExists=/var/bento/trial.json",
          "RequiresMountsFor=/var/bento",
          "RequiresMountsFor=/boot",
          "DefaultDependencies=false",
        ]),
      );
      expect(units["bento-upgrade.service"]?.split("\n")).toEqual(
        expect.arrayContaining([
          "After=sysinit.target basic.target network-online.target",
          "DefaultDependencies=false",
          "IgnoreOnIsolate=true",
          "Conflicts=shutdown.target",
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
      const [{ checks = "", buildCommand = "" } = {}] = await environmentsOf([drv]);
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
    const told = async (more: string): Promise<{ inputs: string[]; command: string; caches: string[]; nix: string }> =>
      await evaluate(
        `{
          imports = [ ${root}/utils/bento.nix ];
          ${MACHINE}
          services.openssh.enable = true;
          nix.extraOptions = "connect-timeout = 60\n";
          services.bento = { enable = true; host = "far"; configFile = ${settings}; ${more} };
        }`,
        `let command = config.services.bento.command.text; in {
          command = builtins.unsafeDiscardStringContext command;
          inputs = lib.filter (lib.hasSuffix "-bento.json.drv") (builtins.attrNames (builtins.getContext command));
          caches = config.nix.binaryCaches;
          nix = config.nix.extraOptions;
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
    const [environment] = await environmentsOf([drv]);
    expect(JSON.parse(environment?.text ?? "")).toEqual({
      ...fleet,
      server: { ...server, address: "10.0.0.1", port: 2222 },
      substituters: [near],
    });
    expect(other.caches).toContain(near.url);
    expect(asItIs.caches).not.toContain(near.url);
    // Whoever calls Nix there by hand waits no longer for a dead cache than an upgrade, unless the machine says otherwise: the last counts.
    expect(other.nix).toMatch(
      /^connect-timeout = 3\ndownload-attempts = 2\nfallback = true\nstalled-download-timeout = 15\n(?:.*\n)*connect-timeout = 60\n/,
    );
    expect(asItIs.nix).not.toContain("fallback");
    expect((await told(`substituters = [ { url = "${near.url}"; key = "k"; } ]; caches.scope = "agent";`)).nix).toBe(
      asItIs.nix,
    );
  });

  test("kernels are where the boot loader keeps them, and only systemd-boot starts one once", async () => {
    const efi = 'boot.loader.efi.efiSysMountPoint = "/efi";';
    const mirrors = ["a", "b"].map((name) => `{ path = "/boot-${name}"; devices = [ "/dev/vd${name}" ]; }`);
    const places = {
      [`boot.loader.systemd-boot.enable = true; ${efi}`]: ["/efi", "", true],
      "boot.loader.systemd-boot.enable = true; services.bento.reboot.once = false;": ["/boot", "", false],
      [`boot.loader.grub = { efiSupport = true; device = "nodev"; }; ${efi}`]: ["/boot", "/efi", false],
      [`boot.loader.grub.mirroredBoots = [ ${mirrors.join(" ")} ];`]: ["/boot-a /boot-b", "", false],
      "boot.loader.grub.enable = false; boot.loader.generic-extlinux-compatible.enable = true;": ["/boot", "", false],
      'boot.isContainer = true; services.bento.environment.BENTO_BOOT = "/mine";': ["/mine", "", false],
    };
    const boots = await json(`map (machine: let
      inherit ((import ${nixpkgs}/nixos { configuration = {
        imports = [ ${root}/utils/bento.nix machine ];
        services.bento.enable = true;
      }; }).config) services systemd;
      inherit (services.bento.environment) BENTO_BOOT BENTO_BOOT_LOADER;
    in [ BENTO_BOOT BENTO_BOOT_LOADER (systemd.services ? bento-boot-once) ]) [ ${Object.keys(places)
      .map((machine) => `{ ${machine} }`)
      .join(" ")} ]`);
    expect(boots).toEqual(Object.values(places));
  });

  test("kernels are where boot loaders that 20.09 didn't have keep them", async () => {
    const boots = async (loader: string) =>
      (await bentoWith(null, "", `{ boot = { ${loader} }; }`)).environment.BENTO_BOOT;
    const efi = 'loader.efi.efiSysMountPoint = "/efi";';
    expect(await boots(`loader.systemd-boot = { enable = true; xbootldrMountPoint = "/boot"; }; ${efi}`)).toBe("/boot");
    expect(await boots(`loader.systemd-boot = { enable = true; xbootldrMountPoint = null; }; ${efi}`)).toBe("/efi");
    expect(await boots(`lanzaboote.enable = true; ${efi}`)).toBe("/efi");
    expect(await boots(`loader.limine = { enable = true; efiSupport = true; }; ${efi}`)).toBe("/efi");
    expect(await boots(`loader.limine = { enable = true; efiSupport = false; }; ${efi}`)).toBe("/boot");
    expect(await boots("")).toBe("/boot");
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
      "bento-emergency.service",
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
});

/** `services.bento` with these settings and a bento.json with this git remote, by a module system alone. */
async function bentoWith(git: object | null, settings: string, machine = "{ }") {
  await using scratch = await temporaryDirectory();
  const file = path.join(scratch.path, "bento.json");
  await writeFile(file, JSON.stringify({ version: 1, server: null, git, signers: ["ssh-ed25519 AAAA"] }));
  const { failed, text } = await json(
    `let e = import ${root}/test/fixtures/modules/eval.nix {
       lib = ${lib};
       modules = [ ${root}/utils/bento.nix {
         services.openssh.enable = true;
         services.bento = { enable = true; configFile = ${file}; ${settings} };
       } ${machine} ];
     }; in { inherit (e) failed; inherit (builtins.head e.config.environment.systemPackages) text; }`,
  );
  const environment: Record<string, string | undefined> = Object.fromEntries(
    [...String(text).matchAll(/^export (\w+)='?([^']*?)'?$/gm)].map(([, name, value]) => [name, value]),
  );
  return { failed: failed as string[], environment };
}
