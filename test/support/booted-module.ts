import { existsSync } from "node:fs";
import path from "node:path";
import { packageRoot } from "../../src/platform/package.ts";
import type { BootedMachine, Cable } from "./booted.ts";
import type { MachineFiles } from "./machine-files.ts";
import { succeed } from "./programs.ts";

/**
 * What NixOS makes of services.bento, letter by letter, on a machine that systemd has booted. What it names in the store are
 * packages of a NixOS, which the machine's programs stand in for.
 */
export interface Module {
  units: Record<string, string>;
  /** By unit, the targets that want it. */
  wantedBy: Record<string, string[]>;
  /** The declaration of secrets. */
  secrets: string | null;
  command: { path: string; text: string };
}

const nixpkgs = process.env.BENTO_TEST_NIXPKGS ?? "";

/** What these tests need, and this machine doesn't have. */
export const missing: readonly string[] = [
  ...(existsSync(path.join(nixpkgs, "nixos/default.nix")) ? [] : ["BENTO_TEST_NIXPKGS=/path/to/nixpkgs"]),
  ...(existsSync("/usr/bin/systemd-nspawn") && existsSync("/lib/systemd/systemd")
    ? []
    : ["systemd and systemd-nspawn"]),
];

/** Nix with the store that NixOS has, and not with the world's. */
export const ownStore = Object.fromEntries(
  ["NIX_STORE_DIR", "NIX_STATE_DIR", "NIX_LOG_DIR", "NIX_CONF_DIR", "NIX_REMOTE"].map((name) => [name, undefined]),
);

/** What NixOS makes of services.bento for a host. `settings` is its bento.json, and `more` are further options of it. */
export async function evaluateModule(host: string, settings: string, more = ""): Promise<Module> {
  const expression = `let
      nixos = import ${nixpkgs}/nixos { configuration = {
        imports = [ ${packageRoot()}/utils/bento.nix {
          services.bento = {
            reboot.lastResort = lib.mkDefault 0;
            interval = lib.mkDefault "*:*:0/3";
            confirm = lib.mapAttrs (_: lib.mkDefault) { timeout = 20; settle = 1; };
            environment = lib.mapAttrs (_: lib.mkDefault) {
              BENTO_ACTIVATION_TIMEOUT = "10"; BENTO_GUARD_SLACK = "1"; BENTO_RECOVERY_TIMEOUT = "30";
              BENTO_CONNECT_TIMEOUT = "3";
            };
          };
        } ];
        boot.isContainer = true;
        networking.hostName = "${host}";
        services.openssh.enable = true;
        services.bento = {
          enable = true;
          configFile = ${settings};
          minimumFree = { store = 0; boot = 0; };
          ${more}
        };
      }; };
      inherit (nixos) config;
      lib = import ${nixpkgs}/lib;
      bento = lib.filterAttrs (name: _: lib.hasPrefix "bento" name) config.systemd.units;
    in {
      units = lib.mapAttrs (_: unit: unit.text) bento;
      wantedBy = lib.mapAttrs (_: unit: unit.wantedBy) bento;
      secrets = config.environment.etc."bento-secrets.json".text or null;
      command = let found = lib.findFirst (p: p.name or "" == "bento-agent") null config.environment.systemPackages; in {
        path = found.outPath;
        inherit (found) text;
      };
    }`;
  const args = ["--eval", "--strict", "--json", "--read-write-mode", "--expr", expression];
  return JSON.parse(await succeed("nix-instantiate", args, { env: ownStore }));
}

/** Puts what the units and the command name into the machine's store. */
export async function installModule(machine: MachineFiles, { units, command }: Module): Promise<void> {
  await machine.write(`${command.path}/bin/bento-agent`, command.text, 0o755);
  await installNamed(machine, `${command.text}${Object.values(units).join("")}`);
}

/** Puts what a text names into the machine's store, as far as it isn't there. */
export async function installNamed(machine: MachineFiles, text: string): Promise<void> {
  const named = new Set(text.match(/\/nix\/store\/[0-9a-z]{32}-[\w+._?=-]+/g));
  for (const storePath of named) {
    if (existsSync(machine.path(storePath))) continue;
    // What evaluation copies there is there; packages would have to be built.
    if (existsSync(storePath)) await machine.copy(storePath);
    else await machine.standIn(storePath);
  }
}

/** A package with the command. */
export function agentPackage(command: string): string {
  return `(derivation {
      name = "bento-agent";
      system = builtins.currentSystem;
      builder = "/bin/sh";
      args = [ "-c" "PATH=/usr/bin:/bin; mkdir -p $out/bin && ln -s ${command}/bin/bento-agent $out/bin/" ];
    })`;
}

