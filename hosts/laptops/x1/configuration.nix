# Ben's, who also develops on it.
{ pkgs, ... }:

{
  imports = [ ./hardware-configuration.nix ];

  networking.hostName = "x1";

  # This machine has the disk and the patience for large upgrades, and containers that want room beside them.
  services.bento.minimumFree.store = 8192;

  virtualisation.podman.enable = true;

  users.users.ben = {
    isNormalUser = true;
    extraGroups = [ "networkmanager" "wheel" ];
    packages = with pkgs; [ gnumake nodejs ];
  };

  system.stateVersion = "20.09";
}
