# Where this machine's boot loader keeps kernels and initrds: what must have room for a new one, and be on its disk before success
# is reported; and where it is itself, which must be there by then, too.
{ config, lib, ... }:

let
  cfg = config.services.bento;
  loader = config.boot.loader or { };

  esp = loader.efi.efiSysMountPoint or "/boot";
  systemdBoot = loader.systemd-boot or { };
  limine = loader.limine or { };
  extlinux = loader.generic-extlinux-compatible or { };
  pathsOf = mirrors: map (mirror: mirror.path) mirrors;

  places =
    # lanzaboote takes systemd-boot's place, and keeps to the EFI system partition.
    if config.boot.lanzaboote.enable or false then [ esp ]
    else if systemdBoot.enable or false then
      [ (if systemdBoot.xbootldrMountPoint or null != null then systemdBoot.xbootldrMountPoint else esp) ]
    else if limine.enable or false then [ (if limine.efiSupport or true then esp else "/boot") ]
    else if extlinux.enable or false then pathsOf (extlinux.mirroredBoots or [ { path = "/boot"; } ])
    # Kernels are in /boot, whatever mounts that.
    else if loader.grub.enable or false then pathsOf (loader.grub.mirroredBoots or [ ])
    else [ ];

  # Written when GRUB itself changes, and when systemd-boot is told what boots: with room for no kernel.
  espOf = mirror: if mirror.efiSysMountPoint or null != null then mirror.efiSysMountPoint else esp;
  itself =
    if loader.grub.enable or false && loader.grub.efiSupport or false then map espOf (loader.grub.mirroredBoots or [ ])
    else if systemdBoot.enable or false then [ esp ]
    else [ ];
in
{
  config = lib.mkIf cfg.enable {
    services.bento.environment = {
      BENTO_BOOT = lib.mkDefault (lib.concatStringsSep " " (lib.unique (if places == [ ] then [ "/boot" ] else places)));
      BENTO_BOOT_LOADER = lib.mkDefault (lib.concatStringsSep " " (lib.subtractLists places (lib.unique itself)));
    };
  };
}
