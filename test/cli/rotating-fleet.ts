import { readFile } from "node:fs/promises";
import path from "node:path";
import { expect } from "vitest";
import { parse, stringify } from "yaml";
import type { DeployDocument, StatusDocument } from "../../src/results.ts";
import type { FleetRepository } from "../support/fleet.ts";
import type { Machine } from "../support/machine.ts";
import { start } from "../support/programs.ts";
import type { World } from "../support/world.ts";
import { bento, bentoJson } from "./bento.ts";

/** What these tests change in fleet.yaml. */
export interface Content {
  server: { publishers: string[]; hostKeys: string[] };
  signers: string[];
  administrators: string[];
  substituters: { url: string; key: string }[];
  git?: { remote: string; hostKeys: string[] };
  hosts: Record<string, { key: string }>;
}

/** The hosts that take part. */
export const HOSTS = "router,laptop-anna";

/** A fleet whose keys change, with agents that believe what their running configuration says, and nothing else. */
export class RotatingFleet {
  readonly world: World;
  readonly fleet: FleetRepository;
  readonly router: Machine;
  readonly anna: Machine;
  /** The files of the keys that a deploy has; of git's none, at first. */
  readonly keys: { publisher: string; signing: string; git?: string | undefined };
  #edits = 0;

  private constructor(world: World, fleet: FleetRepository, router: Machine, anna: Machine) {
    this.world = world;
    this.fleet = fleet;
    this.router = router;
    this.anna = anna;
    this.keys = { publisher: world.publisherKey.file, signing: world.signingKey.file };
  }

  static async make(world: World, fleet: FleetRepository): Promise<RotatingFleet> {
    const [router, anna] = [await world.machine("router"), await world.machine("laptop-anna")];
    // What services.bento.configFile does: the settings are a part of the system.
    await fleet.edit(
      "utils/common.nix",
      '  environment.etc."motd"',
      '  environment.etc."bento.json" = builtins.readFile ./bento.json;\n  environment.etc."motd"',
    );
    await fleet.commit("Settings that come with the system");
    const rotating = new RotatingFleet(world, fleet, router, anna);
    await rotating.deploy();
    expect(await rotating.upgrade(router)).toBe("success");
    expect(await rotating.upgrade(anna)).toBe("success");
    return rotating;
  }

  /** How the administrator runs a command. */
  get options() {
    const { publisher, signing, git } = this.keys;
    const env = { BENTO_SSH_KEY_FILE: publisher, BENTO_SIGNING_KEY_FILE: signing, BENTO_GIT_SSH_KEY_FILE: git };
    return { cwd: this.fleet.dir, env };
  }

  /** Changes fleet.yaml, renders, and commits. */
  async change(subject: string, edit: (content: Content) => void): Promise<void> {
    const content: Content = parse(await this.fleet.read("fleet.yaml"));
    edit(content);
    await this.fleet.write("fleet.yaml", stringify(content, { lineWidth: 0 }));
    const rendered = await bento(["render"], this.options);
    expect(rendered.status, rendered.stderr).toBe(0);
    await this.fleet.commit(subject);
  }

  setUpServer(): Promise<void> {
    return this.world.server.provisionFrom(path.join(this.fleet.dir, "fleet.json"));
  }

  async deploy(): Promise<DeployDocument> {
    const { status, stderr, stdout } = await this.tryDeploy("--json");
    expect(status, stderr + stdout).toBe(0);
    return JSON.parse(stdout);
  }

  tryDeploy(...args: string[]) {
    return bento(["deploy", "--hosts", HOSTS, ...args], this.options);
  }

  /** A commit that changes every host's system. */
  async edit(): Promise<void> {
    this.#edits += 1;
    await this.fleet.edit("utils/common.nix", '"motd" = "', `"motd" = "${this.#edits} `);
    await this.fleet.commit(`Change ${this.#edits}`);
  }

  /** One attempt; the outcome that it reports, or what the agent says where it has come to nothing. */
  async upgrade(machine: Machine, env: Record<string, string> = {}): Promise<unknown> {
    const before = await machine.state("last.json");
    const { stderr } = await machine.agent({ BENTO_BACKOFF: "0", ...env });
    const last = await machine.state("last.json");
    return last?.started !== before?.started ? last?.outcome : stderr.trim().split("\n").at(-1);
  }

  async states(): Promise<Record<string, string>> {
    const { document } = await bentoJson<StatusDocument>(["status", "--hosts", HOSTS], this.options);
    return Object.fromEntries(document.hosts.map(({ name, state }) => [name, state]));
  }

  /** `bento bootstrap HOST | ssh root@HOST sh`: it brings its own settings. */
  async bootstrap(host: string, machine: Machine): Promise<void> {
    const { stdout: input } = await bento(["bootstrap", host], this.options);
    const { status, stderr } = await start("sh", [], { env: { ...machine.env, BENTO_CONFIG: undefined }, input }).done;
    expect(status, stderr).toBe(0);
  }

  /** `bento keygen`, in a directory of its own. */
  async keygen(name: string, ...args: string[]): Promise<string> {
    const dir = path.join(this.world.dir, `keys-${name}`);
    const { status, stderr } = await bento(["keygen", dir, ...args], this.options);
    expect(status, stderr).toBe(0);
    return dir;
  }
}

/** The public half in a file. */
export async function publicHalf(file: string): Promise<string> {
  return (await readFile(file, "utf8")).trim();
}
