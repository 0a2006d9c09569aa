# services.bento: keeps this machine at the release that its fleet has for it. Import it and set
#
#   services.bento.enable = true;
#
# It installs bento-upgrade.service with its timer, bento-emergency.service for a restart that went wrong, and the command bento-agent. The fleet's
# settings come from bento.json beside this file, which `bento render` makes from fleet.yaml; what is particular to one
# machine is set here. Works on NixOS 20.09 and everything since.
{ config, lib, pkgs, ... }:

let
  inherit (lib) mkIf mkOption types;
  cfg = config.services.bento;

  fleet = if builtins.pathExists cfg.configFile then builtins.fromJSON (builtins.readFile cfg.configFile) else { };
  git = fleet.git or null;
  server =
    if cfg.server.address == null then null
    else { loginPrefix = ""; } // (if fleet.server or null == null then { } else fleet.server)
      // { inherit (cfg.server) address port hostKeys; };

  # The fleet's own file, unless this machine has something otherwise.
  settings = fleet // { inherit server; inherit (cfg) signers substituters; };
  configFile = if settings == fleet then cfg.configFile else pkgs.writeText "bento.json" (builtins.toJSON settings);

  # What the agent and fetchers call. The system's own programs come last, for health checks and fetchers of the
  # administrator's; during an upgrade they are already those of the new system, which is what a health check is about.
  programs = [
    config.nix.package
    config.programs.ssh.package
    config.systemd.package
    pkgs.bash
    pkgs.coreutils
    pkgs.curl
    pkgs.findutils
    pkgs.gawk
    pkgs.gitMinimal
    pkgs.gnugrep
    pkgs.gnused
    pkgs.gnutar
    pkgs.gzip
    pkgs.jq
    (pkgs.util-linux or pkgs.utillinux)
    pkgs.xz
  ];
  path = "${lib.makeBinPath programs}:/run/current-system/sw/bin";

  # In the store on its own, so that the way back stays the same program whatever becomes of the release's files.
  agent = builtins.path { path = ./agent; name = "bento-agent-files"; };

  # Everything the agent is told. It is set in the command below and nowhere else, so that the unit and an administrator
  # at a shell can't get two different agents. See agent/lib/settings.sh for what each of them means.
  environment = {
    BENTO_CONFIG = "${configFile}";
    BENTO_HOST = cfg.host;
    BENTO_KEY = cfg.key;
    BENTO_FETCHER = "${cfg.fetcher}";
    BENTO_REPORTER = "${if cfg.reporter == null then cfg.fetcher else cfg.reporter}";
    BENTO_BUILD = cfg.build;
    BENTO_MIN_FREE_STORE = toString (cfg.minimumFree.store * 1024);
    BENTO_MIN_FREE_BOOT = toString (cfg.minimumFree.boot * 1024);
    BENTO_SSH_CONFIG = lib.optionalString (cfg.sshConfig != "") "${pkgs.writeText "bento-ssh-config" cfg.sshConfig}";
    # Where hosts without a flake find <nixpkgs>; empty where channels are switched off, and then not needed.
    NIX_PATH = lib.concatStringsSep ":" config.nix.nixPath;
    # A service has none, and Nix keeps its caches there.
    HOME = "/root";
    PATH = path;
  }
  // config.nix.envVars
  // config.networking.proxy.envVars
  // cfg.environment;

  command = pkgs.writeShellScriptBin "bento-agent" ''
    ${lib.concatStringsSep "\n"
      (lib.mapAttrsToList (name: value: "export ${name}=${lib.escapeShellArg (toString value)}") environment)}
    exec ${pkgs.bash}/bin/bash ${agent}/bento-agent "$@"
  '';

  hostKey = "/etc/ssh/ssh_host_ed25519_key";
  hostKeyPaths = map (key: key.path) config.services.openssh.hostKeys;
  # Newer NixOS can make the keys of a machine without sshd.
  makesHostKeys = config.services.openssh.generateHostKeys or config.services.openssh.enable;

  fetcherType = types.either (types.enum [ "sftp" "git" ]) types.path;
