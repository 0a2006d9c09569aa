# The NixOS modules, for configurations that don't have utils/ of their own. What stands beside them here is the example
# fleet's, and nobody's: so each wants to be told which fleet it is.
let
  of = module: option: file: { lib, ... }: {
    imports = [ module ];
    config.services = lib.setAttrByPath option
      (lib.mkDefault (throw "services.${lib.concatStringsSep "." option} must be the ${file} of your fleet"));
  };
in
{
  bento = of ../utils/bento.nix [ "bento" "configFile" ] "utils/bento.json";
  server = of ../utils/fleet.nix [ "bento-server" "fleetFile" ] "fleet.json";
} // (if builtins.pathExists ../utils/runner.nix then { runner = ../utils/runner.nix; } else { })
