# Made by nixos-generate-config on the machine.
{ config, lib, pkgs, modulesPath, ... }:

{
  imports = [ (modulesPath + "/installer/scan/not-detected.nix") ];

  boot.initrd.availableKernelModules = [ "ahci" "xhci_pci" "nvme" "usb_storage" "sd_mod" ];
  boot.kernelModules = [ "kvm-intel" ];

  boot.loader.systemd-boot.enable = true;
  boot.loader.systemd-boot.configurationLimit = 10;
  boot.loader.efi.canTouchEfiVariables = true;

  fileSystems."/" = {
    device = "/dev/disk/by-uuid/0b1f0a0c-7d62-4cb0-9a3e-55d0a5a1b7c4";
    fsType = "ext4";
  };

  fileSystems."/boot" = {
    device = "/dev/disk/by-uuid/4E1B-77A0";
    fsType = "vfat";
  };

  # Two disks, mirrored by btrfs.
  fileSystems."/tank" = {
    device = "/dev/disk/by-uuid/c2b5a1d4-3f0e-4f5e-8a57-9d2a0f6c1e33";
    fsType = "btrfs";
    options = [ "noatime" "compress=zstd" ];
  };

  swapDevices = [ { device = "/dev/disk/by-uuid/9a7c9f1d-1c3b-4c43-8b8f-0a62f6a9b2f1"; } ];

  hardware.cpu.intel.updateMicrocode = lib.mkDefault config.hardware.enableRedistributableFirmware;
}