in
{
  # What has settings of its own, one file for each.
  imports = [
    ./bento/boot.nix
    ./bento/caches.nix
    ./bento/confirm.nix
    ./bento/git.nix
    ./bento/health-checks.nix
    ./bento/local.nix
    ./bento/max-silent-time.nix
    ./bento/notifications.nix
    ./bento/reboot.nix
    ./bento/secrets.nix
    ./bento/self-update.nix
    ./bento/server.nix
    ./bento/upgrade.nix
  ];

  options.services.bento = {
    enable = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether this machine upgrades itself to what its fleet's repository has for it: it polls for signed releases,
        builds them, activates them, and goes back to the system before when a new one cuts it off.
      '';
    };

    host = mkOption {
      type = types.str;
      default = config.networking.hostName;
      defaultText = "config.networking.hostName";
      example = "router";
      description = ''
        What this machine is called in fleet.yaml. Set it where that is not its networking.hostName.
      '';
    };

    key = mkOption {
      type = types.str;
      default = hostKey;
      example = "/root/.ssh/id_ed25519";
      description = ''
        The private ssh key that this machine logs in with at the fleet's server; fleet.yaml has its public half. The
        default is the key that sshd has made, so there is nothing to generate and nothing to hand out. Set it on a
        machine without sshd. It is read when the agent runs, and never copied to the Nix store.
      '';
    };

    configFile = mkOption {
      type = types.path;
      default = ./bento.json;
      defaultText = "./bento.json, beside this module";
      description = ''
        The fleet's settings as bento render writes them: the server, its pinned host keys, and whose releases are
        taken. Leave it alone unless this module is not used from a fleet's repository.
      '';
    };

    fetcher = mkOption {
      type = fetcherType;
      default = if server == null && git != null then "git" else "sftp";
      defaultText = "sftp, or git for a fleet that has no server";
      example = "git";
      description = ''
        How releases get here: sftp; git, from this machine's ref in a git repository; or an executable of your own that does
        what agent/fetchers/sftp does. Set it where hosts can't reach the fleet's server, not even through a ProxyCommand in
        services.bento.sshConfig. Whatever it brings must be signed by one of the fleet's signers; with
        services.bento.git.branch, which git alone takes, it is the commit that must be signed.
      '';
    };

    reporter = mkOption {
      type = types.nullOr fetcherType;
      default = null;
      example = "sftp";
      description = ''
        How reports get back; null is the same way that releases come. Set it for a fetcher that has no way back: with
        the fetcher git there are no reports unless this is sftp.
      '';
    };

    build = mkOption {
      type = types.enum [ "auto" "source" "prebuilt" ];
      default = "auto";
      description = ''
        Where systems come from. auto: from a binary cache that has the very system that was checked, or else built
        here. source: always evaluated and built here. prebuilt: never built here, for machines that are too small to;
        such a release fails, and is tried again, until a cache has it.
      '';
    };

    sshConfig = mkOption {
      type = types.lines;
      default = "";
      example = "ProxyCommand nc -X 5 -x 127.0.0.1:9050 %h %p";
      description = ''
        Lines of ssh_config(5) for the connection to the fleet's server: a jump host, a proxy, Tor. They are used
        instead of the system's and root's own. They can't change what is pinned: the server's host key, and this
        machine's key. Nor is a connection kept for later (ControlMaster), since the confirmation would take it for contact.
      '';
    };

    minimumFree = {
      store = mkOption {
        type = types.ints.between 0 900000;
        default = 512;
        description = ''
          MiB that must be free where the Nix store is before a release is built or activated. Set it to what a large
          upgrade of this machine takes.
        '';
      };
      boot = mkOption {
        type = types.ints.between 0 900000;
        default = 32;
        description = ''
          MiB that must be free where the boot loader keeps kernels (/boot, or the EFI system partition, wherever that is
          mounted), where that is a file system of its own: a kernel and its initrd have to fit. 0 never minds.
        '';
      };
    };

    command = mkOption {
      type = types.package;
      internal = true;
      readOnly = true;
      description = "The package with bento-agent, set up for this machine.";
    };

    environment = mkOption {
      type = types.attrsOf types.str;
      default = { };
      example = { BENTO_ACTIVATION_TIMEOUT = "1200"; };
      description = ''
        More environment for the agent: its rarer settings (agent/lib/settings.sh lists them all) and those of a fetcher
        of your own. It ends up in the Nix store, where everybody on this machine can read it: no secrets here.
      '';
    };
  };

  config = mkIf cfg.enable {
    services.bento.command = command;

    # One line each, since `bento check` and annotations on pull requests show one line.
    assertions = [
      {
        assertion = builtins.match "[a-z0-9][a-z0-9-]{0,62}" cfg.host != null;
        message = "services.bento.host is '${cfg.host}', which can't be a host of a fleet: those are lower-case "
          + "letters, digits and '-', at most 63. Set services.bento.host to this machine's name in fleet.yaml.";
      }
      {
        assertion = builtins.pathExists cfg.configFile;
        message = "services.bento: there is no ${toString cfg.configFile}. Run 'bento render' and commit what it "
          + "makes.";
      }
      {
        assertion = builtins.pathExists cfg.configFile -> fleet.version or null == 1;
        message = "services.bento: ${toString cfg.configFile} is not what the 'bento render' that goes with this "
          + "module makes. Run it again.";
      }
      {
        assertion = cfg.fetcher == "sftp" || cfg.reporter == "sftp" -> server != null;
        message = "services.bento talks to the fleet's server, and bento.json names none. Set server in fleet.yaml "
          + "and run 'bento render', or set services.bento.fetcher to another way for releases to come.";
      }
      {
        assertion = cfg.signers != [ ];
        message = "services.bento: bento.json names no signers, so no release would ever be accepted. Make a key "
          + "('bento keygen'), put its public half under signers in fleet.yaml, and run 'bento render'.";
      }
      {
        assertion = cfg.key == hostKey -> makesHostKeys && lib.elem hostKey hostKeyPaths;
        message = "services.bento.key is sshd's host key ${hostKey}, which this machine doesn't make. Set "
          + "services.openssh.enable = true (with openFirewall = false where nobody is to log in), or make a key with "
          + "ssh-keygen and set services.bento.key to its path.";
      }
      {
        assertion = !lib.hasPrefix builtins.storeDir cfg.key;
        message = "services.bento.key is in the Nix store, where everybody can read it. Keep the key on the machine "
          + "alone, and set its path as a string.";
      }
    ];

    # The agent makes it too; this is for one that is there with other modes, e.g. from before.
    systemd.tmpfiles.rules = [ "d /var/bento 0700 root root -" ];

    environment.systemPackages = [ command ];
  };
}
