# Made by nixos-generate-config on the machine.
{ config, lib, pkgs, modulesPath, ... }:

{
  imports = [ (modulesPath + "/installer/scan/not-detected.nix") ];

  boot.initrd.availableKernelModules = [ "xhci_pci" "nvme" "usb_storage" "sd_mod" "rtsx_pci_sdmmc" ];
  boot.kernelModules = [ "kvm-intel" ];

  boot.initrd.luks.devices.system.device = "/dev/disk/by-uuid/a1f1c7ce-0b0e-4b3c-9f0a-4a5f7ab0b6d2";

  fileSystems."/" = {
    device = "/dev/disk/by-uuid/3d9c2b7e-41fd-4b1d-a9d3-6b7ad0e4c911";
    fsType = "ext4";
  };

  fileSystems."/boot" = {
    device = "/dev/disk/by-uuid/7C21-0B5F";
    fsType = "vfat";
  };

  hardware.cpu.intel.updateMicrocode = lib.mkDefault config.hardware.enableRedistributableFirmware;
}
