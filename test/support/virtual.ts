import { once } from "node:events";
import { connect, type Socket } from "node:net";
import path from "node:path";
import { createInterface, type Interface } from "node:readline";
import { kill, type Running, start } from "./programs.ts";
import type { VirtualDisk, VirtualDisks } from "./virtual-disk.ts";

/** Where it reaches this machine. */
export const GATEWAY = "10.0.2.100";

/** Units of every machine: its journal goes to the second serial port, and the third is for a shell. */
export const PORTS = {
  "test-journal.service": `[Unit]
DefaultDependencies=no
After=systemd-journald.service
[Service]
ExecStart=/bin/sh -c 'stty -F /dev/ttyS1 raw -echo; exec journalctl -f -n all -o cat > /dev/ttyS1'
`,
  "test-hands.service": `[Unit]
DefaultDependencies=no
[Service]
ExecStart=/bin/bash /etc/test-hands
`,
};

/** Each line is a script; what it printed comes back in one line, after its exit status. */
const HANDS = `exec < /dev/ttyS2 > /dev/ttyS2
stty raw -echo
while IFS= read -r line; do
  [ -n "$line" ] || continue
  if said=$(bash -c "$(base64 -d <<< "$line")" 2>&1); then status=0; else status=$?; fi
  printf '%s %s\\n' "$status" "$(base64 -w 0 <<< "$said")"
done
`;

export async function prepareHands(disk: VirtualDisk): Promise<void> {
  await disk.write("/etc/test-hands", HANDS);
  await disk.want(Object.fromEntries(Object.keys(PORTS).map((unit) => [unit, ["sysinit.target"]])));
}

/** The lines that something says. */
class Lines {
  readonly #lines: Interface;
  readonly #log: string[] = [];
  readonly #ended: Promise<never>;

  constructor(input: NodeJS.ReadableStream, what: string) {
    this.#lines = createInterface({ input });
    // A terminal is told where its cursor goes.
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what they are
    this.#lines.on("line", (line) => this.#log.push(line.replaceAll(/\x1b\[[0-9;?]*[A-Za-z]|\x1bc|\r/g, "")));
    this.#ended = once(this.#lines, "close").then(() => {
      throw new Error(`${what} ended:\n${this.text}`);
    });
    this.#ended.catch(() => {});
  }

  async says(pattern: RegExp, from = 0): Promise<number> {
    for (;;) {
      const index = this.#log.findIndex((line, at) => at >= from && pattern.test(line));
      if (index >= 0) return index + 1;
      await Promise.race([once(this.#lines, "line"), this.#ended]);
    }
  }

  get count(): number {
    return this.#log.length;
  }

  get text(): string {
    return this.since(0);
  }

  since(from: number): string {
    return this.#log.slice(from).join("\n");
  }
}

/** A machine that is emulated, down to its processor: it boots by its disk's boot loader, and whatever runs on it is real. */
export class VirtualMachine implements AsyncDisposable {
  readonly #running: Running;
  readonly #hands: Socket;
  readonly #answers: Interface;
  #off = false;
  /** What comes on the console: of kernels, first stages and systemd. */
  readonly console: Lines;
  /** Its journal, since it was switched on. */
  readonly journal: Lines;

  private constructor(running: Running, journal: Socket, hands: Socket) {
    this.#running = running;
    if (!running.child.stdout) throw new Error("no console");
    this.console = new Lines(running.child.stdout, "machine");
    this.journal = new Lines(journal, "journal");
    this.#hands = hands;
    this.#answers = createInterface({ input: hands });
  }

  /** Switches a machine on. Its network reaches nothing but a port of this machine's loopback, at GATEWAY. */
  static async switchOn(dir: string, { firmware, loader, root }: VirtualDisks, port: number): Promise<VirtualMachine> {
    const sockets = ["journal", "hands"].map((name) => path.join(dir, name));
    const running = start("qemu-system-x86_64", [
      ...["-accel", "tcg", "-m", "768", "-smp", "1"],
      ...["-nodefaults", "-no-user-config", "-display", "none"],
      ...["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"],
      ...sockets.flatMap((socket) => ["-serial", `unix:${socket},server=on,wait=off`]),
      ...firmware,
      ...["-drive", `file=${loader},format=raw,if=virtio`, "-drive", `file=${root},format=raw,if=virtio`],
      ...["-netdev", `user,id=net,restrict=on,guestfwd=tcp:${GATEWAY}:${port}-cmd:socat - TCP:127.0.0.1:${port}`],
      ...["-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci"],
    ]);
    const [journal, hands] = await Promise.all(sockets.map((socket) => connected(socket, running)));
    return new VirtualMachine(running, journal as Socket, hands as Socket);
  }

  /** A script, run by its bash as root; gives what it printed. */
  async run(script: string): Promise<string> {
    const answer = once(this.#answers, "line");
    this.#hands.write(`${Buffer.from(script).toString("base64")}\n`);
    const [line] = (await answer) as [string];
    const [status, said = ""] = line.split(" ");
    const text = Buffer.from(said, "base64").toString().trimEnd();
    if (status !== "0") throw new Error(`${script}\nended with status ${status}:\n${text}`);
    return text;
  }

  /** The power is lost. */
  async powerOff(): Promise<void> {
    if (this.#off) return;
    this.#off = true;
    kill([this.#running.pid]);
    await this.#running.done;
    this.#hands.destroy();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.powerOff();
  }
}

async function connected(socket: string, running: Running): Promise<Socket> {
  const ended = running.done.then(({ status, stderr }) => {
    throw new Error(`the machine ended with status ${status}:\n${stderr}`);
  });
  ended.catch(() => {});
  for (;;) {
    const connection = connect(socket);
    const made = once(connection, "connect").then(
      () => true,
      () => false,
    );
    if (await Promise.race([made, ended])) {
      // It ends with the machine.
      return connection.on("error", () => {});
    }
    await Promise.race([new Promise((resolve) => setTimeout(resolve, 50)), ended]);
  }
}
