# services.bento.interval, and the units that it is about: bento-upgrade.service and bento-upgrade.timer.
{ config, lib, ... }:

let
  inherit (lib) mkDefault mkIf mkOption types;
  cfg = config.services.bento;

  # Every quarter of an hour, at a second of it that follows from the host's name: the hosts of a fleet spread evenly,
  # and one host's polls stay 15 minutes apart, also where systemd has no FixedRandomDelay yet (before 247).
  offset = lib.mod (fromHex (builtins.substring 0 7 (builtins.hashString "sha256" cfg.host))) 900;
  fromHex = hex: lib.foldl' (sum: digit: sum * 16 + valueOf digit) 0 (lib.stringToCharacters hex);
  valueOf = digit: builtins.stringLength (builtins.head (builtins.split digit "0123456789abcdef"));
  digits = lib.fixedWidthNumber 2;
  defaultInterval = "*:${digits (offset / 60)}/15:${digits (lib.mod offset 60)}";
in
{
  options.services.bento.interval = mkOption {
    type = types.str;
    default = defaultInterval;
    defaultText = "every 15 minutes, at a moment that follows from the host's name";
    example = "hourly";
    description = ''
      When to poll, in the form of systemd.time(7). An expression of your own is used as it is: where many hosts have
      the same one they poll at the same moment; for those that mind, there is
      systemd.timers.bento-upgrade.timerConfig.RandomizedDelaySec. A run that was missed because the machine was off
      is made up for at the next start.
    '';
  };

  config = mkIf cfg.enable {
    services.bento.environment.BENTO_INTERVAL = mkDefault cfg.interval;

    systemd.services.bento-upgrade = {
      description = "Upgrade to the fleet's release for this machine";
      after = [ "sysinit.target" "basic.target" "network-online.target" ];
      wants = [ "network-online.target" ];
      # Where a new system sends the machine into emergency mode systemd ends everything, and what needs that. This must be left, to
      # undo it; a shutdown alone ends it.
      before = [ "shutdown.target" ];
      conflicts = [ "shutdown.target" ];

      # It is this unit that activates a new system, so the activation must leave it alone, whether the new system has
      # it changed or doesn't have it any more.
      restartIfChanged = false;
      stopIfChanged = false;
      unitConfig = { X-StopOnRemoval = false; IgnoreOnIsolate = true; DefaultDependencies = false; };

      # What this unit starts is not only the agent, but the activation, the boot loader's installer and builds, and
      # they inherit its limits. Therefore it can't have:
      # - ProtectSystem, ProtectHome, PrivateTmp, PrivateDevices or anything else that makes a mount namespace: mounts
      #   that an activation makes (secrets in a ramfs, for one) would be seen by nobody else;
      # - NoNewPrivileges, RestrictSUIDSGID: activation makes the setuid wrappers, and activation scripts may use sudo;
      # - CapabilityBoundingSet: with a capability less than PID 1, systemctl thinks it is in a chroot and does nothing;
      # - RestrictNamespaces, LockPersonality, MemoryDenyWriteExecute, RestrictAddressFamilies, SystemCallFilter and
      #   -Architectures: builds need these, and what fails to build only here is a release that fails for no reason;
      # - ProtectHostname: activation sets the host's name;
      # - ProtectClock: it allows no device but the clock, and boot loaders are installed on disks;
      # - UMask: what an activation makes is for everybody to read, unless it says otherwise;
      # - RuntimeDirectory: the guard's files in /run/bento must outlive the unit.
      serviceConfig = {
        Type = "oneshot";
        ExecStart = "${cfg.command}/bin/bento-agent upgrade";
        # A build may take hours, and everything that may hang has a deadline of its own.
        TimeoutStartSec = "infinity";
        # The server could not be reached now: common for a laptop, and no fault of this machine's.
        SuccessExitStatus = 75;
        # A build that was killed for want of memory is a failed build; the agent lives on to say so.
        OOMPolicy = "continue";
        # Before it comes to that, what this machine is there for would be pushed out of memory.
        MemoryMax = "90%";
        RestrictRealtime = true;
        KeyringMode = "private";
        # A core of ssh's would have the key in it.
        LimitCORE = 0;
      };
    };

    systemd.timers.bento-upgrade = {
      description = "Poll for a release of the fleet for this machine";
      wantedBy = [ "timers.target" ];
      timerConfig = {
        OnCalendar = cfg.interval;
        Persistent = true;
        # The default of a minute would undo a part of the spreading.
        AccuracySec = "5s";
      };
    };
  };
}
