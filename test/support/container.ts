import { once } from "node:events";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { createInterface, type Interface } from "node:readline";
import { packageRoot } from "../../src/platform/package.ts";
import { type Exit, exec, type Running, start, succeed } from "./programs.ts";

/** What docker gives a container by default; rootless podman gives no more. */
const CAPABILITIES = "CHOWN,DAC_OVERRIDE,FOWNER,FSETID,KILL,NET_BIND_SERVICE,SETFCAP,SETGID,SETPCAP,SETUID,SYS_CHROOT"
  .split(",")
  .map((name) => `CAP_${name}`);

/** An image that podman builds from utils/server/Containerfile on a base image made of `root`, a Debian's files. */
export async function buildServerImage(name: string, root: string): Promise<AsyncDisposable & { mount: string }> {
  await using made = new AsyncDisposableStack();
  const base = `localhost/${name}-base`;
  await succeed("sh", ["-c", `tar -C "$0" -c . | podman import - "$1"`, root, base]);
  made.defer(async () => void (await exec("podman", ["rmi", "--force", base])));
  const image = `localhost/${name}`;
  await succeed("podman", [
    ...["build", "--isolation=chroot", "--build-arg", `BASE=${base}`, "-t", image],
    path.join(packageRoot(), "utils/server"),
  ]);
  made.defer(async () => void (await exec("podman", ["rmi", "--force", image])));
  const mount = await succeed("podman", ["image", "mount", image]);
  made.defer(async () => void (await exec("podman", ["image", "umount", image])));
  const all = made.move();
  return { mount, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

/**
 * A container of an image, run by the same runtime and with the same capabilities as podman's, in a network of its own. (Not by
 * podman itself, which wants to raise limits that not every machine lets it raise.)
 */
export class Container implements AsyncDisposable {
  readonly #dir: string;
  readonly #id: string;
  readonly #running: Running;
  readonly #lines: Interface;
  readonly #log: string[] = [];

  private constructor(dir: string, id: string, running: Running) {
    this.#dir = dir;
    this.#id = id;
    this.#running = running;
    if (!running.child.stderr) throw new Error("no stderr");
    this.#lines = createInterface({ input: running.child.stderr });
    this.#lines.on("line", (line) => this.#log.push(line));
  }

  /** `volumes`: what is where in the container. Changes of its own files are kept in `dir`, and gone with it. */
  static async run(
    dir: string,
    id: string,
    image: { mount: string },
    volumes: Readonly<Record<string, string>>,
  ): Promise<Container> {
    for (const name of ["upper", "work", "root"]) await mkdir(path.join(dir, name), { recursive: true });
    const layers = `lowerdir=${image.mount},upperdir=${dir}/upper,workdir=${dir}/work`;
    await succeed("mount", ["-t", "overlay", "bento-test", "-o", layers, path.join(dir, "root")]);
    await succeed("crun", ["spec"], { cwd: dir });
    const file = path.join(dir, "config.json");
    const config = JSON.parse(await readFile(file, "utf8"));
    config.root = { path: "root", readonly: false };
    config.process.terminal = false;
    config.process.args = ["/usr/local/lib/bento/entrypoint"];
    config.process.capabilities = Object.fromEntries(
      ["bounding", "effective", "permitted"].map((set) => [set, CAPABILITIES]),
    );
    delete config.process.rlimits;
    delete config.linux.resources;
    const isCgroup = ({ type }: { type: string }) => type === "cgroup";
    config.linux.namespaces = config.linux.namespaces.filter((one: { type: string }) => !isCgroup(one));
    config.mounts = config.mounts.filter((one: { type: string }) => !isCgroup(one));
    for (const [destination, source] of Object.entries(volumes)) {
      config.mounts.push({ destination, source, type: "bind", options: ["rbind"] });
    }
    await writeFile(file, JSON.stringify(config));
    // crun refuses to run where there are cgroups of both kinds; here it needs none.
    const script = `mount -t cgroup2 none /sys/fs/cgroup
      exec crun --root "$1/state" --cgroup-manager=disabled run --pid-file "$1/pid" -b "$1" "$2"`;
    return new Container(dir, id, start("unshare", ["-m", "sh", "-c", script, "sh", dir, id]));
  }

  /** Waits for a line of its log, from the `from`-th on; the result is where the next one is. */
  async says(pattern: RegExp, from = 0): Promise<number> {
    const ended = this.#running.done.then(({ status }) => {
      throw new Error(`the container ended with status ${status}:\n${this.#log.join("\n")}`);
    });
    ended.catch(() => {});
    for (;;) {
      const index = this.#log.findIndex((line, at) => at >= from && pattern.test(line));
      if (index >= 0) return index + 1;
      await Promise.race([once(this.#lines, "line"), ended]);
    }
  }

  /** How many lines it has logged. */
  get logged(): number {
    return this.#log.length;
  }

  get log(): string {
    return this.#log.join("\n");
  }

  /** What starts a program in the container's network: its address is 127.0.0.1 there. */
  async inNetwork(): Promise<string[]> {
    return ["nsenter", "--net", "--target", await readFile(path.join(this.#dir, "pid"), "utf8"), "--"];
  }

  async exec(...args: string[]): Promise<Exit> {
    return exec("crun", ["--root", path.join(this.#dir, "state"), "exec", this.#id, ...args]);
  }

  /** As `podman stop` does. The result is its exit status. */
  async stop(signal = "TERM"): Promise<number> {
    await succeed("crun", ["--root", path.join(this.#dir, "state"), "kill", this.#id, signal]);
    return (await this.#running.done).status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await exec("crun", ["--root", path.join(this.#dir, "state"), "delete", "--force", this.#id]);
    await this.#running.done;
    await succeed("umount", ["--lazy", path.join(this.#dir, "root")]);
  }
}
