# services.bento-runner: makes a NixOS machine the one that builds the fleet's systems, and its binary cache. Import it on
# that machine and set
#
#   services.bento-runner = {
#     enable = true;
#     github = { url = "https://github.com/example/fleet"; tokenFile = "/var/lib/secrets/github-runner"; };
#   };
#
# It registers the machine with GitHub, which gives it jobs. `bento build --push file:///var/lib/bento-runner/cache` in the job
# after a merge signs what it built with a key that only that job has, and a web server shows it to the fleet. Jobs run as a
# user that the Nix daemon doesn't trust, and the daemon lets such a one sign nothing in the store itself: hence a directory,
# and no server that shows the store, as harmonia does. Nothing here has the key: Nix's secret-key-files would sign what pull
# requests build as well, and are refused. docs/build.md says how it goes together. Works on NixOS 20.09 and everything since,
# as far as a release has what is asked of it.
{ config, lib, options, pkgs, ... }:

let
  inherit (lib) mkIf mkOption types;
  cfg = config.services.bento-runner;

  user = "bento-runner";
  state = "/var/lib/bento-runner";
  GiB = 1024 * 1024 * 1024;

  hasRunners = options.services ? github-runners;
  directory = "${state}/cache";
  hasGitHub = cfg.github.url != null;
  trustedUsers = config.nix.settings.trusted-users or (config.nix.trustedUsers or [ ]);
  sandbox = config.nix.settings.sandbox or (config.nix.useSandbox or true);
  signsEverything = config.nix.settings.secret-key-files or [ ] != [ ]
    || builtins.match ".*secret-key-files.*" (lib.replaceStrings [ "\n" ] [ " " ] config.nix.extraOptions) != null;
