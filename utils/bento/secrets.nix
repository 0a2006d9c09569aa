# services.bento.secrets: what a release brings encrypted, and only this machine can read.
{ config, lib, pkgs, ... }:

let
  inherit (lib) mkIf mkOption types;
  cfg = config.services.bento;

  secret = { name, ... }: {
    options = {
      path = mkOption {
        type = types.str;
        default = "/run/bento-secrets/${name}";
        readOnly = true;
        description = "Where it is, decrypted, in memory: what a service is to be told.";
      };
      owner = mkOption {
        type = types.strMatching "[A-Za-z0-9_][A-Za-z0-9_.-]*";
        default = "root";
        description = "Whose file it is: the user of the service that reads it.";
      };
      group = mkOption {
        type = types.strMatching "[A-Za-z0-9_][A-Za-z0-9_.-]*";
        default = "root";
        description = "Its group.";
      };
      mode = mkOption {
        type = types.strMatching "0?[0-7]{3}";
        default = "0400";
        description = "Its mode, as chmod has it.";
      };
      restartUnits = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [ "wpa_supplicant.service" ];
        description = "Units that are restarted when a release brings another value, since they read it only once.";
      };
    };
  };
  # As bento secret has it (src/secrets/files.ts).
  isName = name: builtins.match "[a-z0-9][a-z0-9._-]{0,63}" name != null && !lib.hasSuffix ".age" name;
  badNames = lib.filter (name: !isName name) (lib.attrNames cfg.secrets);
in
{
  options.services.bento.secrets = mkOption {
    type = types.attrsOf (types.submodule secret);
    default = { };
    example = { wifi = { owner = "wpa"; restartUnits = [ "wpa_supplicant.service" ]; }; };
    description = ''
      The secrets of this machine, by name: secrets/HOST/NAME.age of the fleet's repository, encrypted to this machine's key.
      Each is decrypted to /run/bento-secrets/NAME, in memory, before a system that declares it is activated, and is put back
      with the system before. One that is missing or can't be decrypted keeps the release from being activated.
    '';
  };

  config = mkIf (cfg.enable && cfg.secrets != { }) {
    # In the system itself: an agent that brings it in, or goes back to it, finds there what it needs.
    environment.etc."bento-secrets.json".text = builtins.toJSON
      (lib.mapAttrs (_: { owner, group, mode, restartUnits, ... }: { inherit owner group mode restartUnits; }) cfg.secrets);
    environment.systemPackages = [ pkgs.age ];

    # They are there before the activation, and whoever is to own them may be new with it.
    system.activationScripts.bento-secrets = {
      deps = [ "users" "groups" ];
      text = lib.concatStrings (lib.mapAttrsToList
        (name: { path, owner, group, mode, ... }: ''
          if [ -e ${path} ]; then chown ${owner}:${group} ${path} && chmod ${mode} ${path}; fi
        '')
        cfg.secrets);
    };

    systemd.services.bento-secrets = {
      description = "Decrypt the secrets of this machine";
      wantedBy = [ "sysinit.target" ];
      before = [ "sysinit.target" "shutdown.target" ];
      conflicts = [ "shutdown.target" ];
      after = [ "local-fs.target" ];
      # What an upgrade does to them is the agent's; this is for the boot.
      restartIfChanged = false;
      unitConfig.DefaultDependencies = false;
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = "${cfg.command}/bin/bento-agent secrets";
        LimitCORE = 0;
        # It reads files, talks to nobody, and gives files to their owners. Nothing here makes a mount namespace: without
        # its secrets a machine may be out of reach, so this must not fail where one can't be had.
        CapabilityBoundingSet = [ "CAP_CHOWN" "CAP_DAC_OVERRIDE" "CAP_DAC_READ_SEARCH" "CAP_FOWNER" "CAP_FSETID" ];
        LockPersonality = true;
        MemoryDenyWriteExecute = true;
        NoNewPrivileges = true;
        RestrictAddressFamilies = [ "AF_UNIX" ];
        RestrictNamespaces = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        SystemCallArchitectures = "native";
        SystemCallFilter = [ "@system-service" ];
        SystemCallErrorNumber = "EPERM";
        UMask = "0077";
      };
    };

    assertions = [
      {
        assertion = badNames == [ ];
        message = "services.bento.secrets: ${lib.concatStringsSep ", " badNames} can't be names of secrets: those are "
          + "at most 64 lower-case letters, digits, '.', '_' and '-', a letter or digit first, without .age at the end.";
      }
    ];
  };
}
