import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { type Exit, exec } from "../support/programs.ts";
import type { World } from "../support/world.ts";

// The scripts of the 2022 Bento name their places outright: /var/bento, /root/.ssh, /tmp, the system profile. So they run in
// a root of their own, which has the programs of this machine and nothing else of it.

/**
 * nixos-rebuild, of which NixOS alone has one: here the system is named by configuration.nix, is made without being built, and
 * can't be made when that says `broken`.
 */
const NIXOS_REBUILD = `#!/bin/sh
set -e
store=/nix/store/$(sha256sum < /var/bento/configuration.nix | cut -c1-32 | tr e x)-nixos-system-old-22.05
case " $* " in
  *" --rollback "*) exit 1 ;;
esac
echo "building $store"
if grep -q slow /var/bento/configuration.nix && [ "$1" = build ]; then
  touch /var/bento/building
  until [ -e /var/bento/building.done ]; do sleep 0.1; done
fi
if grep -q broken /var/bento/configuration.nix; then echo "error: broken"; exit 1; fi
mkdir -p "$store/bin"
printf '#!/bin/sh\\nexit 0\\n' > "$store/bin/switch-to-configuration"
chmod +x "$store/bin/switch-to-configuration"
case $1 in
  # A build takes longer than the second by which times of files are told apart.
  build) sleep 1; ln -sfn "$store" result ;;
  switch)
    ln -sfn "$store" /nix/var/nix/profiles/system
    # What a configuration can do to the network.
    if grep -q cut-off /var/bento/configuration.nix; then rm -f /root/.ssh/id_ed25519; fi
    ;;
esac
`;
const NIX_ENV = `#!/bin/sh
[ "$1 $3" = "--profile --set" ] && ln -sfn "$4" "$2"
`;

/** Makes what of / the scripts need, in a mount namespace of its own, and runs the rest of the arguments there. */
const ENTER = `
set -e
root=$1; shift
for place in /bin /dev /etc /lib* /proc /sbin /usr; do
  if [ -L "$place" ]; then [ -L "$root$place" ] || cp -a "$place" "$root$place"
  else mkdir -p "$root$place"; mount --rbind "$place" "$root$place"; fi
done
exec chroot "$root" "$@"
`;

/** What the old client calls, which believes any server. */
export const SFTP = "sftp -q -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR";

/** Where a host logs in, as sftp takes it. */
export function legacyLogin(world: World, host: string): string {
  return `${world.loginPrefix}${host}@${world.server.address}`;
}

/** The system that it came with. */
export const FACTORY = "/nix/store/00000000000000000000000000000000-nixos-system-old-21.11";

/** A machine that has the Bento of 2022. */
export class LegacyMachine {
  readonly #root: string;

  private constructor(root: string) {
    this.#root = root;
  }

  static async make(world: World, host: string): Promise<LegacyMachine> {
    const root = path.join(world.dir, `old-${host}`);
    const factory = FACTORY.slice(1);
    for (const dir of ["var/bento", "root/.ssh", "tmp", "opt/bin", `${factory}/bin`, "nix/var/nix/profiles"]) {
      await mkdir(path.join(root, dir), { recursive: true, mode: 0o700 });
    }
    const machine = new LegacyMachine(root);
    await machine.write("root/.ssh/id_ed25519", await readFile(world.hostKeys[host]?.file ?? "", "utf8"), 0o600);
    await machine.write("opt/bin/nixos-rebuild", NIXOS_REBUILD, 0o755);
    await machine.write("opt/bin/nix-env", NIX_ENV, 0o755);
    await machine.write(`${factory}/bin/switch-to-configuration`, "#!/bin/sh\nexit 0\n", 0o755);
    await machine.run(`ln -s ${FACTORY} /nix/var/nix/profiles/system`);
    return machine;
  }

  path(place: string): string {
    return path.join(this.#root, place);
  }

  read(place: string): Promise<string> {
    return readFile(this.path(place), "utf8");
  }

  async write(place: string, text: string, mode: number): Promise<void> {
    await writeFile(this.path(place), text, { mode });
  }

  /** Runs bash commands on it, as root. NixOS's /bin/sh is bash. */
  run(commands: string): Promise<Exit> {
    const env = { PATH: `/opt/bin:${process.env.PATH}`, HOME: "/root", GIT_CONFIG_GLOBAL: "/dev/null" };
    return exec(
      "unshare",
      ["--mount", "--propagation", "private", "sh", "-c", ENTER, "sh", this.#root, "bash", "-c", commands],
      {
        env,
      },
    );
  }
}
