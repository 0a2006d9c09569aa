# Everybody's files and backups. A flake: what the runner has checked is, to the bit, what this machine builds.
{ config, pkgs, ... }:

{
  imports = [
    ./hardware-configuration.nix
    ./utils/bento.nix
  ];

  networking.hostName = "nas";
  time.timeZone = "Europe/Berlin";

  services.bento = {
    enable = true;
    # Building takes room, and here there is plenty.
    minimumFree.store = 2048;
  };

  networking.interfaces.enp3s0.ipv4.addresses = [ { address = "10.0.0.2"; prefixLength = 24; } ];
  networking.defaultGateway = "10.0.0.1";
  networking.nameservers = [ "10.0.0.1" ];
  networking.useDHCP = false;

  services.nfs.server = {
    enable = true;
    exports = ''
      /tank/media  10.0.0.0/24(ro,all_squash,no_subtree_check)
      /tank/home   10.0.0.0/24(rw,root_squash,no_subtree_check)
    '';
  };
  # NFS 4 needs this port and no other.
  networking.firewall.allowedTCPPorts = [ 2049 ];

  # Each laptop can add to its own backups, and not take away from them.
  services.borgbackup.repos = {
    t470 = {
      path = "/tank/backup/t470";
      authorizedKeysAppendOnly = [
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJNhGNsy94w0/mVpXu9DS6tYbOby12lKLDrCzuwEF0B3 root@t470"
      ];
    };
    x1 = {
      path = "/tank/backup/x1";
      authorizedKeysAppendOnly = [
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAbggDtJTIGTU/EM1u4OYlvq/sRuRHqmryRO/oxCfGWs root@x1"
      ];
    };
  };

  # Disks die: both of these say so before it is too late.
  services.btrfs.autoScrub = {
    enable = true;
    fileSystems = [ "/tank" ];
    interval = "monthly";
  };
  services.smartd.enable = true;

  services.openssh = {
    enable = true;
    extraConfig = "AuthenticationMethods publickey";
  };
  users.users.root.openssh.authorizedKeys.keys = [
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO7ZYhZkeLAMbA/zPN2Dhg5VxX7nImMUXLcpr5eEUxuU grace"
  ];

  environment.systemPackages = with pkgs; [ hdparm smartmontools ];

  system.stateVersion = "20.09";
}
