import { existsSync, readFileSync, readlinkSync } from "node:fs";
import { cp, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect } from "vitest";
import { loadFleet } from "../../src/fleet/load.ts";
import { renderedFiles } from "../../src/fleet/rendered.ts";
import { GitPublisher } from "../../src/publish/git.ts";
import { archivesOf } from "../../src/release/plan.ts";
import { type GitRepository, gitRepository } from "../platform/git.ts";
import { writeTree } from "../platform/scratch.ts";
import { comesToRest, PATIENCE, type Run, runsUntil } from "./cut-off.ts";
import { GitServer } from "./git-server.ts";
import type { Machine } from "./machine.ts";
import { encrypt } from "./secrets.ts";
import { World } from "./world.ts";

const HOST = "swept";
/** How releases come to the machine. */
export interface Way {
  name: string;
  env: Record<string, string>;
  /** Publishes a release directory, and gives the commit that its reports name. */
  publish(dir: string): Promise<string>;
}

/**
 * A machine that is cut off again and again, with numbered releases, each with a secret that is its number too; and what is
 * expected of it after that.
 */
export class Swept implements AsyncDisposable {
  readonly host = HOST;
  readonly world: World;
  readonly machine: Machine;
  readonly ways: Readonly<Record<"sftp" | "git" | "branch", Way>>;
  /** How many releases there were. */
  releases = 0;
  /** Whether each system brings an agent of its own, which is another one than that of the system before. */
  bringsAgent = false;
  readonly #resources: AsyncDisposableStack;

  private constructor(world: World, machine: Machine, ways: Swept["ways"], resources: AsyncDisposableStack) {
    this.world = world;
    this.machine = machine;
    this.ways = ways;
    this.#resources = resources;
  }

  static async make(): Promise<Swept> {
    await using resources = new AsyncDisposableStack();
    const world = resources.use(await World.make({ hosts: [HOST] }));
    const key = world.hostKeys[HOST]?.publicKey ?? "";
    const server = resources.use(
      await GitServer.make(path.join(world.dir, "git"), { write: [world.publisherKey.publicKey], read: [key] }),
    );
    const settings = { remote: server.remote, refs: "refs/heads/bento/{host}", hostKeys: [server.hostKey.publicKey] };
    const fleet = resources.use(
      await gitRepository({
        "fleet.yaml": `git: { remote: "${server.remote}" }\nhosts: { ${HOST}: { key: "${key}" } }\n`,
        [`hosts/${HOST}/configuration.nix`]: "",
      }),
    );
    const machine = await world.machine(HOST);
    await writeFile(machine.path("etc/bento.json"), world.agentSettings({ git: settings }));
    const ways = {
      sftp: overSftp(world),
      git: overGit(world, fleet, settings),
      branch: ofBranch(server, fleet),
    };
    return new Swept(world, machine, ways, resources.move());
  }

  /** The program of the agent, as the system that runs has it; undefined where it is this repository's. */
  get program(): string | undefined {
    const system = readlinkSync(this.machine.path("run/current-system"));
    if (!this.bringsAgent || !existsSync(`${system}/etc/number`)) return undefined;
    return this.#agents[Number(this.numberOf(system)) % 2];
  }

