# As in nixpkgs: the system that a configuration makes, `nix-build '<nixpkgs/nixos>' -A system`.
{ configuration ? import <nixos-config>, system ? builtins.currentSystem }:
let
  eval = import ./eval.nix { inherit system; modules = [ configuration ]; };
in
{
  inherit (eval) config;
  system = eval.config.system.build.toplevel;
}
