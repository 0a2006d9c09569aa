# services.bento-runner: makes a NixOS machine the one that builds the fleet's systems, and its binary cache. Import it on
# that machine and set
#
#   services.bento-runner = {
#     enable = true;
#     github = { url = "https://github.com/example/fleet"; tokenFile = "/var/lib/secrets/github-runner"; };
#   };
#
# It registers the machine with GitHub, which gives it jobs. `bento build --push file:///var/lib/bento-runner/cache` in the job
# after a merge signs what it built with a key that only that job has, and a web server shows it to the fleet. Jobs run as
# users that the Nix daemon doesn't trust, and the daemon lets such a one sign nothing in the store itself: hence a directory,
# and no server that shows the store, as harmonia does. Nothing here has the key: Nix's secret-key-files would sign what pull
# requests build as well, and are refused.
#
# What merged commits do is apart from what pull requests do: a runner, a user and a place of its own for each, and only the first
# writes to the cache. What they share is the Nix store, where a result is named by all that went into it, and the evaluations of
# pull requests, which the other reads, and believes only with their code. docs/build.md says how it goes together. Works on
# NixOS 20.09 and everything since, as far as a release has what is asked of it.
{ config, lib, options, pkgs, ... }:

let
  inherit (lib) mkIf mkOption types;
  cfg = config.services.bento-runner;

  state = "/var/lib/bento-runner";
  # Of each kind of job. That one can't become the other is the user's doing; how jobs get to it is GitHub's.
  deploy = {
    user = "bento-deploy";
    place = state;
    writes = lib.optional cfg.cache.enable directory;
  };
  pullRequests = {
    user = "bento-runner";
    place = "${state}/pull-requests";
    writes = [ ];
  };
  users = [ deploy.user pullRequests.user ];
  GiB = 1024 * 1024 * 1024;

  hasRunners = options.services ? github-runners;
  directory = "${state}/cache";
  hasGitHub = cfg.github.url != null;
  trustedUsers = config.nix.settings.trusted-users or (config.nix.trustedUsers or [ ]);
  trustedJobs = lib.intersectLists trustedUsers ([ "*" ] ++ lib.concatMap (user: [ user "@${user}" ]) users);
  sandbox = config.nix.settings.sandbox or (config.nix.useSandbox or true);
  signsEverything = config.nix.settings.secret-key-files or [ ] != [ ]
    || builtins.match ".*secret-key-files.*" (lib.replaceStrings [ "\n" ] [ " " ] config.nix.extraOptions) != null;

  account = {
    isSystemUser = true;
    # Programs such as ssh read settings there, whatever HOME says, and one job could leave some for another.
    home = "/var/empty";
  };

  runner = { user, place, writes }: {
    enable = true;
    inherit (cfg.github) tokenFile url;
    # A job's files, processes and home are gone before the next one comes.
    ephemeral = true;
    replace = true;
    inherit user;
    extraPackages = [ pkgs.age pkgs.jq pkgs.openssh ] ++ cfg.github.packages;
    extraEnvironment = {
      XDG_STATE_HOME = "${place}/state";
      # The first is written to, and what is in the others is believed only with its code.
      BENTO_EVALUATIONS = lib.concatStringsSep ":" (lib.unique [ "${place}/evaluations" "${pullRequests.place}/evaluations" ]);
    };
    serviceOverrides = {
      DynamicUser = false;
      ReadWritePaths = [ "${place}/state" "${place}/evaluations" ] ++ writes;
      # The web server's group reads the cache, and the job after a merge what is remembered of pull requests.
      UMask = "0027";
      # What one job has of its own, the other sees not even the names of.
      RuntimeDirectoryMode = "0700";
      LogsDirectoryMode = "0700";
      # A job that leaves a process behind, or a network that was away for a while, must not be the end of the runner.
      Restart = lib.mkForce "always";
      RestartSec = 10;
      TimeoutStopSec = 30;
      # The rest of what could be seen of the machine and of other jobs.
      PrivateTmp = true;
      ProtectProc = "invisible";
      ProtectHome = true;
      InaccessiblePaths = [ "-${cfg.github.tokenFile}" "-/var/lib/secrets" "-/run/secrets" ];
    };
  };
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
          runner of Forgejo's that is set up elsewhere, as the user bento-deploy. It should be a private one: whoever may push a
          branch can write a workflow, and so run anything here, as that user.
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
          What the runner is called at GitHub. That for pull requests has -pull-requests after it.
        '';
      };
      labels = mkOption {
        type = types.listOf types.str;
        default = [ "bento-deploy" ];
        description = ''
          Labels by which the job after a merge asks for this machine, in its runs-on. Whoever may push a branch can ask for them,
          too: only a runner group keeps others out.
        '';
      };
      runnerGroup = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "fleet-deploy";
        description = ''
          An organisation's runner group for the runner of the job after a merge. Limit that group to the deploy's workflow on the
          branch main, and GitHub gives this runner no other job. Null is the default group.
        '';
      };
      pullRequests = {
        enable = mkOption {
          type = types.bool;
          default = false;
          description = ''
            Whether this machine also builds pull requests, with a second runner: as the user bento-runner, which can't write to the
            cache, nor see what the jobs after a merge have. What it has built is then not built again after the merge.
          '';
        };
        labels = mkOption {
          type = types.listOf types.str;
          default = [ "bento" ];
          description = ''
            Labels by which a pull request's job asks for this machine.
          '';
        };
        runnerGroup = mkOption {
          type = types.nullOr types.str;
          default = null;
          example = "fleet-checks";
          description = ''
            An organisation's runner group for the second runner; null is the default group.
          '';
        };
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
            + "Upgrade it, or leave github.url out and set a runner up by hand, as the user ${deploy.user}.";
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
          assertion = trustedJobs == [ ];
          message = "services.bento-runner: jobs run as ${lib.concatStringsSep " and " users}, and nix.settings.trusted-users has "
            + "${lib.concatStringsSep ", " trustedJobs}: a job could put anything into the store under any name, to be signed later. "
            + "Take that out of it.";
        }
        {
          assertion = sandbox == true;
          message = "services.bento-runner: builds are not in a sandbox, so one that a pull request starts could change "
            + "another. Set nix.settings.sandbox = true (nix.useSandbox before 22.05).";
        }
      ];

      users.users = {
        ${deploy.user} = account // {
          group = deploy.user;
          description = "Builds the fleet's systems after a merge";
          # It reads what is remembered of pull requests.
          extraGroups = [ pullRequests.user ];
        };
        ${pullRequests.user} = account // { description = "Builds pull requests"; group = pullRequests.user; };
      };
      users.groups = lib.genAttrs users (_: { });

      # What stays from one job to the next: gc roots, logs of builds that failed, and evaluations that are remembered.
      systemd.tmpfiles.rules = [
        "d ${state} 0755 root root -"
        "d ${deploy.place}/state 0700 ${deploy.user} ${deploy.user} -"
        "d ${deploy.place}/evaluations 0700 ${deploy.user} ${deploy.user} -"
        "d ${pullRequests.place} 0755 root root -"
        "d ${pullRequests.place}/state 0700 ${pullRequests.user} ${pullRequests.user} -"
        "d ${pullRequests.place}/evaluations 0750 ${pullRequests.user} ${pullRequests.user} -"
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
      systemd.tmpfiles.rules = [ "d ${directory} 2750 ${deploy.user} ${config.services.nginx.group} -" ];
      services.nginx.enable = true;
      services.nginx.virtualHosts.bento-cache = {
        listen = [ { addr = cfg.cache.address; port = cfg.cache.port; } ];
        root = directory;
      };
    })

    (lib.optionalAttrs hasRunners {
      services.github-runners = mkIf (hasGitHub && cfg.github.tokenFile != null) {
        bento-deploy = runner deploy // {
          inherit (cfg.github) name runnerGroup;
          extraLabels = cfg.github.labels;
        };
        bento = mkIf cfg.github.pullRequests.enable (runner pullRequests // {
          name = "${cfg.github.name}-pull-requests";
          inherit (cfg.github.pullRequests) runnerGroup;
          extraLabels = cfg.github.pullRequests.labels;
        });
      };
    })
  ]);
}
