import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { createInterface, type Interface } from "node:readline";
import { MachineFiles } from "./machine-files.ts";
import { type Exit, exec, kill, type Running, start, succeed } from "./programs.ts";

/** Where there are trees of control groups that systemd uses: of version 1, of 2, or both. */
const CONTROL_GROUPS = ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"].filter((place) =>
  existsSync(path.join(place, "cgroup.procs")),
);

/** A cable: one end is this machine's, with an address, and the other is for a container. */
export class Cable implements AsyncDisposable {
  readonly #name: string;
  readonly address: string;
  /** The other end's. */
  readonly peer: string;
  /** The same in IPv6. */
  readonly address6: string;
  readonly peer6: string;

  private constructor(name: string, network: number, number = 2) {
    this.#name = name;
    this.address = `10.213.${network}.1`;
    this.peer = `10.213.${network}.${number}`;
    this.address6 = `fd42:be:${network}::1`;
    this.peer6 = `fd42:be:${network}::${number}`;
  }

  static async make(): Promise<Cable> {
    const network = await takeNetwork((inner) => ["veth", "peer", "name", inner]);
    const cable = new Cable(`bt${network}`, network);
    await cable.#give();
    return cable;
  }

  /** Two cables into one switch: what is at their other ends reaches each other, too. */
  static async pair(): Promise<readonly [Cable, Cable]> {
    const network = await takeNetwork(() => ["bridge"]);
    const cables = [new Cable(`bt${network}s`, network), new Cable(`bt${network}t`, network, 3)] as const;
    for (const cable of cables) {
      await succeed("ip", ["link", "add", cable.#outer, "type", "veth", "peer", "name", cable.interface]);
      await succeed("ip", ["link", "set", cable.#outer, "master", `bt${network}o`, "up"]);
    }
    cables[0].#bridge = `bt${network}o`;
    await cables[0].#give();
    return cables;
  }

  /** What the addresses are of, where that isn't this end. */
  #bridge: string | undefined;

  get #outer(): string {
    return `${this.#name}o`;
  }

  /** This machine's addresses. */
  async #give(): Promise<void> {
    const device = this.#bridge ?? this.#outer;
    await succeed("ip", ["address", "add", `${this.address}/24`, "dev", device]);
    await succeed("ip", ["address", "add", `${this.address6}/64`, "dev", device, "nodad"]);
    await succeed("ip", ["link", "set", device, "up"]);
  }

  /** What the other end is called in the container. */
  get interface(): string {
    return `${this.#name}i`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await exec("ip", ["link", "delete", this.#outer]);
    if (this.#bridge !== undefined) await exec("ip", ["link", "delete", this.#bridge]);
  }
}

/** Makes the device of a network that nobody has yet: of several processes at once, each gets one of its own. */
async function takeNetwork(kind: (inner: string) => readonly string[]): Promise<number> {
  for (let tries = 0; tries < 250; tries++) {
    const network = (process.pid + tries) % 250;
    const taken = await succeed("ip", ["-o", "address"]);
    if (taken.includes(` 10.213.${network}.`)) continue;
    const device = `bt${network}o`;
    const { status } = await exec("ip", ["link", "add", device, "type", ...kind(`bt${network}i`)]);
    if (status === 0) return network;
  }
  throw new Error("no network between 10.213.0.0 and 10.213.249.0 is free, or no device can be made");
}

/**
 * A machine on which systemd is the first process: a container with this machine's own programs, whose changes of its files are
 * gone with it, a Nix store of its own, and nothing running but systemd and its journal.
 */
export class BootedMachine extends MachineFiles implements AsyncDisposable {
  readonly #dir: string;
  readonly #name: string;
  readonly #group = `bento-test-${randomUUID()}`;
  readonly #cable: Cable;
  #container: Running | undefined;
  #init = 0;
  #boots = 0;
  #journal: { running: Running; lines: Interface } | undefined;
  readonly #log: string[] = [];

  private constructor(dir: string, name: string, cable: Cable) {
    super();
    this.#dir = dir;
    this.#name = name;
    this.#cable = cable;
  }

  /** Its files lie in `dir`, which is made for them; they can be looked at and written to at `path` before it boots. */
  static async make(dir: string, name: string, cable: Cable): Promise<BootedMachine> {
    for (const place of ["upper", "work", "root", "nix/store"]) await mkdir(path.join(dir, place), { recursive: true });
    const layers = `lowerdir=/,upperdir=${dir}/upper,workdir=${dir}/work`;
    await succeed("mount", ["-t", "overlay", "bento-test", "-o", layers, path.join(dir, "root")]);
    const machine = new BootedMachine(dir, name, cable);
    // Otherwise it would be this machine, and start what this machine starts.
    await writeFile(machine.path("/etc/machine-id"), "");
    await rm(machine.path("/var/bento"), { recursive: true, force: true });
    const target = "[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n";
    await writeFile(machine.path("/etc/systemd/system/bento-test.target"), target);
    return machine;
  }

  /** Where a file of its is, seen from here. */
  path(file: string): string {
    return file.startsWith("/nix/") ? path.join(this.#dir, file) : path.join(this.#dir, "root", file);
  }

  /** As NixOS's second stage does, `stage` is run before systemd, which takes its place as the first process. */
  async boot(stage = ""): Promise<void> {
    await this.write(
      "/run-before-systemd",
      `#!/bin/sh\n${stage}\nexec /lib/systemd/systemd systemd.unit=bento-test.target\n`,
      0o755,
    );
    // With --keep-unit it makes what its systemd may use as control groups below that of whoever starts it: two of them in one
    // would end each other's services.
    const enter = CONTROL_GROUPS.map(
      (place) => `if mkdir ${place}/$0 2>&-; then echo $$ > ${place}/$0/cgroup.procs; fi`,
    );
    this.#container = start("sh", [
      ...["-c", `${enter.join("; ")}; exec systemd-nspawn "$@"`, this.#group],
      ...["--quiet", "--register=no", "--keep-unit", "--kill-signal=SIGRTMIN+3", "--console=pipe"],
      ...[`--machine=${this.#name}`, "--private-network", `--bind=${path.join(this.#dir, "nix")}:/nix`],
      ...["--directory", path.join(this.#dir, "root"), "/run-before-systemd"],
    ]);
    const { pid, done } = this.#container;
    const ended = done.then(({ status, stdout, stderr }) => {
      throw new Error(`it does not boot (${status}):\n${stdout}${stderr}`);
    });
    ended.catch(() => {});
    const wait = [
      "-c",
      `until init=$(pgrep --parent ${pid}) && [ -e /proc/$init/root/run/systemd/private ]; do sleep 0.1; done; echo $init`,
    ];
    this.#init = Number(await Promise.race([succeed("bash", wait), ended]));
    // Asked again and again, since --wait may not hear of a start that ends in emergency mode.
    await this.run(
      "until systemctl is-system-running | grep -qE '^(running|degraded|maintenance)$'; do sleep 0.1; done",
    );
    // It has none when it is started again: that was gone with its first process.
    if (this.#boots === 0) await succeed("ip", ["link", "set", this.#cable.interface, "netns", String(this.#init)]);
    this.#boots += 1;
    const running = start("nsenter", this.#inside("journalctl -f -n all -o cat"));
    if (!running.child.stdout) throw new Error("no journal");
    const lines = createInterface({ input: running.child.stdout });
    lines.on("line", (line) => this.#log.push(line));
    this.#journal = { running, lines };
  }

  /** A script, run by its bash as root. */
  exec(script: string): Promise<Exit> {
    return exec("nsenter", this.#inside(script));
  }

  /** The same, which has to succeed; gives what it printed. */
  run(script: string): Promise<string> {
    return succeed("nsenter", this.#inside(script));
  }

  /** Waits for a line of its journal, from the `from`-th on; the result is where the next one is. */
  async says(pattern: RegExp, from = 0): Promise<number> {
    const journal = this.#journal;
    if (!journal) throw new Error("it has not booted");
    const ended = journal.running.done.then(() => {
      throw new Error(`its journal ended:\n${this.log}`);
    });
    ended.catch(() => {});
    for (;;) {
      const index = this.#log.findIndex((line, at) => at >= from && pattern.test(line));
      if (index >= 0) return index + 1;
      await Promise.race([once(journal.lines, "line"), ended]);
    }
  }

  /** How many lines its journal has. */
  get logged(): number {
    return this.#log.length;
  }

  get log(): string {
    return this.#log.join("\n");
  }

  #inside(script: string): string[] {
    const environment = ["-i", "HOME=/root", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"];
    return ["--target", String(this.#init), "--all", "--", "env", ...environment, "bash", "-c", script];
  }

  /** The power is lost, with all of them: nobody waits for it to stop what it does. */
  async powerOff(): Promise<void> {
    if (!this.#container) return;
    kill([this.#init || this.#container.pid]);
    await this.#container.done;
    const groups = CONTROL_GROUPS.map((place) => path.join(place, this.#group));
    await exec("find", [...groups, "-depth", "-type", "d", "-delete"]);
    this.#container = undefined;
    this.#init = 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.powerOff();
    await succeed("umount", ["--lazy", path.join(this.#dir, "root")]);
  }
}
