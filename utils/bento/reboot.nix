# services.bento.reboot: when this machine may be restarted, and when it must be.
{ config, lib, ... }:

let
  inherit (lib) mkDefault mkIf mkOption types;
  cfg = config.services.bento;

  # Where somebody sits at the machine, a restart takes away what they are doing.
  isGraphical = config.services.xserver.enable or false || config.services.displayManager.enable or false;

  state = cfg.environment.BENTO_STATE or "/var/bento";

  loader = config.boot.loader or { };
  # What takes systemd-boot's place has systemd-boot start what it makes.
  isSystemdBoot = loader.systemd-boot.enable or false || config.boot.lanzaboote.enable or false;

  time = types.strMatching "([01][0-9]|2[0-3]):[0-5][0-9]";
in
{
  options.services.bento.reboot = {
    policy = mkOption {
      type = types.enum [ "never" "now" "window" ];
      default = "never";
      description = ''
        What to do when a release has another kernel, initrd or kernel modules, or can't be switched to while the machine
        runs (system.switch.inhibitors of newer NixOS). never: leave the restart to you; the fleet shows that it is
        pending. now: restart, with a minute's notice to who is logged in. window: restart in the time of
        services.bento.reboot.window. After any restart into what is new, the machine must prove itself again.
      '';
    };

    window = {
      lower = mkOption {
        type = time;
        default = "02:00";
        description = "When the window for restarts begins: HH:MM, in this machine's time zone.";
      };
      upper = mkOption {
        type = time;
        default = "05:00";
        description = ''
          When it ends; earlier than its beginning means the next day. A restart is asked for at a poll, so the window
          should have a few of those in it.
        '';
      };
    };

    kexec = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether to restart with kexec, which leaves out the firmware and the boot loader. Set it where those take long,
        and where the hardware is known to survive it. It is done at once, without the minute's notice. Where there is no
        kexec-tools, or it fails, it is an ordinary restart; and always where it leads out of a system that has failed.
      '';
    };

    once = mkOption {
      type = types.bool;
      default = isSystemdBoot;
      defaultText = "true where the boot loader is systemd-boot";
      description = ''
        Whether a system with another kernel, initrd or modules is started once only, until it has proved itself: should it not come up, the
        next start is into the system before. systemd-boot can do that. So that there is a next start without anybody at the machine, let a
        kernel that panics restart it: boot.kernelParams = [ "panic=30" "boot.panic_on_fail" ]. It is told to the boot loader when the machine
        is about to stop, in EFI variables; where that can't be done, it is started as ever.
      '';
    };

    lastResort = mkOption {
      type = types.ints.between 0 1440;
      default = if isGraphical then 0 else 15;
      defaultText = "15, and 0 where there is a graphical session";
      description = ''
        Minutes without contact after which this machine is restarted into the system before, when an upgrade has cut it
        off and going back to that system didn't help, or when a restart into a new system has. 0 never does. This is for
        what an activation leaves behind in the kernel; it is done twice for a release at most. A machine that had no contact
        before a restart either is merely offline, and has a day: what the restart has brought in is judged as soon as
        there is contact.
      '';
    };
  };

  config = mkIf cfg.enable {
    services.bento.environment = lib.mapAttrs (_: mkDefault) {
      BENTO_REBOOT = cfg.reboot.policy;
      BENTO_REBOOT_WINDOW = "${cfg.reboot.window.lower}-${cfg.reboot.window.upper}";
      BENTO_REBOOT_KEXEC = if cfg.reboot.kexec then "1" else "0";
      BENTO_LAST_RESORT = toString (cfg.reboot.lastResort * 60);
    };

    # What a restart has brought in proves itself soon after it, and not at the next quarter of an hour.
    systemd.timers.bento-upgrade.timerConfig.OnBootSec = "2min";

    # Does nothing but when the machine stops, while file systems are still mounted. None is required: a boot loader's place that is
    # mounted when it is needed stays like that, and where it can't be had, the restart is as ever.
    systemd.services.bento-boot-once = mkIf cfg.reboot.once {
      description = "Have a system on trial started once";
      wantedBy = [ "multi-user.target" ];
      restartIfChanged = false;
      unitConfig.X-StopOnRemoval = false;
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStop = "${cfg.command}/bin/bento-agent boot-once";
        TimeoutStopSec = 30;
        LimitCORE = 0;
      };
    };

    # A restart into what is new may end in emergency mode, where no timer runs: undone in the same way. What boots can be put back only
    # where the boot loader's place is mounted.
    systemd.services.bento-emergency = mkIf (cfg.reboot.lastResort > 0) {
      description = "Undo a restart that ended in emergency mode";
      wantedBy = [ "emergency.target" ];
      before = [ "shutdown.target" ];
      conflicts = [ "shutdown.target" ];
      restartIfChanged = false;
      unitConfig = {
        DefaultDependencies = false;
        IgnoreOnIsolate = true;
        ConditionPathExists = "${state}/trial.json";
        RequiresMountsFor = [ state ] ++ lib.splitString " " cfg.environment.BENTO_BOOT;
      };
      serviceConfig = {
        Type = "oneshot";
        ExecStart = "${cfg.command}/bin/bento-agent upgrade";
        TimeoutStartSec = "infinity";
        SuccessExitStatus = 75;
        LimitCORE = 0;
      };
    };

    assertions = [
      {
        assertion = cfg.reboot.policy == "window" -> cfg.reboot.window.lower != cfg.reboot.window.upper;
        message = "services.bento.reboot.window begins and ends at ${cfg.reboot.window.lower}, so there would be no time "
          + "for restarts. Set services.bento.reboot.window.upper to another one.";
      }
    ];
  };
}
