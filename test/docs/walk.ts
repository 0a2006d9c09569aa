import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect } from "vitest";
import { packageRoot } from "../../src/platform/package.ts";
import { onlyEnvironment } from "../cli/bento.ts";
import { BootedMachine, Cable } from "../support/booted.ts";
import {
  configurationWith,
  installSystem,
  type Module,
  ownStore,
  prepareLogin,
  prepareMachine,
} from "../support/booted-module.ts";
import { makeKey } from "../support/keys.ts";
import { type Exit, exec, succeed } from "../support/programs.ts";
import { type WorldDirectory, worldDirectory } from "../support/world-directory.ts";
import { ofKind } from "./blocks.ts";

/**
 * A page that somebody works through, Ada: each block of commands is run as it stands there. The router and the server are machines
 * that systemd has booted, which reach each other and which she reaches by ssh. Only the systems are small.
 */
export class Walk implements AsyncDisposable {
  readonly router: BootedMachine;
  readonly server: BootedMachine;
  readonly #blocks: readonly { at: string; text: string }[];
  readonly #world: WorldDirectory;
  readonly #cables: readonly [Cable, Cable];
  readonly #resources: AsyncDisposableStack;
  #next = 0;

  private constructor(
    page: string,
    world: WorldDirectory,
    machines: readonly [BootedMachine, BootedMachine],
    cables: readonly [Cable, Cable],
    resources: AsyncDisposableStack,
  ) {
    this.#blocks = ofKind("shell", "output", "nix", "yaml").filter((one) => one.page === page);
    [this.router, this.server] = machines;
    this.#world = world;
    this.#cables = cables;
    this.#resources = resources;
  }

  /** Bento isn't installed yet: it is in a clone, in place of what GitHub has. */
  static async make(page: string): Promise<Walk> {
    await using resources = new AsyncDisposableStack();
    const cables = await Cable.pair();
    for (const cable of cables) resources.use(cable);
    const world = resources.use(await worldDirectory());
    const [router, server] = [
      resources.use(await BootedMachine.make(path.join(world.path, "router"), "router", cables[0])),
      resources.use(await BootedMachine.make(path.join(world.path, "server"), "server", cables[1])),
    ];
    const walk = new Walk(page, world, [router, server], cables, resources.move());
    try {
      await walk.#boot();
      await walk.#equip();
    } catch (error) {
      await walk[Symbol.asyncDispose]();
      throw error;
    }
    return walk;
  }

  at(...place: string[]): string {
    return path.join(this.#world.path, ...place);
  }

  async #boot(): Promise<void> {
    const { router, server } = this;
    const ada = await makeKey(this.at("ada"));
    const known: string[] = [];
    for (const [name, machine] of [
      ["router", router],
      ["fleet.example.org", server],
    ] as const) {
      const key = await makeKey(this.at(`key-of-${name}`));
      await prepareMachine(machine, { text: await readFile(key.file, "utf8"), publicKey: key.publicKey });
      await prepareLogin(machine, "/etc/ssh/ssh_host_ed25519_key", ada.publicKey, { BENTO_CONFIRM_SETTLE: "2" });
      known.push(`${name} ${key.publicKey}\n`);
    }
    await writeFile(this.at("known_hosts"), known.join(""));
    await router.write(
      "/etc/nixos/configuration.nix",
      '{ config, lib, pkgs, ... }:\n{\n  imports = [ ./hardware-configuration.nix ];\n  networking.hostName = "router";\n}\n',
    );
    await router.write("/etc/nixos/hardware-configuration.nix", this.configurationOf({}));
    await router.boot();
    await server.boot();
    await installSystem(router);
    await router.run("systemctl start sshd-test.service");
    const [, { peer, interface: name }] = this.#cables;
    await server.run(`ip address add ${peer}/24 dev ${name} && ip link set ${name} up`);
    await server.run("systemctl start sshd-test.service");
  }

