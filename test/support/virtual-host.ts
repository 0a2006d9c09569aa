import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { evaluateModule, installModule, type Module, prepareMachine } from "./booted-module.ts";
import type { KeyPair } from "./keys.ts";
import type { Release } from "./release.ts";
import { prepareHands, VirtualMachine } from "./virtual.ts";
import { type Driver, kernelVersions, VirtualDisk, type VirtualDisks } from "./virtual-disk.ts";
import { type VirtualSystem, virtualSystem } from "./virtual-system.ts";
import { World } from "./world.ts";
import { worldDirectory } from "./world-directory.ts";

/** Milliseconds for what an emulated processor takes minutes for, and on a busy machine many. */
export const PATIENCE = 1_500_000;

/** Patience as well, but for the polls: no restart waits for those to come to an end. */
const SETTINGS = `
  interval = "*:*:0/5";
  confirm = { timeout = 600; passes = 1; };
  environment.BENTO_ACTIVATION_TIMEOUT = "300";
  environment.BENTO_CONNECT_TIMEOUT = "60";
  environment.BENTO_BACKOFF = "0";
`;

/** What a machine can be started with: a kernel of its files, whose first stage may lack a driver. */
const KERNELS: Readonly<Record<"one" | "other" | "blind", { version: 0 | 1; lacks?: Driver }>> = {
  one: { version: 0 },
  other: { version: 1 },
  blind: { version: 1, lacks: "virtio_blk" },
};
export type KernelName = keyof typeof KERNELS;

/** The only host of a fleet, which is a machine of its own. */
export class VirtualHost implements AsyncDisposable {
  readonly #resources: AsyncDisposableStack;
  readonly #dir: string;
  readonly #loader: VirtualSystem["loader"];
  readonly #modules: Readonly<Record<string, Module>>;
  readonly world: World;
  #disks: VirtualDisks | undefined;
  #machine: VirtualMachine | undefined;

  private constructor(
    resources: AsyncDisposableStack,
    dir: string,
    world: World,
    loader: VirtualSystem["loader"],
    modules: Readonly<Record<string, Module>>,
  ) {
    this.#resources = resources;
    this.#dir = dir;
    this.world = world;
    this.#loader = loader;
    this.#modules = modules;
  }

  /** `modules` are what services.bento is set to, by name; it is installed with the first of them and the kernel `one`, and is off. */
  static async make(loader: VirtualSystem["loader"], modules: Readonly<Record<string, string>>): Promise<VirtualHost> {
    const resources = new AsyncDisposableStack();
    const dir = resources.use(await worldDirectory({ inMemory: false })).path;
    const world = resources.use(await World.make({ hosts: ["far"] }));
    const settings = path.join(world.dir, "bento.json");
    await writeFile(settings, world.agentSettings());
    const evaluated: Record<string, Module> = {};
    for (const [name, more] of Object.entries(modules))
      evaluated[name] = await evaluateModule("far", settings, `${SETTINGS} ${more}`);
    const host = new VirtualHost(resources, dir, world, loader, evaluated);
    await host.#install(Object.keys(modules)[0] as string);
    return host;
  }

  async #install(first: string): Promise<void> {
    const disk = this.#resources.use(await VirtualDisk.make(this.#dir));
    const { file, publicKey } = this.world.hostKeys.far as KeyPair;
    await prepareMachine(disk, { text: await readFile(file, "utf8"), publicKey });
    await prepareHands(disk);
    for (const [name, { version, lacks }] of Object.entries(KERNELS))
      await disk.addKernel(`/kernels/${name}`, kernelOf(version), lacks);
    for (const module of Object.values(this.#modules)) await installModule(disk, module);
    await disk.want(this.#modules[first]?.wantedBy ?? {});
    await disk.write("/etc/nixos/configuration.nix", this.#system("one", first, ""));
    await disk.run(`export MACHINE=/ NIX_PATH=nixpkgs=/nix/var/nix/profiles/per-user/root/channels/nixos
      nix-build '<nixpkgs/nixos>' -A system -I nixos-config=/etc/nixos/configuration.nix --out-link /root/factory
      nix-env --profile /nix/var/nix/profiles/system --set /root/factory
      /root/factory/bin/switch-to-configuration boot`);
    this.#disks = await (this.#loader === "grub" ? disk.sealWithGrub() : disk.sealWithSystemdBoot());
  }

  #system(kernel: KernelName, module: string, activation: string): string {
    return virtualSystem({
      host: "far",
      module: this.#modules[module] as Module,
      loader: this.#loader,
      kernel: `/kernels/${kernel}`,
      activation,
    });
  }

  publish(kernel: KernelName, module: string, activation = ""): Promise<Release> {
    const files = { "configuration.nix": this.#system(kernel, module, activation) };
    return this.world.publish("far", { files }, { evaluate: false });
  }

  get machine(): VirtualMachine {
    if (this.#machine === undefined) throw new Error("it is off");
    return this.#machine;
  }

  async switchOn(): Promise<void> {
    this.#machine = this.#resources.use(
      await VirtualMachine.switchOn(this.#dir, this.#disks as VirtualDisks, this.world.server.port),
    );
  }

  /** Resolves when its agent has said that it has come to the release, and nothing else. */
  upToDate({ manifest }: Release, from: number): Promise<number> {
    return this.machine.journal.says(new RegExp(`^up to date with release ${manifest.sequence}$`), from);
  }

  /** What was started, runs, and is the system profile, which is one. */
  async system(): Promise<string> {
    const systems = await this.machine.run(
      "readlink -f /run/booted-system /run/current-system /nix/var/nix/profiles/system | sort -u",
    );
    if (systems.includes("\n")) throw new Error(`there are several systems:\n${systems}`);
    return systems;
  }

  /** For a test that has failed. */
  get text(): string {
    return `${this.#machine?.console.text}\n\nIts journal:\n${this.#machine?.journal.text}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }
}

/** What `uname -r` says in a kernel. */
export function kernelOf(version: 0 | 1): string {
  return kernelVersions().toReversed()[version] as string;
}
