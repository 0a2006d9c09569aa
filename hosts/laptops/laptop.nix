# What the laptops have in common.
{ config, pkgs, ... }:

{
  imports = [ ./utils/bento.nix ];

  services.bento.enable = true;

  # The agent logs in at the fleet's server with the host key that sshd makes. Nobody is to log in from outside here.
  services.openssh = {
    enable = true;
    openFirewall = false;
    extraConfig = "AuthenticationMethods publickey";
  };

  boot.loader.systemd-boot.enable = true;
  # Kernels of old generations fill /boot, and a full /boot is a failed upgrade.
  boot.loader.systemd-boot.configurationLimit = 8;
  boot.loader.efi.canTouchEfiVariables = true;

  networking.networkmanager.enable = true;
  time.timeZone = "Europe/Berlin";
  i18n.defaultLocale = "en_GB.UTF-8";

  programs.sway.enable = true;
  hardware.bluetooth.enable = true;
  services.printing.enable = true;
  services.tlp.enable = true;

  fileSystems."/media/nas" = {
    device = "10.0.0.2:/tank/media";
    fsType = "nfs";
    # Only when somebody looks, so that a laptop away from home starts, and activates, without waiting for it.
    options = [ "noauto" "x-systemd.automount" "x-systemd.idle-timeout=600" "soft" "nfsvers=4.2" ];
  };

  services.borgbackup.jobs.nas = {
    paths = [ "/home" ];
    exclude = [ "/home/*/.cache" ];
    repo = "borg@10.0.0.2:.";
    environment.BORG_RSH = "ssh -i /etc/ssh/ssh_host_ed25519_key";
    # The NAS is at home, and its disks are encrypted.
    encryption.mode = "none";
    startAt = "daily";
  };

  environment.systemPackages = with pkgs; [ firefox git keepassxc thunderbird vim ];
}
