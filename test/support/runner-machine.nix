# A machine with services.bento-runner, as NixOS 20.09 and today's services.github-runners make it: the text of its units, and what
# their scripts and files are made of.
{ nixpkgs, githubRunners, runner, url, groups }:

let
  # What its options ask of a lib that 20.09 hasn't.
  today = { lib, ... }@args: import "${githubRunners}/options.nix" (args // {
    lib = lib // {
      literalExpression = text: text;
      mkPackageOption = pkgs: name: _: lib.mkOption { type = lib.types.unspecified; default = pkgs.${name}; };
    };
  });
  nixos = import "${nixpkgs}/nixos" {
    configuration = { pkgs, ... }: {
      imports = [
        runner
        ({ lib, pkgs, config, ... }@args: today args)
        "${githubRunners}/service.nix"
      ];
      boot.isContainer = true;
      nixpkgs.overlays = [
        (self: super: { github-runner = super.writeText "github-runner" "" // { override = _: self.github-runner; }; })
      ];
      # The tiny nixpkgs' builds have no programs but the machine's.
      nix.sandboxPaths = [ "/bin" "/lib" "/lib64" "/usr" ];
      nix.binaryCaches = pkgs.lib.mkForce [ ];
      services.bento-runner = {
        enable = true;
        github = {
          inherit url;
          name = "builder";
          tokenFile = "/var/lib/secrets/github-runner";
          runnerGroup = groups.deploy;
          pullRequests = { enable = true; runnerGroup = groups.pullRequests; };
        };
      };
    };
  };
  inherit (nixos) config pkgs;
  inherit (pkgs) lib;
  wanted = name: lib.hasPrefix "github-runner" name || lib.hasPrefix "nix-gc" name || name == "nginx.service";
  units = lib.mapAttrs (_: unit: unit.text) (lib.filterAttrs (name: _: wanted name) config.systemd.units);
  nixConf = config.environment.etc."nix/nix.conf".source;
in
{
  inherit units;
  failed = map (one: one.message) (lib.filter (one: !one.assertion) config.assertions);
  derivations = lib.filter (lib.hasSuffix ".drv")
    (builtins.attrNames (builtins.getContext (lib.concatStrings (lib.attrValues units))));
  tmpfiles = lib.filter (lib.hasInfix "bento") config.systemd.tmpfiles.rules;
  runnerPackage = "${pkgs.github-runner}";
  nginxPackage = "${config.services.nginx.package}";
  nixConf = { inherit (nixConf) buildCommand extraOptions; };
  users = lib.mapAttrsToList (name: user: { inherit name; inherit (user) group home extraGroups; })
    (lib.filterAttrs (name: _: lib.any (prefix: lib.hasPrefix prefix name) [ "bento-" "nginx" ]) config.users.users);
}
