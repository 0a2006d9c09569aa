# services.bento.selfUpdate: newer inputs of this machine's flake, where nothing new is published.
{ config, lib, ... }:

let
  inherit (lib) mkDefault mkIf mkOption types;
  cfg = config.services.bento;
in
{
  options.services.bento.selfUpdate = {
    enable = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether this machine updates the inputs of its flake by itself while its fleet has no new release for it: what
        comes out is built here, activated and confirmed as a release is, and reported as auto-updated. It is nothing that
        anybody has checked; leave it off where the fleet's repository has its locks updated and merged.
      '';
    };

    inputs = mkOption {
      type = types.listOf (types.strMatching "[A-Za-z0-9_][A-Za-z0-9_/-]*");
      default = [ ];
      example = [ "nixpkgs" ];
      description = "Which inputs; none means all of them.";
    };

    interval = mkOption {
      type = types.ints.positive;
      default = 24;
      description = "Hours between two looks at them, and after a release before the first.";
    };
  };

  config = mkIf (cfg.enable && cfg.selfUpdate.enable) {
    services.bento.environment = lib.mapAttrs (_: mkDefault) {
      BENTO_SELF_UPDATE = if cfg.selfUpdate.inputs == [ ] then "all" else lib.concatStringsSep " " cfg.selfUpdate.inputs;
      BENTO_SELF_UPDATE_INTERVAL = toString (cfg.selfUpdate.interval * 3600);
    };

    assertions = [
      {
        assertion = cfg.build != "prebuilt";
        message = "services.bento.selfUpdate builds on this machine, and services.bento.build is prebuilt. Switch one of "
          + "them off.";
      }
    ];
  };
}
