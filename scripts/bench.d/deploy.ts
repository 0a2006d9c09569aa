// How long a deploy takes: see scripts/bench.
import { readFile } from "node:fs/promises";
import path from "node:path";
import { parseArgs } from "node:util";
import { SftpSession, SILENCE } from "../../src/publish/sftp/session.ts";
import { succeed } from "../../test/support/programs.ts";
import { BenchFleet } from "./fleet.ts";
import { measureHost } from "./host.ts";
import { type Link, LOOPBACK, roundTrip, slowLink } from "./link.ts";
import { type Figures, measure } from "./measure.ts";
import { PEERS, type Peer, type Target } from "./peers.ts";
import { BenchWorld } from "./world.ts";

const cli = path.join(import.meta.dirname, "../../dist/cli.js");
const { values } = parseArgs({
  options: {
    sizes: { type: "string", default: "1,100,1000" },
    delays: { type: "string", default: "0,100" },
    peers: { type: "string", default: Object.keys(PEERS).join(",") },
    files: { type: "string", default: "50" },
    limit: { type: "string", default: "120" },
  },
});
const list = (text: string) => text.split(",").filter((part) => part !== "");
const sizes = list(values.sizes).map(Number);
const delays = list(values.delays).map(Number);
const peers = list(values.peers).map((name) => {
  const peer = PEERS[name];
  if (peer === undefined) throw new Error(`--peers: there is no ${name}, but ${Object.keys(PEERS).join(", ")}`);
  return peer;
});
const files = Number(values.files);
const limit = Number(values.limit) * 1000;

const SCENARIOS = ["everything new", "one host changed", "a shared file changed", "nothing changed"] as const;
type Scenario = (typeof SCENARIOS)[number];

const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => stop.abort(new Error(`ended by ${signal}`)));
}

/** What a program took for one scenario, in seconds and MiB; or why it isn't known. */
function cell(figures: Figures | string): string {
  if (typeof figures === "string") return figures;
  if (figures.timedOut) return `> ${limit / 1000} s`;
  if (figures.status !== 0) return `failed (${figures.status})`;
  return `${figures.wall.toFixed(2)} s ${String(Math.round(figures.peak / 1024 ** 2)).padStart(5)} MiB`;
}

function line(name: string, cells: readonly string[]): string {
  return `${name.padEnd(30)}${cells.map((text) => text.padStart(24)).join("")}`;
}

/** `bento deploy`, which has to say of each host what was expected of it. */
async function deploy(fleet: BenchFleet, world: BenchWorld, published: number): Promise<Figures> {
  const figures = await measure(process.execPath, [cli, "deploy", "--no-eval", "--json", "--fleet", fleet.dir], {
    env: {
      ...process.env,
      BENTO_SSH_KEY_FILE: world.publisher.file,
      BENTO_SIGNING_KEY_FILE: world.signing.file,
    },
    signal: stop.signal,
  });
  if (figures.status !== 0) throw new Error(`bento deploy failed: ${figures.stdout.slice(0, 2000)}`);
  const { hosts } = JSON.parse(figures.stdout) as { hosts: { status: string }[] };
  const count = hosts.filter(({ status }) => status === "published").length;
  if (count !== published || hosts.length !== fleet.hosts.length) {
    throw new Error(`bento deploy published ${count} of ${hosts.length} hosts, not ${published}`);
  }
  return figures;
}

/** Seconds for a connection, a single request, and its end: the least of three. */
async function connection(world: BenchWorld, link: Link): Promise<number> {
  const server = await world.settings(link.address);
  const times: number[] = [];
  const privateKey = await readFile(world.publisher.file);
  for (let n = 0; n < 3; n++) {
    const started = performance.now();
    const session = await SftpSession.connect({ server, privateKey, signal: stop.signal, silence: SILENCE });
    await session.requests.stat("/");
    await session[Symbol.asyncDispose]();
    times.push((performance.now() - started) / 1000);
  }
  return Math.min(...times);
}

