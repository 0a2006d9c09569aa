import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, readlink, realpath, rm, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { packageRoot } from "../../src/platform/package.ts";
import type { KeyPair } from "./keys.ts";
import { type Exit, kill, processesWith, type Running, start, succeed } from "./programs.ts";
import type { PrivateStore } from "./store.ts";

const AGENT = path.join(packageRoot(), "utils/agent/bento-agent");

/** Which guard the agents have: BENTO_TEST_GUARD=systemd, where systemd runs the tests' machine, tests the one that NixOS has. */
function guard(): string {
  return process.env.BENTO_TEST_GUARD ?? "process";
}

/** A machine of the fleet: a directory with what the agent looks at. It runs and boots a system of its own already. */
export class Machine {
  readonly name: string;
  readonly dir: string;
  readonly key: KeyPair;
  /** The system it came with. */
  readonly factory: string;
  readonly #env: Record<string, string>;

  private constructor(name: string, dir: string, key: KeyPair, factory: string, env: Record<string, string>) {
    this.name = name;
    this.dir = dir;
    this.key = key;
    this.factory = factory;
    this.#env = env;
  }

  /** `settings` is the text of utils/bento.json; `env` what every program of the world has. */
  static async make(
    name: string,
    dir: string,
    key: KeyPair,
    store: PrivateStore,
    settings: string,
    env: Record<string, string>,
  ): Promise<Machine> {
    for (const place of ["etc", "run", "profiles", "state", "checks"]) {
      await mkdir(path.join(dir, place), { recursive: true });
    }
    await writeFile(path.join(dir, "etc/bento.json"), settings);
    if (guard() === "systemd") {
      // The tiny nixpkgs' systems act on the machine in MACHINE; a real one needs no telling which machine it is on.
      await mkdir(path.join(dir, "bin"));
      const script = `#!/bin/sh\nexec /usr/bin/systemd-run --setenv=MACHINE="$MACHINE" "$@"\n`;
      await writeFile(path.join(dir, "bin/systemd-run"), script, { mode: 0o755 });
    }
    const configuration = path.join(dir, "factory.nix");
    await writeFile(configuration, `{ networking.hostName = "${name}"; }\n`);
    const build = [path.join(store.nixpkgs, "nixos"), "-A", "system", "--arg", "configuration", configuration];
    const link = path.join(dir, "factory");
    await succeed("nix-build", [...build, "--out-link", link], { env });
    const factory = await realpath(link);
    await succeed(path.join(factory, "bin/switch-to-configuration"), ["switch"], { env: { ...env, MACHINE: dir } });
    await succeed("nix-env", ["--profile", path.join(dir, "profiles/system"), "--set", factory], { env });
    await symlink(factory, path.join(dir, "run/booted-system"));
    return new Machine(name, dir, key, factory, env);
  }

  /** What makes a program act as if on this machine. Only the places differ from a machine of its own, and the patience. */
  get env(): Record<string, string> {
    return {
      ...this.#env,
      MACHINE: this.dir,
      BENTO_HOST: this.name,
      BENTO_CONFIG: this.path("etc/bento.json"),
      BENTO_KEY: this.key.file,
      BENTO_STATE: this.path("state"),
      BENTO_RUN: this.path("run/bento"),
      BENTO_SECRETS: this.path("run/bento-secrets"),
      BENTO_PROFILE: this.path("profiles/system"),
      BENTO_RUNNING: this.path("run/current-system"),
      BENTO_BOOTED: this.path("run/booted-system"),
      BENTO_BOOT: this.path("boot"),
      BENTO_SSH_CONFIG: this.path("etc/ssh/ssh_config"),
      BENTO_HEALTH_CHECKS: this.path("checks"),
      BENTO_GUARD: guard(),
      // Another Nix than this machine's has its programs there (scripts/lib/other-nix.sh), also for what sshd or systemd starts.
      ...(process.env.NIX_BIN_DIR ? { NIX_BIN_DIR: process.env.NIX_BIN_DIR } : {}),
      ...(guard() === "systemd" ? { PATH: `${this.path("bin")}:${process.env.PATH}` } : {}),
      // Long where waiting for it would mean that something is wrong: these machines can be slow.
      BENTO_CONFIRM_TIMEOUT: "60",
      BENTO_CONFIRM_SETTLE: "0",
      BENTO_CONFIRM_PASSES: "1",
      BENTO_RECOVERY_TIMEOUT: "60",
    };
  }

