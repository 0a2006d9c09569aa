# Made by nixos-generate-config on the machine.
{ config, lib, pkgs, modulesPath, ... }:

{
  imports = [ (modulesPath + "/installer/scan/not-detected.nix") ];

  boot.initrd.availableKernelModules = [ "xhci_pci" "thunderbolt" "nvme" "usb_storage" "sd_mod" ];
  boot.kernelModules = [ "kvm-intel" ];

  boot.initrd.luks.devices.system.device = "/dev/disk/by-uuid/5be0d7b3-9c1b-4d5f-b6fb-1e3f2c7d8a90";

  fileSystems."/" = {
    device = "/dev/disk/by-uuid/e7a4f6c8-2d35-4e9a-8c1f-0f9b3a6d5c12";
    fsType = "ext4";
  };

  fileSystems."/boot" = {
    device = "/dev/disk/by-uuid/1AF0-93D4";
    fsType = "vfat";
  };

  hardware.cpu.intel.updateMicrocode = lib.mkDefault config.hardware.enableRedistributableFirmware;
}
