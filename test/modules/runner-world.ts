import { chmod, mkdir } from "node:fs/promises";
import path from "node:path";
import { makeCacheKey } from "../../src/nix/cache-key.ts";
import type { CheckDocument, HostCheck } from "../../src/results.ts";
import { pullRequest, push } from "../action/events.ts";
import { definition } from "../action/runner.ts";
import { Cable } from "../support/booted.ts";
import { ownStore } from "../support/booted-module.ts";
import type { FleetRepository } from "../support/fleet.ts";
import { type Exit, exec, start, succeed } from "../support/programs.ts";
import { RunnerMachine, type Service } from "../support/runner-machine.ts";
import { World } from "../support/world.ts";

const GIT_PORT = 9418;
/** The hosts that are built. */
const HOSTS = "nas,laptop-*";

interface Step {
  commit: string;
  event: object;
  inputs: Record<string, string>;
  /** Shell, before the step. */
  before?: string;
}

/** What a job with a step of the Action's has come to. */
export interface Ran {
  status: number;
  log: string;
  /** What the step has left; null where it left nothing. */
  document: CheckDocument;
}

/** A fleet in a repository, the machine that builds it, and hosts that ask the cache there, on one cable. */
export class RunnerWorld implements AsyncDisposable {
  readonly fleet: FleetRepository;
  readonly runner: RunnerMachine;
  /** How hosts reach the machine. */
  readonly address: string;
  readonly #dir: string;
  readonly #remote: string;
  readonly #key = makeCacheKey("cache-1");
  readonly #resources: AsyncDisposableStack;

  private constructor(
    { world, fleet, runner, cable }: { world: World; fleet: FleetRepository; runner: RunnerMachine; cable: Cable },
    resources: AsyncDisposableStack,
  ) {
    this.fleet = fleet;
    this.runner = runner;
    this.address = cable.peer;
    this.#dir = world.dir;
    this.#remote = `git://${cable.address}:${GIT_PORT}/fleet`;
    this.#resources = resources;
  }

  static async make(): Promise<RunnerWorld> {
    await using resources = new AsyncDisposableStack();
    const cable = resources.use(await Cable.make());
    const world = resources.use(await World.make({ listen: cable.address }));
    const fleet = await world.makeFleet();
    const groups = { deploy: "fleet-deploy", pullRequests: null };
    const runner = resources.use(await RunnerMachine.make(path.join(world.dir, "runner"), cable, groups));
    // The flakes' only input, where their locks say that it is.
    await succeed("cp", ["-a", "--parents", world.store.nixpkgs, runner.machine.path("/")]);
    await chmod(runner.machine.path(world.dir), 0o755);
    // The repository, for everybody on the cable.
    const options = [`--base-path=${world.dir}`, "--export-all", "--reuseaddr", `--listen=${cable.address}`];
    const daemon = start("git", ["daemon", ...options, `--port=${GIT_PORT}`]);
    resources.defer(() => void daemon.child.kill());
    return new RunnerWorld({ world, fleet, runner, cable }, resources.move());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }

  /** Gives the nas another package, on a branch. */
  async change(branch: string, packageName: string): Promise<void> {
    await this.fleet.git("checkout", "-q", "-b", branch);
    const file = "hosts/nas/configuration.nix";
    const text = await this.fleet.read(file);
    await this.fleet.write(file, text.replace(/pkgs\.(?:postgresql|curl|nginx|git)/, `pkgs.${packageName}`));
    await this.fleet.commit(`nas: ${packageName}`);
  }

  async merge(branch: string): Promise<void> {
    await this.fleet.git("checkout", "-q", "main");
    await this.fleet.git("merge", "-q", "--no-ff", "-m", `Merge ${branch}`, branch);
  }

