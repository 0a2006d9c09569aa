{
  # imports = [ ./hardware-configuration.nix ];
  networking.hostName = "example";
  services.bento.enable = true;
}
