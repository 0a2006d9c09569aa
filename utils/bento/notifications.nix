# services.bento.notifications: who at this machine is told when an upgrade was done, or went wrong.
{ config, lib, pkgs, ... }:

let
  inherit (lib) mkDefault mkIf mkMerge mkOption types;
  cfg = config.services.bento;
in
{
  options.services.bento.notifications = {
    desktop = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether those who are logged in to a graphical session get a notification there when an upgrade has changed this
        machine, or has failed, and when a restart is needed. Set it for a machine that somebody sits at.
      '';
    };

    command = mkOption {
      type = types.nullOr types.path;
      default = null;
      example = "./notify-matrix";
      description = ''
        An executable that is run as root after such an upgrade, for notifications of another kind. It gets the report as
        JSON on standard input, and in its environment BENTO_HOST, BENTO_OUTCOME (success, failed, rolled-back,
        inconclusive, auto-updated), BENTO_REASON, BENTO_SEQUENCE, BENTO_COMMIT, BENTO_SUBJECT, BENTO_FROM, BENTO_TO and
        BENTO_REBOOT_NEEDED (1 or 0). It has 30 seconds; whatever becomes of it makes no difference to the upgrade.
      '';
    };
  };

  config = mkIf cfg.enable (mkMerge [
    (mkIf cfg.notifications.desktop {
      services.bento.environment.BENTO_NOTIFY_SEND = mkDefault "${pkgs.libnotify}/bin/notify-send";
    })
    (mkIf (cfg.notifications.command != null) {
      services.bento.environment.BENTO_NOTIFY_COMMAND = mkDefault "${cfg.notifications.command}";
    })
  ]);
}
