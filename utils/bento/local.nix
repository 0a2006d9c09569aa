# services.bento.local: what the person at the machine can do without being root, over a socket and on a page.
{ config, lib, pkgs, ... }:

let
  inherit (lib) mkDefault mkIf mkMerge mkOption types;
  cfg = config.services.bento;
  agent = "${cfg.command}/bin/bento-agent";

  page = cfg.local.page;
  # The page needs the socket, and with no group of people there is one for the page alone.
  pageGroup = "bento-page";
  group = if cfg.local.group != null then cfg.local.group else pageGroup;
  hasSocket = cfg.local.group != null || page.enable;

  # Who follows an upgrade sees it to its end, also where the upgrade changes or removes these units.
  leaveAlone = {
    restartIfChanged = false;
    stopIfChanged = false;
    unitConfig = { X-StopOnRemoval = false; CollectMode = "inactive-or-failed"; };
  };
in
{
  options.services.bento.local = {
    group = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "wheel";
      description = ''
        The group whose members may use bento-agent without being root: status, history, log, upgrade, suspend and resume;
        going back, and trying a bad release again, stay root's. Set it where people who have no root password are to be able to start an upgrade, or to
        keep upgrades away for a while. They also see the logs of attempts, with whatever a failing service prints into them.
        null: root alone.
      '';
    };

    page = {
      enable = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Whether this machine has a page at http://localhost:51337 that shows its state, with a button that starts an
          upgrade. It answers this machine alone, and no page of another site. Everybody who has an account here, and every
          program that runs here, can open it; all it can do is to show the state and to start an upgrade.
        '';
      };
      port = mkOption {
        type = types.ints.between 1 65535;
        default = 51337;
        description = "The page's port. Set it where another program has this one.";
      };
    };
  };

  config = mkIf cfg.enable (mkMerge [
    { services.bento.environment.BENTO_UNIT = mkDefault "bento-upgrade"; }

    (mkIf hasSocket {
      services.bento.environment.BENTO_SOCAT = mkDefault "${pkgs.socat}/bin/socat";

      assertions = [
        {
          assertion = config.users.groups ? ${group};
          message = "services.bento.local.group is '${group}', and this machine has no such group. Set it to one that is in "
            + "users.groups.";
        }
      ];

      systemd.sockets.bento-agent = {
        description = "Bento's agent for those who aren't root";
        wantedBy = [ "sockets.target" ];
        socketConfig = {
          ListenStream = "/run/bento-agent.sock";
          SocketMode = "0660";
          SocketGroup = group;
          Accept = true;
          MaxConnections = 16;
        };
      };

      # It runs as root, since what it reads is root's; it does what utils/agent/lib/serve.sh lists, and nothing else.
      systemd.services."bento-agent@" = leaveAlone // {
        description = "Answer one request to Bento's agent";
        serviceConfig = {
          ExecStart = "${agent} serve %i";
          StandardInput = "socket";
          StandardOutput = "socket";
          StandardError = "journal";
          # An upgrade that somebody follows may take hours.
          RuntimeMaxSec = "1d";
          # It reads what is root's and, to leave them out of logs, the secrets of others. Without CAP_SYS_PTRACE systemctl thinks
          # that it is in a chroot, and does nothing.
          CapabilityBoundingSet = [ "CAP_DAC_OVERRIDE" "CAP_DAC_READ_SEARCH" "CAP_SYS_PTRACE" ];
          NoNewPrivileges = true;
          # Not strict: services.bento.environment can put the state elsewhere.
          ProtectSystem = "full";
          ProtectHome = true;
          PrivateNetwork = true;
          PrivateTmp = true;
          PrivateDevices = true;
          ProtectClock = true;
          ProtectHostname = true;
          ProtectKernelLogs = true;
          ProtectKernelTunables = true;
          ProtectKernelModules = true;
          ProtectControlGroups = true;
          RestrictAddressFamilies = [ "AF_UNIX" ];
          RestrictNamespaces = true;
          RestrictRealtime = true;
          RestrictSUIDSGID = true;
          LockPersonality = true;
          MemoryDenyWriteExecute = true;
          SystemCallArchitectures = "native";
          SystemCallFilter = [ "@system-service" ];
          SystemCallErrorNumber = "EPERM";
          UMask = "0077";
          MemoryMax = "128M";
        };
      };
    })

    (mkIf page.enable {
      services.bento.environment.BENTO_PAGE_PORT = mkDefault (toString page.port);

      users.groups = mkIf (cfg.local.group == null) { ${pageGroup} = { }; };

      systemd.sockets.bento-page = {
        description = "Bento's page";
        wantedBy = [ "sockets.target" ];
        socketConfig = {
          ListenStream = [ "127.0.0.1:${toString page.port}" ]
            ++ lib.optional config.networking.enableIPv6 "[::1]:${toString page.port}";
          Accept = true;
          MaxConnections = 16;
        };
      };

      systemd.services."bento-page@" = leaveAlone // {
        description = "Answer one request to Bento's page";
        serviceConfig = {
          ExecStart = "${agent} page";
          StandardInput = "socket";
          StandardOutput = "socket";
          StandardError = "journal";
          RuntimeMaxSec = "1d";
          # Nobody, who may do what the socket lets them do.
          DynamicUser = true;
          User = "bento-page";
          SupplementaryGroups = [ group ];
          CapabilityBoundingSet = "";
          NoNewPrivileges = true;
          PrivateNetwork = true;
          PrivateDevices = true;
          ProtectHome = true;
          ProtectClock = true;
          ProtectHostname = true;
          ProtectKernelLogs = true;
          ProtectKernelTunables = true;
          ProtectKernelModules = true;
          ProtectControlGroups = true;
          ProtectProc = "invisible";
          ProcSubset = "pid";
          RestrictAddressFamilies = [ "AF_UNIX" ];
          RestrictNamespaces = true;
          RestrictRealtime = true;
          UMask = "0077";
          LockPersonality = true;
          MemoryDenyWriteExecute = true;
          SystemCallArchitectures = "native";
          SystemCallFilter = [ "@system-service" ];
          MemoryMax = "128M";
        };
      };
    })
  ]);
}
