# What every machine of this fleet has.
{ pkgs, ... }:
{
  services.bento.enable = true;
  environment.systemPackages = [ pkgs.htop pkgs.openssh ];
  environment.etc."motd" = "This machine is kept up to date by Bento.\n";
}
