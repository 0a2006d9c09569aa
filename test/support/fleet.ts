import { cp, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { stringify } from "yaml";
import { loadFleet } from "../../src/fleet/load.ts";
import { renderedFiles } from "../../src/fleet/rendered.ts";
import { packageRoot } from "../../src/platform/package.ts";
import { succeed } from "./programs.ts";
import type { PrivateStore } from "./store.ts";

const DEMO_FLEET = path.join(packageRoot(), "scripts/demo-fleet");

/** The demo's hosts: router without flakes, nas with a flake, and two laptops from one flake. */
export const DEMO_HOSTS = ["router", "nas", "laptop-anna", "laptop-ben"] as const;

const DEMO_ENTRIES: Record<string, object> = {
  "laptop-anna": { path: "hosts/laptops" },
  "laptop-ben": { path: "hosts/laptops" },
};

export interface FleetSettings {
  /** fleet.yaml's `server`. */
  server: object;
  signers: readonly string[];
  /** Public keys by host. */
  keys: Readonly<Record<string, string>>;
}

/** A fleet's git repository, as its administrator has it. */
export class FleetRepository {
  readonly dir: string;

  private constructor(dir: string) {
    this.dir = dir;
  }

  /** Makes a repository of scripts/demo-fleet, rendered and committed on `main`. */
  static async make(dir: string, store: PrivateStore, settings: FleetSettings): Promise<FleetRepository> {
    await mkdir(dir);
    for (const place of ["hosts", "utils"]) {
      await cp(path.join(DEMO_FLEET, place), path.join(dir, place), { recursive: true, verbatimSymlinks: true });
    }
    for (const host of await readdir(path.join(dir, "hosts"))) {
      const flake = path.join(dir, "hosts", host, "flake.nix");
      const text = await readFile(flake, "utf8").catch(() => undefined);
      if (text === undefined) continue;
      await writeFile(flake, text.replaceAll("@nixpkgs@", store.nixpkgs).replaceAll("@system@", store.system));
      await succeed("nix", ["flake", "lock", `path:${path.dirname(flake)}`], { env: store.env });
    }
    const hosts = Object.fromEntries(
      DEMO_HOSTS.map((name) => [name, { ...DEMO_ENTRIES[name], key: settings.keys[name] }]),
    );
    const { server, signers } = settings;
    await writeFile(path.join(dir, "fleet.yaml"), stringify({ server, signers, hosts }, { lineWidth: 0 }));
    const fleet = new FleetRepository(dir);
    await fleet.render();
    await fleet.git("init", "-q", "-b", "main");
    await fleet.git("config", "user.name", "Ada");
    await fleet.git("config", "user.email", "ada@example.org");
    await fleet.commit("A fleet of four");
    return fleet;
  }

  git(...args: string[]): Promise<string> {
    return succeed("git", args, { cwd: this.dir });
  }

  /** Writes what is made from fleet.yaml. */
  async render(): Promise<void> {
    for (const [file, text] of renderedFiles(await loadFleet(this.dir))) {
      await mkdir(path.dirname(path.join(this.dir, file)), { recursive: true });
      await writeFile(path.join(this.dir, file), text);
    }
  }

  read(file: string): Promise<string> {
    return readFile(path.join(this.dir, file), "utf8");
  }

  async write(file: string, text: string): Promise<void> {
    await mkdir(path.dirname(path.join(this.dir, file)), { recursive: true });
    await writeFile(path.join(this.dir, file), text);
  }

  /** Replaces text in a file; it must be there. */
  async edit(file: string, from: string, to: string): Promise<void> {
    const text = await this.read(file);
    if (!text.includes(from)) throw new Error(`${file} has no '${from}'`);
    await this.write(file, text.replace(from, to));
  }

  /** Commits everything, and gives the commit's id. */
  async commit(subject: string): Promise<string> {
    await this.git("add", "-A");
    await this.git("commit", "-q", "-m", subject);
    return this.head();
  }

  /** The commit that is checked out. */
  head(): Promise<string> {
    return this.git("rev-parse", "HEAD");
  }

  /** Takes it back to a commit, without anything that git doesn't track. */
  async reset(commit: string): Promise<void> {
    await this.git("reset", "-q", "--hard", commit);
    await this.git("clean", "-fdq");
  }
}
