# services.bento.git: the fetcher that gets this machine's releases from a git repository.
{ config, lib, ... }:

let
  inherit (lib) mkDefault mkIf mkOption types;
  cfg = config.services.bento;

  fleet = if builtins.pathExists cfg.configFile then builtins.fromJSON (builtins.readFile cfg.configFile) else { };
  git = fleet.git or null;
  usesGit = cfg.fetcher == "git";

  # ssh://, or user@host:path without a scheme.
  isSsh = remote: builtins.match "(ssh|git[+]ssh|ssh[+]git)://.*|[^/:]+:[^/].*|[^/:]+:/[^/].*" remote != null;
in
{
  options.services.bento = {
    git = {
      remote = mkOption {
        type = types.nullOr types.str;
        default = git.remote or null;
        defaultText = "git.remote of fleet.yaml";
        example = "https://git.example.org/fleet.git";
        description = ''
          The repository that the fetcher git gets releases from. Set it on a machine that reaches it by another address
          than the rest of the fleet. An ssh remote must show one of git.hostKeys in fleet.yaml.
        '';
      };
      refs = mkOption {
        type = types.str;
        default = git.refs or "refs/heads/bento/{host}";
        defaultText = "git.refs of fleet.yaml";
        description = ''
          Where releases are in it, with {host} for this machine's name. Leave it alone: bento deploy publishes to
          git.refs of fleet.yaml.
        '';
      };
      branch = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "main";
        description = ''
          A branch of the fleet's own repository. With it, this machine makes its releases by itself, of that branch's
          commits, and needs nobody who publishes them. fleet.yaml must have git, so that fleet.json says how. What is
          trusted then is not the signature of a release but that of the branch's last commit: see
          services.bento.git.commitSigners.
        '';
      };
      directory = mkOption {
        type = types.str;
        default = ".";
        example = "machines";
        description = ''
          Where the fleet is in the repository of services.bento.git.branch, if fleet.json is not at its top.
        '';
      };
      commitSigners = mkOption {
        type = types.listOf types.str;
        default = fleet.signers or [ ];
        defaultText = "signers of fleet.yaml";
        example = [ "ssh-ed25519 AAAA… ada" ];
        description = ''
          Public ssh keys. The last commit of services.bento.git.branch must be signed with one of them (git commit -S
          with gpg.format ssh); set it where other people merge than those whose releases the fleet takes.
        '';
      };
      allowUnsigned = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Takes commits of services.bento.git.branch that nobody has signed. Warning: whoever can write to that branch,
          and whoever runs the server that it is on, is then root on this machine. Set it for trying things out.
        '';
      };
      key = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "/root/.ssh/deploy-key";
        description = ''
          The private ssh key for an ssh remote; null is services.bento.key. Its public half must be allowed to read the
          repository there, e.g. as a deploy key, and should be allowed nothing else. Who may read it sees the releases
          of every host.
        '';
      };
      credentialsFile = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "/var/lib/bento-git-credentials";
        description = ''
          For an https remote that wants a login: a file of this machine, readable by root alone, with lines such as
          https://user:token@git.example.org (git-credential-store(1)). It is never copied to the Nix store.
        '';
      };
    };
  };

  config = mkIf cfg.enable {
    services.bento.environment = lib.mapAttrs (_: mkDefault) {
      BENTO_GIT_REMOTE = toString cfg.git.remote;
      BENTO_GIT_REFS = cfg.git.refs;
      BENTO_GIT_KEY = toString cfg.git.key;
      BENTO_GIT_CREDENTIALS = toString cfg.git.credentialsFile;
    } // lib.optionalAttrs (cfg.git.branch != null) {
      BENTO_GIT_BRANCH = mkDefault cfg.git.branch;
      BENTO_GIT_DIRECTORY = mkDefault cfg.git.directory;
      BENTO_GIT_COMMIT_SIGNERS = mkDefault (lib.concatStringsSep "\n" cfg.git.commitSigners);
      BENTO_GIT_ALLOW_UNSIGNED = mkDefault (if cfg.git.allowUnsigned then "1" else "");
    };

    assertions = [
      {
        assertion = cfg.git.branch != null -> usesGit;
        message = "services.bento.git.branch is set, and releases come by another way. Set services.bento.fetcher = "
          + "\"git\", or take git.branch out.";
      }
      {
        assertion = cfg.git.branch == null || builtins.match "[A-Za-z0-9_][A-Za-z0-9_./-]*" cfg.git.branch != null;
        message = "services.bento.git.branch is no branch's name: letters, digits, '.', '-' and '_' between slashes, "
          + "such as \"main\".";
      }
      {
        assertion = cfg.git.branch != null && !cfg.git.allowUnsigned -> cfg.git.commitSigners != [ ];
        message = "services.bento.git.branch is set, and nobody's commits would be taken. List the public ssh keys of "
          + "those who merge in services.bento.git.commitSigners.";
      }
      {
        assertion = cfg.git.branch != null -> cfg.build != "prebuilt";
        message = "services.bento.git.branch is set, and this machine never builds, while nobody says which system of "
          + "a cache belongs to a commit. Set services.bento.build = \"auto\", or take git.branch out.";
      }
      {
        assertion = usesGit -> cfg.git.remote != null;
        message = "services.bento.fetcher is git, and bento.json names no git remote. Set git.remote in fleet.yaml and "
          + "run 'bento render', or set services.bento.git.remote.";
      }
      {
        assertion = usesGit && cfg.git.remote != null && isSsh cfg.git.remote -> git.hostKeys or [ ] != [ ];
        message = "services.bento.git.remote is reached by ssh, and no host key of it is pinned. Put its public host "
          + "key into git.hostKeys in fleet.yaml and run 'bento render', or use an https remote.";
      }
      {
        assertion = lib.all (file: file == null || !lib.hasPrefix builtins.storeDir file)
          [ cfg.git.key cfg.git.credentialsFile ];
        message = "services.bento.git.key and services.bento.git.credentialsFile must not be in the Nix store, where "
          + "everybody can read them. Keep them on the machine alone, and set their paths as strings.";
      }
    ];
  };
}
