{ pkgs, ... }:
{
  imports = [ ./utils/common.nix ];

  networking.hostName = "router";
  environment.systemPackages = [ pkgs.nginx ];
}
