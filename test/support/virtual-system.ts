import { agentPackage, type Module } from "./booted-module.ts";
import { GATEWAY, PORTS } from "./virtual.ts";

/** What a machine that is emulated has as its system, for the tiny nixpkgs. */
export interface VirtualSystem {
  host: string;
  module: Module;
  /** What starts it. */
  loader: "grub" | "systemd-boot";
  /** Where its kernel is. */
  kernel: string;
  /** What its activation does after it has brought the network up. */
  activation: string;
}

/** Its second stage, as NixOS's: it activates the system, and then systemd takes its place as the first process. */
const INIT = `export PATH=/usr/sbin:/usr/bin HOME=/root MACHINE=/
system=\${0%/init}
echo "<2>second stage of $system" > /dev/kmsg
if [ -d /sys/firmware/efi ]; then
  mount -t vfat /dev/vda1 /efi
  mount -t efivarfs efivarfs /sys/firmware/efi/efivars
fi
"$system/activate"
ln -sfn "$system" /run/booted-system
exec /lib/systemd/systemd
`;

/** As NixOS's install-grub.pl does where /boot is no file system of its own: kernels stay in the store. */
const GRUB = `entry() {
  system=$(readlink -f "$1")
  echo "menuentry '$1' {"
  echo "  linux $(readlink -f "$system/kernel") $(cat "$system/kernel-params") init=$system/init"
  echo "  initrd $(readlink -f "$system/initrd")"
  echo "}"
}
{
  printf 'serial\\nterminal_output serial\\nset default=0\\nset timeout=0\\n'
  entry "$out"
  for link in $(ls -d /nix/var/nix/profiles/system-*-link | sort -rV); do entry "$link"; done
} > /boot/grub/grub.cfg.tmp
mv /boot/grub/grub.cfg.tmp /boot/grub/grub.cfg
`;

/** As NixOS's systemd-boot-builder.py: kernels are copied to the EFI system partition. */
const SYSTEMD_BOOT = `mkdir -p /efi/loader/entries /efi/EFI/nixos
copy() {
  file=/EFI/nixos/$(readlink -f "$1" | tr / -)
  [ -e "/efi$file" ] || { cp "$1" /efi/copy && mv /efi/copy "/efi$file"; }
  echo "$file"
}
for link in /nix/var/nix/profiles/system-*-link; do
  system=$(readlink -f "$link")
  number=\${link%-link}
  number=\${number##*-}
  {
    printf 'title NixOS\nversion Generation %s\n' "$number"
    printf 'linux %s\ninitrd %s\n' "$(copy "$system/kernel")" "$(copy "$system/initrd")"
    printf 'options init=%s/init %s\n' "$system" "$(cat "$system/kernel-params")"
  } > /efi/new
  mv /efi/new "/efi/loader/entries/nixos-generation-$number.conf"
  [ "$system" != "$out" ] || default=$number
done
printf 'timeout 0\ndefault nixos-generation-%s.conf\n' "$default" > /efi/new
mv /efi/new /efi/loader/loader.conf
`;

/** What systemd's and kexec's packages have in NixOS, beside what is in /usr/bin. */
const PROGRAMS = `(derivation {
    name = "programs";
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" "PATH=/usr/bin; mkdir -p $out/bin && ln -s /usr/sbin/kexec /usr/sbin/shutdown $out/bin/" ];
  })`;

export function virtualSystem({ host, module, loader, kernel, activation }: VirtualSystem): string {
  const text = (value: string) => JSON.stringify(value).replaceAll("${", "\\${");
  const units = { ...module.units, ...PORTS };
  const etc = Object.entries(units).map(([name, unit]) => `"systemd/system/${name}" = ${text(unit)};`);
  const activate = `ip address replace 10.0.2.15/24 dev eth0
ip link set eth0 up
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl start --no-block bento-upgrade.timer
fi
${activation}
`;
  return `{ ... }: {
    networking.hostName = "${host}";
    networking.gateway = "${GATEWAY}";
    services.bento.enable = true;
    boot.files = "${kernel}";
    boot.kernelParams = [ "console=ttyS0" "panic=3" "net.ifnames=0" "systemd.getty_auto=0" "systemd.show_status=0" ];
    environment.etc = { ${etc.join("\n")} };
    environment.systemPackages = [ ${agentPackage(module.command.path)} ${PROGRAMS} ];
    system.activationScript = ${text(activate)};
    system.bootScript = ${text(loader === "grub" ? GRUB : SYSTEMD_BOOT)};
    system.initScript = ${text(INIT)};
  }\n`;
}