  /** The program itself. */
  get agentFile(): string {
    return AGENT;
  }

  path(place: string): string {
    return path.join(this.dir, place);
  }

  /** Starts the agent, `bento-agent upgrade` unless told otherwise. */
  startAgent(
    env: Record<string, string | undefined> = {},
    args: readonly string[] = ["upgrade"],
    program = AGENT,
  ): Running {
    return start("bash", [program, ...args], { env: { ...this.env, ...env } });
  }

  /** Runs the agent to its end. */
  async agent(
    env: Record<string, string | undefined> = {},
    args: readonly string[] = ["upgrade"],
    program = AGENT,
  ): Promise<Exit> {
    return this.startAgent(env, args, program).done;
  }

  /** A health check: a shell script, whose exit status says whether the machine does its job. */
  async healthCheck(name: string, script: string): Promise<void> {
    await writeFile(this.path(`checks/${name}`), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }

  /** The store path of the system that runs. */
  running(): Promise<string> {
    return readlink(this.path("run/current-system"));
  }

  /** The store path of the system that boots next time, by the boot loader. */
  bootDefault(): Promise<string> {
    return readlink(this.path("boot/default"));
  }

  /** The store path of the system profile. */
  profile(): Promise<string> {
    return realpath(this.path("profiles/system"));
  }

  /** How many generations the system profile has. */
  async generations(): Promise<number> {
    return (await readdir(this.path("profiles"))).filter((name) => /^system-\d+-link$/.test(name)).length;
  }

  /** Its programs that run. One that has ended, and that nobody has waited for, doesn't. */
  processes(): number[] {
    return processesWith("MACHINE", this.dir).filter((pid) => existsSync(`/proc/${pid}/exe`));
  }

  /**
   * As if the power had been lost and come back: what ran is gone, so is /run, and the boot default runs. The state says that
   * it was written under another boot. Somebody may have chosen another system at the boot menu.
   */
  async restart(chosen?: string | null): Promise<void> {
    kill(processesWith("MACHINE", this.dir));
    for (const place of ["bento", "bento-secrets", "bento-secrets.d"]) {
      await rm(this.path(`run/${place}`), { recursive: true, force: true });
    }
    const boots = chosen ?? (await this.bootDefault());
    for (const link of ["run/current-system", "run/booted-system"]) {
      await rm(this.path(link));
      await symlink(boots, this.path(link));
    }
    for (const file of ["intent.json", "ending.json", "retry.json", "trial.json", "last-resort.json"]) {
      // One that was damaged when the power was lost says nothing.
      const state = await this.state(file).catch(() => undefined);
      if (state) await writeFile(this.path(`state/${file}`), JSON.stringify({ ...state, bootId: "the boot before" }));
    }
  }

  /** The agent's clock at which a failed release is tried again is set back, as if the time had passed. */
  async endBackoff(): Promise<void> {
    const retry = await this.state("retry.json");
    if (!retry) throw new Error(`${this.name} waits for nothing`);
    await writeFile(this.path("state/retry.json"), JSON.stringify({ ...retry, until: 0 }));
  }

  /** One of the agent's state files; undefined where there is none. */
  async state(file: string): Promise<Record<string, unknown> | undefined> {
    try {
      return JSON.parse(await readFile(this.path(`state/${file}`), "utf8"));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  }
}
