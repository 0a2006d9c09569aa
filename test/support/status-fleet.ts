import { createHash } from "node:crypto";
import { mkdir, readdir, rm, utimes, writeFile } from "node:fs/promises";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { stringify } from "yaml";
import type { Manifest } from "../../src/release/manifest.ts";
import { succeed } from "./programs.ts";
import { channelHost } from "./release.ts";
import { World, type WorldOptions } from "./world.ts";

/** A store path of that name, and another one for each `seed`. */
export function systemOf(host: string, seed: string): string {
  const hash = createHash("sha256").update(`${host} ${seed}`).digest("hex").replaceAll("e", "x").slice(0, 32);
  return `/nix/store/${hash}-nixos-system-${host}-26.05`;
}

/** Hosts with releases on a real server, that say whatever a test wants them to; without machines, and without Nix. */
export class StatusFleet implements AsyncDisposable {
  readonly world: World;
  /** The fleet's repository. */
  readonly dir: string;
  readonly #published = new Map<string, Manifest>();

  private constructor(world: World, dir: string) {
    this.world = world;
    this.dir = dir;
  }

  /** `settings`: more of fleet.yaml. */
  static async make(hosts: readonly string[], settings: object = {}, options: WorldOptions = {}): Promise<StatusFleet> {
    const world = await World.make({ ...options, hosts });
    const dir = path.join(world.dir, "fleet");
    const entries: Record<string, object> = {};
    for (const host of hosts) {
      await mkdir(path.join(dir, "hosts", host), { recursive: true });
      await writeFile(path.join(dir, "hosts", host, "configuration.nix"), "{ }\n");
      entries[host] = { key: world.hostKeys[host]?.publicKey };
    }
    const { serverSettings: server, signingKey } = world;
    const yaml = stringify({ server, signers: [signingKey.publicKey], hosts: entries, ...settings }, { lineWidth: 0 });
    await writeFile(path.join(dir, "fleet.yaml"), yaml);
    await succeed("git", ["init", "-q", "-b", "main"], { cwd: dir });
    await succeed("git", ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "add", "-A"], { cwd: dir });
    return new StatusFleet(world, dir);
  }

  /** What a command is run with. */
  get options() {
    return { cwd: this.dir, env: { BENTO_SSH_KEY_FILE: this.world.publisherKey.file } };
  }

  reports(host: string, ...place: string[]): string {
    return path.join(this.world.server.chroot(host), "reports", ...place);
  }

  /** Publishes a release for a host, and gives its manifest. */
  async publish(host: string, changes: Partial<Manifest> = {}): Promise<Manifest> {
    const manifest = { toplevel: systemOf(host, "new"), ...changes };
    const release = await this.world.publish(host, channelHost(host), { evaluate: false, manifest });
    this.#published.set(host, release.manifest);
    return release.manifest;
  }

  /** Its heartbeat, by default that of a host that runs what is published. `age` in seconds. */
  async beat(host: string, changes: object = {}, age = 0): Promise<void> {
    const manifest = this.#published.get(host);
    const system = manifest?.toplevel ?? systemOf(host, "old");
    const said = { running: system, booted: system, profile: system, sequence: manifest?.sequence ?? null };
    const beat = { version: 1, host, agent: "0.1.0", ...said, suspended: false, reboot: false, ...changes };
    await this.put(host, "heartbeat.json", JSON.stringify(beat), age);
  }

  /** The report of an attempt at what is published, and its log; the newest one. `age` in seconds. */
  async report(host: string, outcome: string, changes: object = {}, log?: string, age = 0): Promise<void> {
    const manifest = this.#published.get(host);
    const finished = Date.now() - age * 1000;
    const report = {
      version: 1,
      host,
      sequence: manifest?.sequence ?? null,
      digest: manifest?.digest ?? null,
      commit: manifest?.commit ?? null,
      outcome,
      reason: null,
      from: systemOf(host, "old"),
      to: manifest?.toplevel ?? null,
      started: new Date(finished - 95_000).toISOString(),
      finished: new Date(finished).toISOString(),
      agent: "0.1.0",
      ...changes,
    };
    const name = `${finished - 95_000}-${report.sequence ?? 0}`;
    const text = JSON.stringify(report);
    if (log !== undefined) await this.put(host, `${name}.log.gz`, gzipSync(log), age);
    await this.put(host, `${name}.json`, text, age);
    await this.put(host, "latest.json", text, age);
  }

  /** Puts a file among what a host says, as if that host had done it so many seconds ago. */
  async put(host: string, name: string, content: string | Buffer, age = 0): Promise<void> {
    const file = this.reports(host, name);
    await writeFile(file, content, { mode: 0o640 });
    const time = Date.now() / 1000 - age;
    await utimes(file, time, time);
  }

  /** Takes away all that a host said. */
  async silence(host: string): Promise<void> {
    for (const name of await readdir(this.reports(host))) {
      await rm(this.reports(host, name), { recursive: true, force: true });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.world[Symbol.asyncDispose]();
  }
}
