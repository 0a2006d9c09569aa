# What every machine of this fleet has.
{ pkgs, ... }:
{
  environment.systemPackages = [ pkgs.htop pkgs.openssh ];
  environment.etc."motd" = "This machine is kept up to date by Bento.\n";
}
