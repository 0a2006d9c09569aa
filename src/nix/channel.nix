# A host without flakes, as nixos-rebuild evaluates it: <nixpkgs/nixos> with its configuration.
# Strings are returned rather than derivations, so that the evaluator can forget the rest.
{ configuration }:
let
  nixos = import <nixpkgs/nixos> { inherit configuration; };
in
{
  drv = nixos.system.drvPath;
  toplevel = nixos.system.outPath;
}