  /** The job that builds what a pull request of the repository's own changes. */
  async pullRequestBuild(inputs: Record<string, string> = {}): Promise<Ran> {
    const [commit, base] = [await this.#head(), await this.fleet.git("rev-parse", "main")];
    return this.#action("bento", {
      commit,
      event: pullRequest(base, commit, "repository"),
      inputs: { command: "build", hosts: HOSTS, comment: "false", ...inputs },
    });
  }

  /** The same, which evaluates alone; `before` is shell. */
  async pullRequestCheck({ before = "" } = {}): Promise<Ran> {
    const commit = await this.#head();
    const inputs = { command: "check", hosts: HOSTS, comment: "false" };
    const event = pullRequest(await this.fleet.git("rev-parse", "main"), commit, "repository");
    return this.#action("bento", { commit, event, inputs, before });
  }

  /** The job after a merge, which has the cache's key. */
  async mergedBuild(inputs: Record<string, string> = {}): Promise<Ran> {
    const commit = await this.#head();
    const given = { push: "file:///var/lib/bento-runner/cache", "cache-key": this.#key.secretKey };
    return this.#action("bento-deploy", {
      commit,
      event: push(commit, commit),
      inputs: { command: "build", hosts: HOSTS, ...given, ...inputs },
    });
  }

  #head(): Promise<string> {
    return this.fleet.git("rev-parse", "HEAD");
  }

  /** A job with one step of the Action's, after a checkout of a commit. */
  async #action(service: Service, { commit, event, inputs, before = "" }: Step): Promise<Ran> {
    const { inputs: known } = await definition();
    const given = Object.entries(known).map(([name, { default: otherwise = "" }]) => {
      const value = inputs[name] ?? otherwise.replace(/^\$\{\{ .* \}\}$/, "");
      return [`INPUT_${name.toUpperCase()}`, value] as const;
    });
    const script = `
      git init -q .
      git fetch -q "$REMOTE" '+refs/heads/*:refs/remotes/origin/*'
      git checkout -q --detach "$COMMIT"
      ${before}
      export GITHUB_EVENT_PATH=$RUNNER_TEMP/event.json GITHUB_OUTPUT=$RUNNER_TEMP/output GITHUB_STEP_SUMMARY=$RUNNER_TEMP/summary
      printf '%s' "$EVENT" > "$GITHUB_EVENT_PATH"
      touch "$GITHUB_OUTPUT" "$GITHUB_STEP_SUMMARY"
      status=0
      /usr/local/bin/node /opt/bento/dist/index.js || status=$?
      printf '\\n=====\\n'
      if [ -e "$RUNNER_TEMP/bento-${inputs.command}.json" ]; then cat "$RUNNER_TEMP/bento-${inputs.command}.json"; fi
      exit "$status"`;
    const env = { REMOTE: this.#remote, COMMIT: commit, EVENT: JSON.stringify(event), ...Object.fromEntries(given) };
    const { status, output } = await this.runner.job(service, script, env);
    const [log = "", json = ""] = output.split("\n=====\n");
    const document = (json === "" ? null : JSON.parse(json)) as CheckDocument;
    return { status, log, document };
  }

  /** What a host does that has a store of its own in /nix, and knows the cache's address and its public key. */
  async onHost(name: string, script: string): Promise<Exit> {
    const nix = path.join(this.#dir, `host-${name}`);
    await mkdir(path.join(nix, "store"), { recursive: true });
    const settings = [
      `substituters = http://${this.address}:5000`,
      `trusted-public-keys = ${this.#key.publicKey}`,
      "sandbox = false",
      "build-users-group =",
      "max-jobs = 0",
      "experimental-features = nix-command",
    ];
    const env = {
      ...ownStore,
      NIX_REMOTE: "local",
      NIX_CONFIG: settings.join("\n"),
      HOME: path.join(this.#dir, "home"),
    };
    return exec("unshare", ["--mount", "sh", "-c", `mount --bind '${nix}' /nix && ${script}`], { env });
  }

  async closure(...paths: readonly (string | null)[]): Promise<string[]> {
    return (await this.runner.machine.run(`nix-store --query --requisites ${paths.join(" ")}`)).split("\n");
  }

  /** The store paths that the cache has, with who has signed them. */
  async cached(): Promise<Map<string, string[]>> {
    const text = await this.runner.machine.run("cat /var/lib/bento-runner/cache/*.narinfo");
    const narinfos = text.split(/^(?=StorePath: )/m).map((narinfo) => {
      const [, storePath = ""] = /^StorePath: (.*)$/m.exec(narinfo) ?? [];
      return [storePath, [...narinfo.matchAll(/^Sig: ([^:]*):/gm)].map(([, key = ""]) => key)] as const;
    });
    return new Map(narinfos);
  }
}

/** What a document says of one host. */
export function hostOf(document: CheckDocument, name: string): HostCheck {
  const found = document.hosts.find((host) => host.name === name);
  if (!found) throw new Error(`no ${name}`);
  return found;
}