  /** Two copies of the agent. */
  get #agents(): readonly string[] {
    return ["even", "odd"].map((name) => path.join(this.world.dir, "agents", name, "bento-agent"));
  }

  /** From here on each system brings its own agent. */
  async bringAgents(): Promise<void> {
    for (const program of this.#agents)
      await cp(path.dirname(this.machine.agentFile), path.dirname(program), { recursive: true });
    this.bringsAgent = true;
  }

  /** A run of the agent, with what it is told beside `way`. */
  run(way: Way, env: Record<string, string> = {}, verb?: readonly string[]): Run {
    const { machine, program } = this;
    return {
      machine,
      env: { ...PATIENCE, ...way.env, ...env },
      ...(verb ? { verb } : {}),
      ...(program ? { program } : {}),
    };
  }

  /** The agent's run from its beginning to its end. */
  async agent(way: Way, env: Record<string, string> = {}, verb?: readonly string[]) {
    const run = this.run(way, env, verb);
    return this.machine.agent(run.env, run.verb, run.program);
  }

  /**
   * The next release, published; its number is in its system, and its secret. `definitions` are Nix, beside that. `system` is
   * the number of its system, where that isn't its own: only its secret is another then.
   */
  async publish(way: Way, definitions = "", system?: number): Promise<string> {
    this.releases += 1;
    const dir = path.join(this.world.dir, `numbered-${this.releases}`);
    await mkdir(path.join(dir, "tree"), { recursive: true });
    const declared = JSON.stringify({ number: { owner: "nobody", group: "root", mode: "0400", restartUnits: [] } });
    const text = `{ ... }: {
    networking.hostName = "${HOST}";
    environment.etc."number" = "${system ?? this.releases}";
    environment.etc."bento-secrets.json" = ''${declared}'';
    ${definitions}
  }\n`;
    await writeFile(path.join(dir, "tree/configuration.nix"), text);
    const key = this.world.hostKeys[HOST]?.publicKey ?? "";
    await encrypt(String(this.releases), key, path.join(dir, "secrets/number.age"));
    return way.publish(dir);
  }

  /** The number of the system that runs, as its activation has left it in /etc. */
  number = () => readFileSync(this.machine.path("etc/number"), "utf8");
  secret = () => readFileSync(this.machine.path("run/bento-secrets/number"), "utf8");

  /** The number that a system has in itself. */
  numberOf = (system: string) => readFileSync(`${system}/etc/number`, "utf8");

  /** The programs of the machine that run. */
  running(): number[] {
    return this.machine.processes();
  }

  comesToRest = () => comesToRest(this.machine);

  /** What was reported of a commit, oldest first. */
  async reportsOf(commit: string): Promise<Record<string, unknown>[]> {
    return [...(await this.world.reports(HOST)).values()].filter((report) => report.commit === commit);
  }

  async outcomesOf(commit: string): Promise<unknown[]> {
    return (await this.reportsOf(commit)).map(({ outcome }) => outcome);
  }

  /** The power is back: what boots is a whole system, and has its secret, which is its number unless told otherwise. */
  async boots(secrets?: readonly number[]): Promise<void> {
    const { machine } = this;
    await machine.restart();
    const system = await machine.running();
    expect(existsSync(`${system}/bin/switch-to-configuration`), `${system} boots`).toBe(true);
    if (!existsSync(`${system}/etc/bento-secrets.json`)) return;
    const { status, stderr } = await machine.agent(PATIENCE, ["secrets"], this.program);
    expect(status, stderr).toBe(0);
    const expected = secrets?.map(String) ?? [this.numberOf(system)];
    expect(expected).toContain(this.secret());
  }

  /** Its runs, until one finds nothing to do; what they said. */
  async runs(way: Way, env: Record<string, string> = {}, isAtRest = /^up to date with release/m): Promise<string> {
    return (await runsUntil(isAtRest, 4, () => this.agent(way, env))).join("");
  }

  /** What runs boots, and nothing of an attempt is left. */
  async isWhole(text: string): Promise<void> {
    const { machine } = this;
    const system = await machine.running();
    expect([await machine.profile(), await machine.bootDefault()], text).toEqual([system, system]);
    for (const file of ["intent.json", "undo.json"]) expect(await machine.state(file), text).toBeUndefined();
    expect(await readdir(machine.path("state/spool")), text).toEqual([]);
    expect(await readdir(machine.path("run/bento-secrets.d")), text).toHaveLength(1);
  }

  /** The next runs bring the machine to its release, and the fleet is told once. */
  async converges(
    way: Way,
    commit: string,
    { harmless = /^inconclusive$/, system = this.releases } = {},
  ): Promise<void> {
    const text = await this.runs(way);
    await this.isWhole(text);
    expect([this.number(), this.secret()], text).toEqual([String(system), String(this.releases)]);
    const toplevel = await this.machine.running();
    expect(await this.machine.state("applied.json"), text).toMatchObject({ commit, toplevel });
    const outcomes = (await this.outcomesOf(commit)).map(String);
    expect(
      outcomes.filter((outcome) => !harmless.test(outcome)),
      text,
    ).toEqual(["success"]);
    expect(outcomes.length, text).toBeLessThanOrEqual(2);
    await this.comesToRest();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }
}

function overSftp(world: World): Way {
  return {
    name: "over sftp",
    env: {},
    publish: async (dir) => (await world.publish(HOST, { dir }, { evaluate: false })).manifest.commit,
  };
}

function overGit(
  world: World,
  fleet: GitRepository,
  settings: { remote: string; refs: string; hostKeys: string[] },
): Way {
  return {
    name: "from a ref of git",
    env: { BENTO_FETCHER: "git", BENTO_REPORTER: "sftp" },
    async publish(dir) {
      const { manifest, envelope, archive } = await world.release(HOST, { dir }, { evaluate: false });
      const { name, size, bytes } = archive;
      const file = path.join(world.dir, name);
      await writeFile(file, bytes);
      const [repository, signal] = [fleet.dir, new AbortController().signal];
      await using publisher = await GitPublisher.open({ settings, repository, key: world.publisherKey.file, signal });
      await publisher.readCurrent([HOST]);
      const upload = { host: HOST, envelope, archive: { name, size, file }, keep: archivesOf(manifest) };
      expect((await publisher.publish([upload])).get(HOST)).toBeNull();
      return manifest.commit;
    },
  };
}

function ofBranch(server: GitServer, fleet: GitRepository): Way {
  return {
    name: "of a branch of git",
    env: { BENTO_FETCHER: "git", BENTO_REPORTER: "sftp", BENTO_GIT_BRANCH: "main", BENTO_GIT_ALLOW_UNSIGNED: "1" },
    async publish(dir) {
      const files = {
        [`hosts/${HOST}/configuration.nix`]: await readFile(path.join(dir, "tree/configuration.nix"), "utf8"),
      };
      await writeTree(fleet.dir, files);
      await cp(path.join(dir, "secrets"), path.join(fleet.dir, "secrets", HOST), { recursive: true });
      fleet.git("add", "-A");
      await writeTree(fleet.dir, Object.fromEntries(renderedFiles(await loadFleet(fleet.dir))));
      fleet.git("add", "-A");
      fleet.git("commit", "-q", "-m", "a change");
      await server.git("fetch", "--quiet", fleet.dir, `+${fleet.head()}:refs/heads/main`);
      return fleet.head();
    },
  };
}
