import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, readFile, rm, symlink } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { text } from "node:stream/consumers";
import { packageRoot } from "../../src/platform/package.ts";
import { shellWord } from "../../src/platform/shell-word.ts";
import { BootedMachine, type Cable } from "./booted.ts";
import { installNamed, missing as missingToBoot, ownStore } from "./booted-module.ts";
import { environmentsOf } from "./derivation.ts";
import { succeed } from "./programs.ts";

const { BENTO_TEST_NIXPKGS: nixpkgs = "", BENTO_TEST_GITHUB_RUNNERS: githubRunners = "" } = process.env;

/** What these tests need, and this machine doesn't have. */
export const missing: readonly string[] = [
  ...missingToBoot,
  ...(existsSync(path.join(githubRunners, "service.nix"))
    ? []
    : [
        "BENTO_TEST_GITHUB_RUNNERS=/path/to/today's nixpkgs/nixos/modules/services/continuous-integration/github-runner",
      ]),
  ...(["/usr/sbin/nginx", "/usr/bin/nix-daemon"].every(existsSync) ? [] : ["nginx", "nix-bin"]),
];

/** What services.bento-runner makes of a NixOS 20.09. */
interface Evaluated {
  failed: string[];
  /** Unit files' texts. */
  units: Record<string, string>;
  /** Of what the units name. */
  derivations: string[];
  tmpfiles: string[];
  /** What stands for GitHub's own runner is put there. */
  runnerPackage: string;
  nginxPackage: string;
  /** The script that writes it. */
  nixConf: { buildCommand: string; extraOptions: string };
  users: { name: string; group: string; home: string; extraGroups: string[] }[];
}

export interface JobResult {
  status: number;
  /** Both streams. */
  output: string;
}

/** How a runner has called itself. */
export interface Registration {
  name: string;
  labels: string;
  group: string;
  token: string;
  ephemeral: boolean;
}

interface Job {
  script: string;
  env: Readonly<Record<string, string>>;
  done: (result: JobResult) => void;
}

/** What of GitHub a runner talks to: it registers, waits for one job, and says what became of it. */
class Jobs implements AsyncDisposable {
  readonly registrations: Registration[] = [];
  readonly #server: Server;
  readonly #address: string;
  readonly #queues = new Map<string, Job[]>();
  readonly #waiting = new Map<string, ServerResponse>();
  readonly #running = new Map<string, Job>();

