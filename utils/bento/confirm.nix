# services.bento.confirm: how a new system has to prove itself.
{ config, lib, ... }:

let
  inherit (lib) mkDefault mkIf mkOption types;
  cfg = config.services.bento;
in
{
  options.services.bento.confirm = {
    timeout = mkOption {
      type = types.ints.positive;
      default = 180;
      description = ''
        Seconds that a new system has, once it is activated, to prove itself; after that the machine goes back. Raise
        it where services or the uplink take longer than that to come up.
      '';
    };
    passes = mkOption {
      type = types.ints.between 1 100;
      default = 3;
      description = ''
        How often in a row a new system must reach the server and pass the health checks. Raise it, with
        services.bento.confirm.settle, for a connection that comes and goes.
      '';
    };
    settle = mkOption {
      type = types.ints.positive;
      default = 20;
      description = ''
        Seconds over which the passes of the confirmation are spread. Raise it for trouble that shows late, such
        as a lease that isn't renewed; it must leave room within services.bento.confirm.timeout.
      '';
    };
  };

  config = mkIf cfg.enable {
    services.bento.environment = lib.mapAttrs (_: mkDefault) {
      BENTO_CONFIRM_TIMEOUT = toString cfg.confirm.timeout;
      BENTO_CONFIRM_PASSES = toString cfg.confirm.passes;
      BENTO_CONFIRM_SETTLE = toString cfg.confirm.settle;
    };

    assertions = [
      {
        assertion = cfg.confirm.settle * 2 <= cfg.confirm.timeout;
        message = "services.bento.confirm.settle, ${toString cfg.confirm.settle} s, leaves no room for the "
          + "confirmation: it can be at most half of services.bento.confirm.timeout, "
          + "${toString cfg.confirm.timeout} s. Raise that.";
      }
    ];
  };
}
