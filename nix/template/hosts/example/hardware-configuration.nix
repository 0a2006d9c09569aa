# Stands in for the machine's own, which `nixos-generate-config` writes to /etc/nixos: put that here.
{
  fileSystems."/" = { device = "/dev/disk/by-label/nixos"; fsType = "ext4"; };
  boot.loader.grub.device = "/dev/sda";
}
