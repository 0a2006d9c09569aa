# services.bento.maxSilentTime: how long an upgrade waits for what doesn't get on any more.
{ config, lib, ... }:

let
  inherit (lib) mkDefault mkIf mkOption types;
  cfg = config.services.bento;
in
{
  options.services.bento.maxSilentTime = {
    fetch = mkOption {
      type = types.ints.positive;
      default = 600;
      description = ''
        Seconds in which nothing more of a release comes, by sftp or git, before the fetch is ended, reported, and tried
        again later. A line may be as slow as it likes, as long as something comes. Raise it for a git server that takes
        longer than that to put a release together.
      '';
    };
    build = mkOption {
      type = types.ints.positive;
      default = 21600;
      description = ''
        Seconds in which an evaluation or a build says nothing, and Nix downloads nothing, before it is ended, reported,
        and tried again later. Raise it for a machine that builds what says nothing for longer than these six hours.
      '';
    };
  };

  options.services.bento.fetchTimeout = mkOption {
    type = types.ints.positive;
    default = 86400;
    description = ''
      Seconds that a fetcher of your own has to fetch a release, since nobody but itself knows whether it gets on. Raise
      it for a way that takes longer than a day.
    '';
  };

  config = mkIf cfg.enable {
    services.bento.environment = lib.mapAttrs (_: mkDefault) {
      BENTO_FETCH_SILENCE = toString cfg.maxSilentTime.fetch;
      BENTO_BUILD_SILENCE = toString cfg.maxSilentTime.build;
      BENTO_FETCH_TIMEOUT = toString cfg.fetchTimeout;
    };
  };
}
