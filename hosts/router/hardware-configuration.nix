# Made by nixos-generate-config on the machine.
{ config, lib, pkgs, modulesPath, ... }:

{
  imports = [ (modulesPath + "/installer/scan/not-detected.nix") ];

  boot.initrd.availableKernelModules = [ "xhci_pci" "ahci" "usbhid" "usb_storage" "sd_mod" "sdhci_pci" ];
  boot.kernelModules = [ "kvm-amd" ];

  fileSystems."/" = {
    device = "/dev/disk/by-uuid/6a2a0c0e-53a5-4c0c-8a4b-2f6f6b4f2b51";
    fsType = "ext4";
  };

  boot.loader.grub = {
    enable = true;
    device = "/dev/disk/by-id/ata-SATA_SSD_16GB_20091800331";
  };

  hardware.cpu.amd.updateMicrocode = lib.mkDefault config.hardware.enableRedistributableFirmware;
}
