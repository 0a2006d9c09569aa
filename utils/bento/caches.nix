# services.bento.caches: who uses the fleet's binary caches, and how long an upgrade waits for them.
{ config, lib, options, ... }:

let
  inherit (lib) mkDefault mkIf mkOption types;
  cfg = config.services.bento;

  # Those that this machine reaches by itself: one that is forwarded is there while the agent needs it (lib/forward.sh).
  substituters = lib.filter (cache: !(cache ? over)) cfg.substituters;

  # For nix.conf: a cache that is dead shall cost nobody more than seconds. Nix's own limits are none for a connection, five minutes
  # for silence, and five attempts; and without fallback, one that it knows from before and that is gone fails what could be built.
  patience = {
    connect-timeout = cfg.caches.connectTimeout;
    download-attempts = 2;
    fallback = true;
    stalled-download-timeout = cfg.caches.deadline;
  };
  line = name: value: "${name} = ${if lib.isBool value then lib.boolToString value else toString value}\n";
in
{
  options.services.bento.caches = {
    scope = mkOption {
      type = types.enum [ "machine" "agent" "none" ];
      default = "machine";
      description = ''
        Who on this machine uses and trusts the binary caches of fleet.yaml, beside those that it has anyway. machine:
        Nix as a whole, also for an administrator at a shell, and then it waits for no cache longer than upgrades do. agent: only
        upgrades. none: nobody.
      '';
    };
    connectTimeout = mkOption {
      type = types.ints.positive;
      default = 3;
      description = ''
        Seconds that a binary cache has to accept a connection from an upgrade; one that doesn't is left out of that
        upgrade. Raise it for a slow way there, such as Tor or a satellite.
      '';
    };
    deadline = mkOption {
      type = types.ints.positive;
      default = 15;
      description = ''
        Seconds that a binary cache has for its first answer to an upgrade, and that it may be silent in a download.
      '';
    };
    minimumSpeed = mkOption {
      type = types.ints.unsigned;
      default = 1000;
      description = ''
        Bytes a second, unpacked, that an upgrade's downloads must bring on the average of five minutes. Below that, the cache
        that they come from is left out of that upgrade, as one that doesn't answer is; what has come stays. Lower it for a way
        that is slower than a modem; 0 waits as long as something comes.
      '';
    };
  };

  config = mkIf cfg.enable {
    services.bento.environment = lib.mapAttrs (_: mkDefault) {
      BENTO_CACHES = if cfg.caches.scope == "none" then "none" else "fleet";
      BENTO_CACHE_CONNECT_TIMEOUT = toString cfg.caches.connectTimeout;
      BENTO_CACHE_DEADLINE = toString cfg.caches.deadline;
      BENTO_CACHE_SPEED = toString cfg.caches.minimumSpeed;
    };

    # fleet.yaml's binary caches, beside those that this machine has anyway: the lists are merged with NixOS's own. It isn't
    # extra-substituters, which comes before substituters in nix.conf, and there the later line replaces the one before.
    # The agent tells Nix by itself how long to wait, and which of them to ask; whoever else calls Nix here has what patience says.
    # The options' names changed with 22.05, and a line of nix.conf that comes later counts.
    nix = mkIf (substituters != [ ] && cfg.caches.scope == "machine") (
      if options.nix ? settings then {
        settings = lib.mapAttrs (_: mkDefault) patience // {
          substituters = map (cache: cache.url) substituters;
          trusted-public-keys = map (cache: cache.key) substituters;
        };
      } else {
        binaryCaches = map (cache: cache.url) substituters;
        binaryCachePublicKeys = map (cache: cache.key) substituters;
        extraOptions = lib.mkBefore (lib.concatStrings (lib.mapAttrsToList line patience));
      }
    );
  };
}
