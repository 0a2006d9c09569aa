import { generateKeyPairSync } from "node:crypto";
import { cp, mkdir, rm, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { stringify } from "yaml";
import { loadFleet } from "../../src/fleet/load.ts";
import { renderedFiles } from "../../src/fleet/rendered.ts";
import { succeed } from "../../test/support/programs.ts";

/** Files of a host that it shares with all others; one of them is utils/bento.json. */
const SHARED = 5;

export interface FleetSettings {
  /** fleet.yaml's `server`. */
  server: object;
  signers: readonly string[];
  /** Public keys by host. */
  keys: Readonly<Record<string, string>>;
  /** Files of each host, the shared ones included. */
  files: number;
}

/** A fleet's repository, and beside it the same hosts' trees as they are shipped, for programs that know nothing of fleets. */
export class BenchFleet {
  readonly dir: string;
  /** A directory for each host, with the symlink to utils replaced by what it points to. */
  readonly trees: string;
  readonly hosts: readonly string[];
  #changes = 0;

  private constructor(dir: string, hosts: readonly string[]) {
    this.dir = path.join(dir, "fleet");
    this.trees = path.join(dir, "trees");
    this.hosts = hosts;
  }

  static async make(dir: string, { server, signers, keys, files }: FleetSettings): Promise<BenchFleet> {
    const fleet = new BenchFleet(dir, Object.keys(keys));
    for (const place of [fleet.dir, fleet.trees]) await rm(place, { recursive: true, force: true });
    await mkdir(path.join(fleet.dir, "utils"), { recursive: true });
    for (let n = 1; n < SHARED; n++) await writeFile(path.join(fleet.dir, `utils/shared-${n}.nix`), module(n));
    for (const [index, host] of fleet.hosts.entries()) {
      const tree = path.join(fleet.dir, "hosts", host);
      await mkdir(path.join(tree, "modules"), { recursive: true });
      await symlink("../../utils/", path.join(tree, "utils"));
      for (let n = SHARED; n < files; n++) {
        const file = n === SHARED ? "configuration.nix" : `modules/service-${n}.nix`;
        await writeFile(path.join(tree, file), module(1000 * (index + 1) + n));
      }
    }
    const hosts = Object.fromEntries(Object.entries(keys).map(([host, key]) => [host, { key }]));
    await writeFile(path.join(fleet.dir, "fleet.yaml"), stringify({ server, signers, hosts }, { lineWidth: 0 }));
    for (const [file, text] of renderedFiles(await loadFleet(fleet.dir))) {
      await writeFile(path.join(fleet.dir, file), text);
    }
    // As the programs see it that copy trees: links are what they point to.
    await succeed("cp", ["-rL", path.join(fleet.dir, "hosts"), fleet.trees]);
    await succeed("git", ["init", "-q", "-b", "main"], { cwd: fleet.dir });
    await fleet.#commit("A fleet");
    return fleet;
  }

  /** Changes one file of the first host. */
  async changeOne(): Promise<void> {
    const [host = ""] = this.hosts;
    await this.#change(`hosts/${host}/modules/service-${SHARED + 1}.nix`, [
      `${host}/modules/service-${SHARED + 1}.nix`,
    ]);
  }

  /** Changes one file that all hosts have. */
  async changeShared(): Promise<void> {
    await this.#change(
      "utils/shared-1.nix",
      this.hosts.map((host) => `${host}/utils/shared-1.nix`),
    );
  }

  async #change(source: string, copies: readonly string[]): Promise<void> {
    this.#changes += 1;
    const file = path.join(this.dir, source);
    await writeFile(file, module(-this.#changes));
    for (const copy of copies) await cp(file, path.join(this.trees, copy));
    await this.#commit(`Change ${source}`);
  }

  async #commit(subject: string): Promise<void> {
    await succeed("git", ["add", "-A"], { cwd: this.dir });
    const author = ["-c", "user.name=bench", "-c", "user.email=bench@example.org"];
    await succeed("git", [...author, "-c", "gc.auto=0", "commit", "-q", "-m", subject], { cwd: this.dir });
  }
}

/** Public keys of hosts that nobody logs in as. */
export function publicKey(): string {
  const { publicKey } = generateKeyPairSync("ed25519");
  const body = Buffer.from(publicKey.export({ format: "jwk" }).x ?? "", "base64url");
  const field = (bytes: Buffer) => Buffer.concat([Buffer.from([0, 0, 0, bytes.length]), bytes]);
  return `ssh-ed25519 ${Buffer.concat([field(Buffer.from("ssh-ed25519")), field(body)]).toString("base64")}`;
}

const SERVICES = "nginx postgresql redis prometheus grafana borgbackup tailscale syncthing forgejo vaultwarden".split(
  " ",
);
const OPTIONS = "enable openFirewall package dataDir listenAddress settings extraConfig user group after".split(" ");

/** Two kilobytes of Nix that says something else for each `seed`, and packs about as well as a configuration does. */
export function module(seed: number): string {
  let state = seed * 2654435761 + 40503;
  const random = (below: number) => {
    // xorshift32
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
  const one = (of: readonly string[]) => of[random(of.length)];
  const lines = ["{ config, lib, pkgs, ... }:", "{"];
  for (let size = 0; size < 2000; size += lines.at(-1)?.length ?? 0) {
    const name = `${one(SERVICES)}-${random(0x1000000).toString(16)}`;
    lines.push(
      [
        `  services.${one(SERVICES)}.${one(OPTIONS)} = lib.mkDefault "${name}";`,
        `  networking.firewall.allowedTCPPorts = [ ${random(65536)} ];`,
        `  systemd.services.${name}.serviceConfig.ExecStart = "\${pkgs.${one(SERVICES)}}/bin/${one(SERVICES)} --port ${random(65536)}";`,
        `  users.users.${name} = { isSystemUser = true; uid = ${random(65536)}; home = "/var/lib/${name}"; };`,
        `  # ${one(SERVICES)} needs this until ${one(OPTIONS)} is set for ${name}.`,
      ][random(5)] ?? "",
    );
  }
  return `${lines.join("\n")}\n}\n`;
}
