# Without flakes: nix-env -f . -iA bento, or (import ./bento { inherit pkgs; }).modules.bento in a configuration.
{ pkgs ? import <nixpkgs> { } }:
{
  bento = pkgs.callPackage ./nix/package.nix {
    nodejs = pkgs.nodejs_24 or pkgs.nodejs_22 or pkgs.nodejs;
  };
  modules = import ./nix/modules.nix;
}