/**
 * The configuration of a system with a module's units, for the tiny nixpkgs; and what its activation does after it has brought the
 * network up.
 */
export function configurationWith(
  host: string,
  cable: Pick<Cable, "address" | "peer" | "peer6" | "interface">,
  { units, command, secrets }: Partial<Module>,
  script = "",
): string {
  const files = Object.entries(units ?? {}).map(([name, text]) => [`systemd/system/${name}`, text]);
  if (secrets) files.push(["bento-secrets.json", secrets]);
  const etc = files.map(([name, text]) => `"${name}" = ${JSON.stringify(text).replaceAll("${", "\\${")};`);
  return `{ ... }: {
    networking.hostName = "${host}";
    networking.gateway = "${cable.address}";
    services.bento.enable = true;
    environment.etc = { ${etc.join("\n")} };
    environment.systemPackages = [ ${command ? agentPackage(command.path) : ""} ];
    system.activationScript = ''
      # NixOS makes all of /etc, and leaves nothing there of the system before.
      rm -rf /etc/systemd/system/*.requires
      ip address replace ${cable.peer}/24 dev ${cable.interface}
      ip address replace ${cable.peer6}/64 dev ${cable.interface} nodad
      ip link set ${cable.interface} up
      systemctl daemon-reload
      systemctl start --no-block bento-upgrade.timer || true
      systemctl start --no-block bento-agent.socket bento-page.socket || true
      ${script}
    '';
  }\n`;
}

/** What every machine needs to begin with: Nix that asks nobody, the tiny nixpkgs as its channel, and its host key. */
export async function prepareMachine(
  machine: MachineFiles,
  hostKey: { text: string; publicKey: string },
): Promise<void> {
  await machine.write("/etc/nix/nix.conf", "sandbox = false\nbuild-users-group =\nsubstituters =\n");
  await machine.write("/etc/systemd/system.conf.d/machine.conf", "[Manager]\nDefaultEnvironment=MACHINE=/\n");
  await machine.write("/etc/ssh/ssh_host_ed25519_key", hostKey.text, 0o600);
  await machine.write("/etc/ssh/ssh_host_ed25519_key.pub", `${hostKey.publicKey}\n`);
  await machine.copyTree(
    path.join(packageRoot(), "scripts/demo-fleet/nixpkgs"),
    "/nix/var/nix/profiles/per-user/root/channels/nixos",
  );
}

/**
 * Root's login by ssh on a machine that is to boot: what `administrator` (a public key) logs in with, and `hostKey` on it. What root
 * has in its environment is what the agent needs there, and `environment`. Start it with `systemctl start sshd-test`.
 */
export async function prepareLogin(
  machine: BootedMachine,
  hostKey: string,
  administrator: string,
  environment: Readonly<Record<string, string>> = {},
): Promise<void> {
  const all = {
    NIX_PATH: "nixpkgs=/nix/var/nix/profiles/per-user/root/channels/nixos",
    MACHINE: "/",
    PATH: "/run/current-system/sw/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    BENTO_MIN_FREE_STORE: "0",
    BENTO_MIN_FREE_BOOT: "0",
    ...environment,
  };
  const sshd = [
    `HostKey ${hostKey}`,
    "AuthorizedKeysFile /etc/ssh/authorized/%u",
    "PermitRootLogin yes",
    "PasswordAuthentication no",
    "UsePAM no",
    "Subsystem sftp internal-sftp",
    `SetEnv ${Object.entries(all)
      .map(([name, value]) => `${name}=${value}`)
      .join(" ")}`,
  ];
  await machine.write("/etc/ssh/sshd_test", `${sshd.join("\n")}\n`);
  await machine.write("/etc/ssh/authorized/root", `${administrator}\n`);
  await machine.write(
    "/etc/systemd/system/sshd-test.service",
    "[Service]\nExecStartPre=/bin/mkdir -p /run/sshd\nExecStart=/usr/sbin/sshd -D -e -f /etc/ssh/sshd_test\n",
  );
}

/** Builds /etc/nixos/configuration.nix on a machine that has booted, and makes it what runs and boots, as an installation does. */
export async function installSystem(machine: BootedMachine, root = "/root/factory"): Promise<void> {
  await machine.run(`set -e
    export MACHINE=/ NIX_PATH=nixpkgs=/nix/var/nix/profiles/per-user/root/channels/nixos
    nix-build '<nixpkgs/nixos>' -A system -I nixos-config=/etc/nixos/configuration.nix --out-link ${root}
    nix-env --profile /nix/var/nix/profiles/system --set ${root}
    [ -e /run/booted-system ] || ln -sfn "$(readlink ${root})" /run/booted-system
    ${root}/bin/switch-to-configuration switch`);
}