in
{
  options.services.bento-runner = {
    enable = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether this machine builds the fleet's systems and is its binary cache.
      '';
    };

    github = {
      url = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "https://github.com/example/fleet";
        description = ''
          The repository, or the organisation, whose jobs this machine runs; null where jobs get here in another way, such as a
          runner of Forgejo's that is set up elsewhere. It should be a private one: whoever may start a job here can run anything
          as the user bento-runner.
        '';
      };
      tokenFile = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "/var/lib/secrets/github-runner";
        description = ''
          A file with a personal access token that may register runners. It is read when the runner starts, jobs can't see it, and
          it is never copied to the Nix store.
        '';
      };
      name = mkOption {
        type = types.str;
        default = config.networking.hostName;
        defaultText = "config.networking.hostName";
        description = ''
          What the runner is called at GitHub.
        '';
      };
      labels = mkOption {
        type = types.listOf types.str;
        default = [ "bento" ];
        description = ''
          Labels by which a workflow's job asks for this machine, in its runs-on.
        '';
      };
      packages = mkOption {
        type = types.listOf types.package;
        default = [ ];
        description = ''
          More programs for jobs, beside Nix, git, OpenSSH and age.
        '';
      };
    };

    cache = {
      enable = mkOption {
        type = types.bool;
        default = true;
        description = ''
          Whether this machine is a binary cache for the fleet: nginx shows what bento build --push has put into
          /var/lib/bento-runner/cache, and nothing else of the store. Set it to false where systems are pushed elsewhere.
        '';
      };
      address = mkOption {
        type = types.str;
        default = "0.0.0.0";
        example = "127.0.0.1";
        description = ''
          The address that it listens on. Set it to 127.0.0.1 behind a web server that speaks TLS, or where hosts come through ssh.
        '';
      };
      port = mkOption {
        type = types.port;
        default = 5000;
        description = ''
          The port that it listens on.
        '';
      };
      openFirewall = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Whether the firewall lets everybody reach that port. Leave it where hosts come by a VPN or through a web server.
        '';
      };
    };

    gc = {
      dates = mkOption {
        type = types.str;
        default = "weekly";
        example = "daily";
        description = ''
          When what nothing keeps alive is removed from the store, in the form of systemd.time(7). What bento build has built is kept
          alive until bento build --prune lets it go.
        '';
      };
      minimumFree = mkOption {
        type = types.ints.positive;
        default = 10;
        description = ''
          GiB of free space below which a build first removes what nothing keeps alive.
        '';
      };
    };
  };

  config = mkIf cfg.enable (lib.mkMerge [
    {
      # One line each, since `bento check` and annotations on pull requests show one line.
      assertions = [
        {
          assertion = hasGitHub -> hasRunners;
          message = "services.bento-runner.github: this release of NixOS has no services.github-runners (23.11 is the first). "
            + "Upgrade it, or leave github.url out and set a runner up by hand, as the user ${user}.";
        }
        {
          assertion = hasGitHub -> cfg.github.tokenFile != null;
          message = "services.bento-runner.github.tokenFile is missing: without a token, the runner can't register. Make a "
            + "fine-grained one that may write 'Administration' of the repository, and put it into a file on this machine.";
        }
        {
          assertion = cfg.github.tokenFile == null || !lib.hasPrefix builtins.storeDir cfg.github.tokenFile;
          message = "services.bento-runner.github.tokenFile is in the Nix store, where everybody can read it. Keep the token on "
            + "the machine alone, and set its path as a string.";
        }
        {
          assertion = !signsEverything;
          message = "services.bento-runner: Nix has secret-key-files here, with which it signs whatever is built, by pull "
            + "requests too. Take it out of nix.settings or nix.extraOptions, and give the key to the job after the merge: "
            + "BENTO_CACHE_KEY, or the Action's cache-key.";
        }
        {
          assertion = !(lib.any (name: lib.elem name [ user "@${user}" "*" ]) trustedUsers);
          message = "services.bento-runner: jobs run as ${user}, and nix.settings.trusted-users trusts it: a job could put "
            + "anything into the store under any name, to be signed later. Take ${user}, @${user} and * out of it.";
        }
        {
          assertion = sandbox == true;
          message = "services.bento-runner: builds are not in a sandbox, so one that a pull request starts could change "
            + "another. Set nix.settings.sandbox = true (nix.useSandbox before 22.05).";
        }
      ];

      users.users.${user} = {
        isSystemUser = true;
        group = user;
        # Programs such as ssh read settings there, whatever HOME says, and one job could leave some for another.
        home = "/var/empty";
        description = "Builds the fleet's systems";
      };
      users.groups.${user} = { };

      # What stays from one job to the next: gc roots, logs of builds that failed, and evaluations that are remembered.
      systemd.tmpfiles.rules = [
        "d ${state} 0755 root root -"
        "d ${state}/state 0750 ${user} ${user} -"
        "d ${state}/evaluations 0750 ${user} ${user} -"
      ];

      nix.gc.automatic = lib.mkDefault true;
      nix.gc.dates = lib.mkDefault cfg.gc.dates;
      nix.extraOptions = ''
        min-free = ${toString (cfg.gc.minimumFree * GiB)}
        max-free = ${toString (cfg.gc.minimumFree * 3 * GiB)}
      '';

      networking.firewall.allowedTCPPorts = mkIf (cfg.cache.enable && cfg.cache.openFirewall) [ cfg.cache.port ];
    }

    (mkIf cfg.cache.enable {
      systemd.tmpfiles.rules = [ "d ${directory} 2750 ${user} ${config.services.nginx.group} -" ];
      services.nginx.enable = true;
      services.nginx.virtualHosts.bento-cache = {
        listen = [ { addr = cfg.cache.address; port = cfg.cache.port; } ];
        root = directory;
      };
    })

    (lib.optionalAttrs hasRunners {
      services.github-runners = mkIf (hasGitHub && cfg.github.tokenFile != null) {
        bento = {
          enable = true;
          inherit (cfg.github) name tokenFile url;
          extraLabels = cfg.github.labels;
          # A job's files, processes and home are gone before the next one comes.
          ephemeral = true;
          replace = true;
          inherit user;
          extraPackages = [ pkgs.age pkgs.jq pkgs.openssh ] ++ cfg.github.packages;
          extraEnvironment = {
            XDG_STATE_HOME = "${state}/state";
            BENTO_EVALUATIONS = "${state}/evaluations";
          };
          serviceOverrides = {
            DynamicUser = false;
            ReadWritePaths = [ state ];
            # The web server's group reads the cache.
            UMask = "0027";
            # The rest of what could be seen of the machine and of other jobs.
            PrivateTmp = true;
            ProtectProc = "invisible";
            ProtectHome = true;
            InaccessiblePaths = [ "-${cfg.github.tokenFile}" "-/var/lib/secrets" "-/run/secrets" ];
          };
        };
      };
    })
  ]);
}
