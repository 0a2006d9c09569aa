import { randomUUID } from "node:crypto";
import { existsSync, readdirSync } from "node:fs";
import { chmod, cp, mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { all } from "./long.ts";
import { MachineFiles } from "./machine-files.ts";
import { succeed } from "./programs.ts";

/**
 * In BENTO_TEST_KERNELS a directory with a Debian's files, and at least two kernels in it:
 *
 *   debootstrap --variant=minbase --include=age,busybox-static,dbus,git,grub-pc-bin,iproute2,jq,kexec-tools,kmod,nix-bin,\
 *     openssh-client,procps,systemd-boot-efi,systemd-boot-tools,systemd-sysv,linux-image-amd64,linux-image-cloud-amd64 trixie DIR
 */
const debian = process.env.BENTO_TEST_KERNELS ?? "";
const OVMF = "/usr/share/OVMF";

/** What tests of virtual machines need, and isn't here. */
export const missing: readonly string[] = [
  ...(all ? [] : ["--all"]),
  ...(existsSync(path.join(process.env.BENTO_TEST_NIXPKGS ?? "", "nixos/default.nix"))
    ? []
    : ["BENTO_TEST_NIXPKGS=/path/to/nixpkgs"]),
  ...(existsSync("/usr/bin/qemu-system-x86_64") ? [] : ["qemu-system-x86"]),
  ...(existsSync(path.join(debian, "boot")) ? [] : ["BENTO_TEST_KERNELS=/path/to/a/Debian's/root with two kernels"]),
];

/** What is needed for those that start by EFI, too. */
export const missingForEfi: readonly string[] = [
  ...missing,
  ...(existsSync(`${OVMF}/OVMF_CODE_4M.fd`) ? [] : ["ovmf"]),
  ...(existsSync("/usr/bin/mcopy") ? [] : ["mtools"]),
  ...(existsSync("/usr/sbin/mkfs.vfat") ? [] : ["dosfstools"]),
  ...(existsSync("/usr/sbin/sfdisk") ? [] : ["fdisk"]),
  ...(existsSync(path.join(debian, "usr/bin/bootctl")) ? [] : ["systemd-boot-tools in BENTO_TEST_KERNELS"]),
];

/** The disks of a machine, as qemu takes them: what its firmware is, the one that this starts, and its own. */
export interface VirtualDisks {
  firmware: readonly string[];
  loader: string;
  root: string;
}

/** The versions of its kernels: what `uname -r` says in them. */
export function kernelVersions(): string[] {
  return readdirSync(path.join(debian, "lib/modules")).sort();
}

/** What a first stage has: for the disk, the network, and a machine with EFI. */
const DRIVERS = [
  "virtio_pci",
  "virtio_blk",
  "ext4",
  "virtio_net",
  "vfat",
  "nls_cp437",
  "nls_ascii",
  "efivarfs",
] as const;

/** What of that it can be made to lack. */
export type Driver = (typeof DRIVERS)[number];

/** What of a Debian's files no machine needs that gets its kernels from its systems. */
const EXPENDABLE = [
  ...[
    "boot",
    "usr/lib/modules",
    "usr/lib/grub",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
  ],
  ...["usr/lib/systemd/system-generators", "etc/systemd/system", "var/cache/apt", "var/lib/apt/lists"],
];

/** What its systemd is to start by itself. */
const WANTED = ["dbus", "systemd-journald", "systemd-logind"];

/**
 * The disk of a machine that is to boot: as on a NixOS that was installed by hand, all of it is one ext4, and what starts it is
 * before that.
 */
export class VirtualDisk extends MachineFiles implements AsyncDisposable {
  readonly #dir: string;

  private constructor(dir: string) {
    super();
    this.#dir = dir;
  }

  static async make(dir: string): Promise<VirtualDisk> {
    for (const place of ["upper", "work", "root"]) await mkdir(path.join(dir, place), { recursive: true });
    const layers = `lowerdir=${debian},upperdir=${dir}/upper,workdir=${dir}/work`;
    await succeed("mount", ["-t", "overlay", "bento-test", "-o", layers, path.join(dir, "root")]);
    const disk = new VirtualDisk(dir);
    for (const place of EXPENDABLE) await rm(disk.path(place), { recursive: true, force: true });
    // An emulated processor takes seconds for each.
    const wants = `cd "$0" && find -path '*.wants/*' ${WANTED.map((name) => `! -name '${name}*'`).join(" ")} -delete`;
    await succeed("sh", ["-c", wants, disk.path("/usr/lib/systemd/system")]);
    for (const place of ["/boot/grub", "/nix/store"]) await mkdir(disk.path(place), { recursive: true });
    await disk.write("/etc/machine-id", `${randomUUID().replaceAll("-", "")}\n`);
    // An emulated processor may be slower than systemd thinks that anything can be.
    await disk.write("/etc/systemd/system.conf.d/patience.conf", "[Manager]\nDefaultTimeoutStartSec=900\n");
    return disk;
  }

  path(file: string): string {
    return path.join(this.#dir, "root", file);
  }

  /** By unit, the targets that want it: the links that NixOS makes beside its units. */
  async want(wantedBy: Readonly<Record<string, readonly string[]>>): Promise<void> {
    for (const [unit, targets] of Object.entries(wantedBy)) {
      for (const target of targets) {
        const place = this.path(`/etc/systemd/system/${target}.wants`);
        await mkdir(place, { recursive: true });
        await symlink(`../${unit}`, path.join(place, unit));
      }
    }
  }

  /** Puts a kernel at `place`, with a first stage that mounts the disk, and that may lack a driver. */
  async addKernel(place: string, version: string, lacks?: Driver): Promise<void> {
    const stage = path.join(this.#dir, "stage");
    for (const dir of ["bin", "modules", "root"]) await mkdir(path.join(stage, dir), { recursive: true });
    await cp(path.join(debian, "usr/bin/busybox"), path.join(stage, "bin/busybox"));
    const order: string[] = [];
    for (const name of DRIVERS.filter((one) => one !== lacks)) {
      const modprobe = ["modprobe", "--set-version", version, "--show-depends", name];
      for (const [, file = ""] of (await succeed("chroot", [debian, ...modprobe])).matchAll(/^insmod (\S+)/gm)) {
        const module = path.basename(file).replace(/\.xz$/, "");
        if (order.includes(module)) continue;
        order.push(module);
        await succeed("sh", [
          "-c",
          `case $0 in *.xz) xz -dc "$0" ;; *) cat "$0" ;; esac > "$1"`,
          path.join(debian, file),
          path.join(stage, "modules", module),
        ]);
      }
    }
    await writeFile(path.join(stage, "init"), firstStage(order));
    await chmod(path.join(stage, "init"), 0o755);
    await mkdir(this.path(place), { recursive: true });
    const pack = `cd "$0" && find . | bin/busybox cpio -o -H newc 2> /dev/null | gzip -1 > "$1"`;
    await succeed("sh", ["-c", pack, stage, this.path(`${place}/initrd`)]);
    await rm(stage, { recursive: true });
    await cp(path.join(debian, `boot/vmlinuz-${version}`), this.path(`${place}/linux`));
    await this.write(`${place}/kernel-modules`, `${version}\n`);
  }

  /** Runs a script on this machine's own processor, with the disk's programs and files. */
  async run(script: string): Promise<string> {
    const mounts = ["proc", "dev"].map((name) => `mount --rbind /${name} "$0/${name}"`).join(" && ");
    const enter = `${mounts} && exec chroot "$0" env -i HOME=/root PATH=/usr/sbin:/usr/bin bash -ec "$1"`;
    return succeed("unshare", ["--mount", "sh", "-c", enter, this.path("/"), script]);
  }

  /** Writes it, and before it GRUB's own disk, which a BIOS starts. */
  async sealWithGrub(): Promise<VirtualDisks> {
    const grub = path.join(this.#dir, "grub.img");
    const image = "/usr/lib/grub/i386-pc";
    const modules = ["biosdisk", "ext2", "linux", "normal", "configfile", "serial", "terminal"];
    const core = path.join(this.#dir, "core.img");
    const make = ["grub-mkimage", "-O", "i386-pc", "-d", image, "-p", "(hd1)/boot/grub", ...modules];
    await succeed("sh", ["-c", 'core=$1; shift; exec chroot "$0" "$@" > "$core"', debian, core, ...make]);
    await writeFile(grub, Buffer.concat([await readFile(path.join(debian, image, "boot.img")), await readFile(core)]));
    await succeed("truncate", ["--size", "1M", grub]);
    return { firmware: [], loader: `${grub},readonly=on`, root: await this.#seal() };
  }

  /** Writes it, and before it a disk with an EFI system partition, of what is in /efi and systemd-boot. */
  async sealWithSystemdBoot(): Promise<VirtualDisks> {
    const [partition, esp, variables] = ["partition", "esp.img", "variables"].map((name) => path.join(this.#dir, name));
    const [efi, loader] = [this.path("/efi"), "usr/lib/systemd/boot/efi/systemd-bootx64.efi"];
    await mkdir(path.join(efi, "EFI/BOOT"), { recursive: true });
    await cp(path.join(debian, loader), path.join(efi, "EFI/BOOT/BOOTX64.EFI"));
    const make = `truncate --size 200M "$1"
      mkfs.vfat -F 32 "$1"
      mcopy -s -i "$1" "$0"/* ::
      truncate --size 202M "$2"
      printf 'label: gpt\nstart=1MiB, size=200MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\n' | sfdisk --quiet "$2"
      dd if="$1" of="$2" bs=1M seek=1 conv=notrunc,sparse
      rm -r "$1" "$0"/*
      cp ${OVMF}/OVMF_VARS_4M.fd "$3"`;
    await succeed("sh", ["-ec", make, efi, partition, esp, variables] as string[]);
    const flash = [`${OVMF}/OVMF_CODE_4M.fd,readonly=on`, variables];
    const firmware = flash.flatMap((file) => ["-drive", `if=pflash,format=raw,file=${file}`]);
    return { firmware, loader: esp as string, root: await this.#seal() };
  }

  async #seal(): Promise<string> {
    const disk = path.join(this.#dir, "disk.img");
    const fast = "lazy_itable_init=0,lazy_journal_init=0";
    await succeed("mke2fs", ["-q", "-t", "ext4", "-E", fast, "-d", this.path("/"), disk, "3G"]);
    return disk;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await succeed("umount", ["--lazy", this.path("/")]);
  }
}

/** As NixOS's first stage: drivers, the disk, and then what `init=` names. */
function firstStage(modules: readonly string[]): string {
  return `#!/bin/busybox sh
set -e
/bin/busybox mkdir -p /proc /sys /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox echo "<2>first stage of $(/bin/busybox uname -r)" > /dev/kmsg
for module in ${modules.join(" ")}; do /bin/busybox insmod /modules/$module 2> /dev/null || true; done
for word in $(/bin/busybox cat /proc/cmdline); do
  case $word in init=*) init=\${word#init=} ;; esac
done
tries=0
until [ -b /dev/vdb ]; do
  tries=$((tries + 1))
  [ $tries -lt 50 ]
  /bin/busybox sleep 0.1
done
/bin/busybox mount -t ext4 /dev/vdb /root
for place in proc sys dev; do /bin/busybox mount --move /$place /root/$place; done
/bin/busybox mount -t tmpfs -o mode=0755 run /root/run
exec /bin/busybox switch_root /root "$init"
`;
}
