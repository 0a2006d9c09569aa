{
  imports = [ ./hardware-configuration.nix ];
  networking.hostName = "example";
  services.bento.enable = true;
  # Its host key is how the machine logs in at the fleet's server.
  services.openssh.enable = true;
  # What the machine was installed with: /etc/nixos/configuration.nix has it.
  system.stateVersion = "26.05";
}