  /** What Ada has: ssh, which knows both machines, Nix, and no bento. */
  async #equip(): Promise<void> {
    for (const place of ["bin", "home", "store/store", "clone"]) await mkdir(this.at(place), { recursive: true });
    const hosts = { router: this.#cables[0].peer, "fleet.example.org": this.#cables[1].peer };
    const config = Object.entries(hosts).map(
      ([name, address]) => `Host ${name}\n  HostName ${address}\n  HostKeyAlias ${name}\n`,
    );
    const all = [
      `Host *\n  IdentityFile ${this.at("ada")}\n  IdentitiesOnly yes\n  UserKnownHostsFile ${this.at("known_hosts")}`,
      "  StrictHostKeyChecking yes\n  BatchMode yes\n",
    ];
    await writeFile(this.at("ssh_config"), `${config.join("")}${all.join("\n")}`);
    await this.program("ssh", `exec /usr/bin/ssh -F '${this.at("ssh_config")}' "$@"`);
    await this.program("scp", `exec /usr/bin/scp -F '${this.at("ssh_config")}' "$@"`);
    await this.program("sleep", ":");
    // Her store has the places that the machines' have, too.
    const inside = `unshare --mount sh -c 'mount --bind "$0" /nix && exec "$@"' '${this.at("store")}'`;
    for (const name of ["nix", "nix-instantiate", "nix-store"]) {
      await this.program(name, `exec ${inside} ${await succeed("sh", ["-c", `command -v ${name}`])} "$@"`);
    }
    await this.program("bento", `exec ${inside} ${this.at("home/npm/bin/bento")} "$@"`);
    const address = this.#cables[1].peer;
    const names = `import dns from "node:dns";
      const { lookup } = dns;
      dns.lookup = (name, ...rest) => lookup(name === "fleet.example.org" ? "${address}" : name, ...rest);\n`;
    await writeFile(this.at("names.mjs"), names);
    const git = (...args: string[]) => succeed("git", args, { env: this.environment() });
    await git("config", "--global", "user.name", "Ada");
    await git("config", "--global", "user.email", "ada@example.org");
    // As it is committed, with what is built.
    const clone = this.at("clone/bento");
    await git("clone", "-q", "--depth=1", `file://${packageRoot()}`, clone);
    for (const what of ["dist", "utils", "share", "action.yml", "package.json"]) {
      await succeed("cp", ["-r", path.join(packageRoot(), what), clone]);
    }
    await git("-C", clone, "add", "-A");
    await git("-C", clone, "commit", "-q", "--allow-empty", "-m", "now");
    await writeFile(this.at("state"), `cd '${this.at("home")}'\n`);
  }

  /** A program of Ada's, a shell script. */
  program(name: string, script: string): Promise<void> {
    return writeFile(this.at("bin", name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }

  environment(): Record<string, string | undefined> {
    return onlyEnvironment({
      ...ownStore,
      HOME: this.at("home"),
      PATH: `${this.at("bin")}:${this.at("home/npm/bin")}:${path.dirname(process.execPath)}:${process.env.PATH}`,
      NIX_REMOTE: "local",
      NIX_PATH: `nixpkgs=${packageRoot()}/scripts/demo-fleet/nixpkgs`,
      NIX_CONFIG: "experimental-features = nix-command flakes\nsandbox = false\nbuild-users-group =\nsubstituters =\n",
      NODE_OPTIONS: `--import=${this.at("names.mjs")}`,
      npm_config_prefix: this.at("home/npm"),
      npm_config_registry: "http://127.0.0.1:9/",
      npm_config_fetch_retries: "0",
    });
  }

  /**
   * What NixOS makes of a module, in the form in which the tiny nixpkgs takes it, and how the router is reached and reaches the
   * server, by its name: which leads elsewhere where `networking.hosts` says so.
   */
  configurationOf(module: Partial<Module>): string {
    const { peer, peer6, interface: name } = this.#cables[0];
    const address = this.#cables[1].peer;
    return configurationWith("router", { peer, peer6, interface: name, address }, module)
      .replace(
        `networking.gateway = "${address}";`,
        `networking.gateway = if config.networking ? hosts then "192.0.2.1" else "${address}";`,
      )
      .replace("{ ... }:", "{ config, ... }:");
  }

  /** The next block, whoever does what it says; it has to begin like this. */
  read(beginning: string): { at: string; text: string } {
    const block = this.#blocks[this.#next++] ?? { at: "the end", text: "" };
    expect(block.text.startsWith(beginning), `${block.at} doesn't begin with ${beginning}`).toBe(true);
    return block;
  }

  /** Runs the next block, in the shell that the one before has left. `fill` puts in what the page leaves to its reader. */
  async run(beginning: string, fill = (text: string) => text): Promise<Exit> {
    const { at, text } = this.read(beginning);
    const exit = await this.tell(fill(text));
    expect(exit.status, `${at}:\n${exit.stdout}${exit.stderr}`).toBe(0);
    return exit;
  }

  /** What isn't in the page, or is in another, in that shell. */
  tell(script: string): Promise<Exit> {
    const here = script.replace("github:bento-nix/bento", `git+file://${this.at("clone/bento")}`);
    const kept = `trap 'status=$?; { export -p; printf "cd %q\\n" "$PWD"; } > ${this.at("state")}; exit $status' EXIT`;
    return exec("bash", ["-c", `. ${this.at("state")}\n${kept}\nset -eo pipefail\n${here}`], {
      env: this.environment(),
    });
  }

  /** The next block is what a command prints: this, but for what is another each time. */
  expectShown(output: string): void {
    const { text } = this.read("");
    const alike = (one: string) =>
      one
        .trimEnd()
        .replace(/[0-9a-f]{12}/g, "COMMIT")
        .replace(/just now|\d+ (?:second|minute)s? ago/g, "WHEN")
        .replace(/\d+ to (?:build|fetch)[^;]*/g, "COST")
        .replace(/(?<=can't be reached: ).*/g, "…")
        .replace(/ {2,}/g, "  ");
    expect(alike(output)).toBe(alike(text));
  }

  expectEnd(): void {
    expect(this.#blocks[this.#next]?.at).toBeUndefined();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }
}