  private constructor(address: string) {
    this.#address = address;
    this.#server = createServer((request, response) => {
      this.#answer(request, response).catch((error) => response.writeHead(500).end(String(error)));
    });
  }

  static async start(address: string): Promise<Jobs> {
    const jobs = new Jobs(address);
    jobs.#server.listen(0, address);
    await once(jobs.#server, "listening");
    return jobs;
  }

  get url(): string {
    return `http://${this.#address}:${(this.#server.address() as AddressInfo).port}/example/fleet`;
  }

  run(runner: string, script: string, env: Readonly<Record<string, string>> = {}): Promise<JobResult> {
    return new Promise((done) => {
      this.#queues.set(runner, [...(this.#queues.get(runner) ?? []), { script, env, done }]);
      this.#give(runner);
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "", this.url);
    const name = url.searchParams.get("name") ?? "";
    switch (url.pathname.replace(/^\/example\/fleet\//, "")) {
      case "register":
        this.registrations.push(JSON.parse(await text(request)));
        response.end(randomUUID());
        return;
      case "job":
        this.#waiting.set(name, response);
        // A runner that is stopped takes no job.
        response.on("close", () => {
          if (this.#waiting.get(name) === response) this.#waiting.delete(name);
        });
        this.#give(name);
        return;
      case "done": {
        const output = await text(request);
        this.#running.get(name)?.done({ status: Number(url.searchParams.get("status")), output });
        this.#running.delete(name);
        response.end();
        return;
      }
      default:
        response.writeHead(404).end();
    }
  }

  #give(runner: string): void {
    const response = this.#waiting.get(runner);
    const job = response && this.#queues.get(runner)?.shift();
    if (!job) return;
    this.#waiting.delete(runner);
    this.#running.set(runner, job);
    response.end(JSON.stringify({ script: job.script, env: job.env }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }
}

/** As GitHub's runner does it, as far as a job can tell: steps have the service's environment, and what is meant for them alone. */
const LISTENER = `#!/bin/bash
set -euo pipefail
case $1 in
  configure)
    shift
    group='' ephemeral=false
    while [ "$#" -gt 0 ]; do
      case $1 in
        --url) url=$2; shift ;;
        --name) name=$2; shift ;;
        --labels) labels=$2; shift ;;
        --runnergroup) group=$2; shift ;;
        --pat | --token) token=$2; shift ;;
        --work) work=$2; shift ;;
        --ephemeral) ephemeral=true ;;
      esac
      shift
    done
    mkdir -p "$RUNNER_ROOT/_diag"
    echo "$name registers" > "$RUNNER_ROOT/_diag/Runner.log"
    jq -n --arg name "$name" --arg labels "$labels" --arg group "$group" --arg token "$token" --argjson ephemeral "$ephemeral" \\
      '{ name: $name, labels: $labels, group: $group, token: $token, ephemeral: $ephemeral }' |
      curl -sS --fail --data-binary @- "$url/register" > "$RUNNER_ROOT/.credentials"
    cp "$RUNNER_ROOT/.credentials" "$RUNNER_ROOT/.credentials_rsaparams"
    jq -n --arg url "$url" --arg name "$name" --arg work "$work" '{ url: $url, name: $name, work: $work }' > "$RUNNER_ROOT/.runner"
    ;;
  run)
    url=$(jq -r .url "$RUNNER_ROOT/.runner") name=$(jq -r .name "$RUNNER_ROOT/.runner") work=$(jq -r .work "$RUNNER_ROOT/.runner")
    job=$(curl -sS --fail "$url/job?name=$name")
    mkdir -p "$work/_temp" "$work/fleet/fleet"
    jq -r .script <<< "$job" > "$work/_temp/script.sh"
    mapfile -d '' -t variables < <(jq -j '.env | to_entries[] | "\\(.key)=\\(.value)\\u0000"' <<< "$job")
    status=0
    (
      export GITHUB_ACTIONS=true RUNNER_ENVIRONMENT=self-hosted RUNNER_TEMP=$work/_temp GITHUB_WORKSPACE=$work/fleet/fleet
      export GITHUB_REPOSITORY=example/fleet GITHUB_SERVER_URL=https://github.com
      cd "$GITHUB_WORKSPACE"
      exec env "\${variables[@]}" bash -e "$work/_temp/script.sh" < /dev/null
    ) > "$work/_temp/log" 2>&1 || status=$?
    curl -sS --fail --data-binary "@$work/_temp/log" "$url/done?name=$name&status=$status"
    ;;
esac
`;

/** GitHub's groups of runners. */
interface Groups {
  deploy: string | null;
  pullRequests: string | null;
}

/** A machine that systemd has booted, with the units, users, directories and nix.conf of services.bento-runner, and a Nix daemon. */
export class RunnerMachine implements AsyncDisposable {
  readonly machine: BootedMachine;
  readonly jobs: Jobs;
  readonly units: Readonly<Record<string, string>>;
  readonly #resources: AsyncDisposableStack;

  private constructor(
    machine: BootedMachine,
    jobs: Jobs,
    units: Readonly<Record<string, string>>,
    resources: AsyncDisposableStack,
  ) {
    this.machine = machine;
    this.jobs = jobs;
    this.units = units;
    this.#resources = resources;
  }

  /** `dir` is made for its files. It is at the end of the cable, and its runners are waiting for jobs. */
  static async make(dir: string, cable: Cable, groups: Groups): Promise<RunnerMachine> {
    await using resources = new AsyncDisposableStack();
    const jobs = resources.use(await Jobs.start(cable.address));
    const evaluated = await evaluate(jobs.url, groups);
    if (evaluated.failed.length > 0) throw new Error(evaluated.failed.join("\n"));
    const machine = resources.use(await BootedMachine.make(dir, "runner", cable));
    await installFiles(machine, evaluated);
    await machine.write("/var/lib/secrets/github-runner", "github_pat_of_the_machine", 0o600);
    // Where a runner finds the Action that a job uses.
    const { files } = JSON.parse(await readFile(path.join(packageRoot(), "package.json"), "utf8")) as {
      files: string[];
    };
    for (const part of [...files, "package.json"]) {
      await machine.copyTree(path.join(packageRoot(), part), `/opt/bento/${part}`);
    }
    await machine.copyTree(process.execPath, "/usr/local/bin/node");
    await machine.boot();
    const { status, stderr } = await machine.exec(`set -e
      ip address add ${cable.peer}/24 dev ${cable.interface}
      ip link set ${cable.interface} up
      ${[...evaluated.users, ...BUILDERS].map(makeUser).join("\n")}
      systemd-tmpfiles --create /etc/tmpfiles.d/00-nixos.conf
      cd "$(mktemp -d)"
      rm -rf /etc/nix/nix.conf; mkdir -p /etc/nix
      export out=/etc/nix/nix.conf extraOptions=${shellWord(evaluated.nixConf.extraOptions)}
      ${evaluated.nixConf.buildCommand}
      chmod 644 /etc/nix/nix.conf
      # What the units name is a system's, and as valid and as alive.
      mkdir -p /nix/var/nix/gcroots/system
      for one in /nix/store/????????????????????????????????-*; do
        printf '%s\\n\\n0\\n' "$one"
        ln -s "$one" /nix/var/nix/gcroots/system/
      done | NIX_REMOTE=local nix-store --register-validity
      systemctl start nix-daemon.service
      until [ -S /nix/var/nix/daemon-socket/socket ]; do sleep 0.1; done
      systemctl start nginx.service github-runner-bento.service github-runner-bento-deploy.service`);
    if (status !== 0) throw new Error(`it is not set up (${status}):\n${stderr}\n${machine.log}`);
    return new RunnerMachine(machine, jobs, evaluated.units, resources.move());
  }

  /** A job's only step, for the runner with that service; gives what it has printed. */
  async job(service: Service, script: string, env: Readonly<Record<string, string>> = {}): Promise<JobResult> {
    return this.jobs.run(RUNNER[service], script, env);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }
}

export type Service = keyof typeof RUNNER;
/** What the runners are called at GitHub, by their services. */
const RUNNER = { "bento-deploy": "builder", bento: "builder-pull-requests" } as const;

async function evaluate(url: string, groups: Groups): Promise<Evaluated> {
  const expression = `import ${import.meta.dirname}/runner-machine.nix {
    nixpkgs = ${JSON.stringify(nixpkgs)}; githubRunners = ${JSON.stringify(githubRunners)}; runner = ${packageRoot()}/utils/runner.nix;
    url = ${JSON.stringify(url)}; groups = builtins.fromJSON ${JSON.stringify(JSON.stringify(groups))};
  }`;
  const args = ["--eval", "--strict", "--json", "--read-write-mode", "--expr", expression];
  return JSON.parse(await succeed("nix-instantiate", args, { env: ownStore }));
}

/** The units; the scripts and files that they name, as they would be built; and this machine's programs for the rest. */
async function installFiles(machine: BootedMachine, evaluated: Evaluated): Promise<void> {
  const { units, derivations, runnerPackage, nginxPackage } = evaluated;
  for (const [name, unit] of Object.entries(units)) await machine.write(`/etc/systemd/system/${name}`, unit);
  // Only the patience differs.
  for (const name of ["bento", "bento-deploy"]) {
    const impatient = "[Service]\nRestartSec=0.2\nTimeoutStopSec=2\n[Unit]\nStartLimitIntervalSec=0\n";
    await machine.write(`/etc/systemd/system/github-runner-${name}.service.d/test.conf`, impatient);
  }
  await machine.write("/etc/tmpfiles.d/00-nixos.conf", `${evaluated.tmpfiles.join("\n")}\n`);
  await machine.write(
    "/etc/systemd/system/nix-daemon.service",
    "[Service]\nExecStart=/usr/bin/nix-daemon --daemon\nKillMode=process\n",
  );
  await machine.write(`${runnerPackage}/bin/Runner.Listener`, LISTENER, 0o755);
  await mkdir(machine.path(nginxPackage), { recursive: true });
  await symlink("/usr/sbin", machine.path(`${nginxPackage}/bin`));
  await symlink("/etc/nginx", machine.path(`${nginxPackage}/conf`));
  let texts = Object.values(units).join("\n");
  for (const { storePath, file, content, mode } of await textsOf(derivations)) {
    texts += content;
    if (!existsSync(machine.path(storePath))) await machine.write(`${storePath}${file}`, content, mode);
  }
  await installNamed(machine, texts);
  const [mailcap] = /\/nix\/store\/[^/]*-mailcap-[^/]*/.exec(texts) ?? [];
  if (mailcap !== undefined) await symlink("/etc", machine.path(`${mailcap}/etc`));
  // NixOS's nginx has its temporary files there.
  await rm(machine.path("/var/lib/nginx"), { recursive: true, force: true });
  await symlink("/var/cache/nginx", machine.path("/var/lib/nginx"));
}

/** Of derivations, those that only write a text: as nixpkgs' writeText and its like make them. */
async function textsOf(derivations: readonly string[]) {
  return (await environmentsOf(derivations, ownStore)).flatMap((env) => {
    const { out, text: content, buildCommand = "", executable } = env;
    if (!out || !content) return [];
    const [, file = ""] = /^n=\$out(\S*)$/m.exec(buildCommand) ?? [];
    return [{ storePath: out, file, content, mode: executable === "1" ? 0o755 : 0o644 }];
  });
}

function makeUser({ name, group, home, extraGroups }: Evaluated["users"][number]): string {
  return [
    ...[group, ...extraGroups].map((other) => `getent group ${other} > /dev/null || groupadd --system ${other}`),
    `useradd --system --no-create-home --home-dir ${home} --shell /usr/sbin/nologin --gid ${group} ${name}`,
    ...extraGroups.map((other) => `usermod --append --groups ${other} ${name}`),
  ].join("\n");
}

/** Nix takes one for each build from those that the group lists. */
const BUILDERS = ["nixbld1", "nixbld2", "nixbld3", "nixbld4"].map((name) => {
  return { name, group: "nixbld", home: "/var/empty", extraGroups: ["nixbld"] };
});
