{ pkgs, ... }:
{
  imports = [ ./utils/common.nix ];

  environment.systemPackages = [ pkgs.git ];
}