class Table {
  /** By program and scenario: those that took longer than the limit, which a larger fleet makes no better. */
  readonly #hopeless = new Set<string>();
  readonly #world: BenchWorld;
  readonly #link: Link;

  constructor(world: BenchWorld, link: Link) {
    this.#world = world;
    this.#link = link;
  }

  /** Prints the table of one size, and gives what Bento took. */
  async print(size: number): Promise<Map<Scenario, number>> {
    const world = this.#world;
    const keys = Object.fromEntries(Object.entries(world.keys).slice(0, size));
    const server = await world.settings(this.#link.address);
    const fleet = await BenchFleet.make(world.dir, { server, signers: [world.signing.publicKey], keys, files });
    await world.forget();

    const rows = new Map<string, string[]>([["bento deploy", []]]);
    const targets = new Map<Peer, Target>();
    for (const peer of peers) {
      rows.set(peer.name, []);
      targets.set(peer, await world.target(this.#link.address, peer.name.split(" ", 1)[0] ?? ""));
    }
    const taken = new Map<Scenario, number>();
    for (const scenario of SCENARIOS) {
      if (scenario === "one host changed") await fleet.changeOne();
      if (scenario === "a shared file changed") await fleet.changeShared();
      const published = { "one host changed": 1, "nothing changed": 0 }[scenario as string] ?? size;
      const bento = await deploy(fleet, world, published);
      taken.set(scenario, bento.wall);
      rows.get("bento deploy")?.push(cell(bento));
      for (const [peer, target] of targets) {
        rows.get(peer.name)?.push(cell(await this.#peer(peer, target, fleet, scenario)));
      }
    }
    for (const [name, cells] of rows) console.log(line(name, cells));
    for (const { directory } of targets.values()) await world.empty(directory);
    return taken;
  }

  async #peer(peer: Peer, target: Target, fleet: BenchFleet, scenario: Scenario): Promise<Figures | string> {
    if (peer.always && scenario !== "everything new") return "the same";
    const key = `${peer.name} ${scenario}`;
    if (this.#hopeless.has(key)) return "not tried";
    const [program, ...args] = peer.command(fleet.trees, target);
    const figures = await measure(program, args, { limit, signal: stop.signal });
    if (figures.timedOut) this.#hopeless.add(key);
    // What the next scenario begins with.
    if (figures.timedOut || figures.status !== 0) await this.#world.fill(target, fleet.trees);
    return figures;
  }
}

async function main(): Promise<void> {
  await succeed("ip", ["link", "set", "lo", "up"]);
  const largest = Math.max(...sizes);
  await using world = await BenchWorld.make(largest);

  const local = new Map<number, Map<Scenario, number>>();
  let localBare = 0;
  for (const delay of delays) {
    await using link = delay === 0 ? LOOPBACK : await slowLink(world.dir, delay);
    const measured = await roundTrip(link.address, world.server.port);
    const bare = await connection(world, link);
    console.log(`\n== ${delay} ms of added round-trip time (measured ${measured.toFixed(1)} ms)\n`);
    console.log(`The bare connection, with one request: ${bare.toFixed(2)} s`);
    const table = new Table(world, link);
    for (const size of sizes) {
      console.log(`\n${line(`${size} hosts of ${files} files`, SCENARIOS)}`);
      const taken = await table.print(size);
      if (delay === 0) {
        local.set(size, taken);
        continue;
      }
      const before = local.get(size);
      if (before === undefined) continue;
      const beyond = SCENARIOS.map((scenario) => {
        const extra = (taken.get(scenario) ?? 0) - bare - ((before.get(scenario) ?? 0) - localBare);
        return `${((1000 * extra) / delay).toFixed(1)} round trips`;
      });
      console.log(line("bento, beyond a connection", beyond));
    }
    if (delay === 0) localBare = bare;
    await measureHost(world, link, { cli, limit, signal: stop.signal });
  }
  if (peers.length > 0) {
    console.log(
      `\n'not tried': with fewer hosts it took more than ${limit / 1000} s already. 'the same': it always sends everything.`,
    );
  }
}

main().catch((error: unknown) => {
  process.exitCode = 1;
  console.error(error);
});
