# Anna's.
{ ... }:

{
  imports = [ ./hardware-configuration.nix ];

  networking.hostName = "t470";

  users.users.anna = {
    isNormalUser = true;
    extraGroups = [ "networkmanager" "wheel" ];
  };

  system.stateVersion = "20.09";
}
