{ pkgs, ... }:
{
  imports = [ ./utils/common.nix ];

  networking.hostName = "nas";
  environment.systemPackages = [ pkgs.postgresql ];
}
