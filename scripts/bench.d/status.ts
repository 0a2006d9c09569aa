// How long it takes to see how a fleet is: see scripts/bench.
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { payloadOf } from "../../src/release/envelope.ts";
import { succeed } from "../../test/support/programs.ts";
import { BenchFleet } from "./fleet.ts";
import { type Link, LOOPBACK, roundTrip, slowLink } from "./link.ts";
import { type Figures, HEADING, measure, row } from "./measure.ts";
import { BenchWorld } from "./world.ts";

const cli = path.join(import.meta.dirname, "../../dist/cli.js");
const { values } = parseArgs({
  options: { sizes: { type: "string", default: "3,100,1000" }, delays: { type: "string", default: "0,100" } },
});
const numbers = (text: string) => text.split(",").map(Number);

/** Attempts that each host has reported, with their logs. */
const ATTEMPTS = 10;
/** Runs of each, of which the quickest is told: others use this machine, too. */
const RUNS = 3;

const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => stop.abort(new Error(`ended by ${signal}`)));
}

/** What a host that is well has said. */
async function report(world: BenchWorld, host: string): Promise<void> {
  const chroot = path.join(world.server.root, host);
  const { sequence, commit, digest } = payloadOf(await readFile(path.join(chroot, "releases/current"), "utf8"));
  const system = `/nix/store/${"1".repeat(32)}-nixos-system-${host}-26.05`;
  const put = (name: string, content: string | Buffer) =>
    writeFile(path.join(chroot, "reports", name), content, { mode: 0o640 });
  const times = { started: new Date().toISOString(), finished: new Date().toISOString() };
  const said = { version: 1, host, sequence, agent: "0.1.0" };
  const attempt = { ...said, commit, digest, outcome: "success", reason: null, from: system, to: system, ...times };
  const log = gzipSync(`${host} builds, activates and confirms\n`.repeat(200));
  for (let n = 0; n < ATTEMPTS; n++) {
    await put(`${1795430400000 + n}-${sequence}.json`, JSON.stringify(attempt));
    await put(`${1795430400000 + n}-${sequence}.log.gz`, log);
  }
  await put("latest.json", JSON.stringify(attempt));
  const systems = { running: system, booted: system, profile: system };
  await put("heartbeat.json", JSON.stringify({ ...said, ...systems, suspended: false, reboot: false }));
}

async function status(world: BenchWorld, fleet: BenchFleet, args: readonly string[]): Promise<Figures> {
  let best: Figures | undefined;
  for (let n = 0; n < RUNS; n++) {
    const figures = await measure(process.execPath, [cli, "status", "--json", "--fleet", fleet.dir, ...args], {
      env: { ...process.env, BENTO_SSH_KEY_FILE: world.publisher.file },
      signal: stop.signal,
    });
    const { hosts } = JSON.parse(figures.stdout) as { hosts: { state: string }[] };
    const well = hosts.filter(({ state }) => state === "up-to-date").length;
    if (figures.status !== 0 || well !== fleet.hosts.length) {
      throw new Error(`bento status found ${well} of ${fleet.hosts.length} hosts well`);
    }
    if (best === undefined || figures.wall < best.wall) best = figures;
  }
  if (best === undefined) throw new Error("nothing was measured");
  return best;
}

async function prepare(world: BenchWorld, link: Link, size: number): Promise<BenchFleet> {
  const keys = Object.fromEntries(Object.entries(world.keys).slice(0, size));
  const server = await world.settings(link.address);
  const fleet = await BenchFleet.make(world.dir, { server, signers: [world.signing.publicKey], keys, files: 6 });
  await world.forget();
  const env = { BENTO_SSH_KEY_FILE: world.publisher.file, BENTO_SIGNING_KEY_FILE: world.signing.file };
  await succeed(process.execPath, [cli, "deploy", "--no-eval", "--fleet", fleet.dir], { env });
  for (const host of fleet.hosts) await report(world, host);
  return fleet;
}

async function main(): Promise<void> {
  await succeed("ip", ["link", "set", "lo", "up"]);
  const sizes = numbers(values.sizes);
  await using world = await BenchWorld.make(Math.max(...sizes));
  for (const delay of numbers(values.delays)) {
    await using link = delay === 0 ? LOOPBACK : await slowLink(world.dir, delay);
    const measured = await roundTrip(link.address, world.server.port);
    console.log(`\n== ${delay} ms of added round-trip time (measured ${measured.toFixed(1)} ms)\n\n${HEADING}`);
    for (const size of sizes) {
      const fleet = await prepare(world, link, size);
      console.log(row(`${size} hosts`, await status(world, fleet, [])));
      const page = path.join(world.dir, "page");
      console.log(row(`${size} hosts, the page`, await status(world, fleet, ["--html", page])));
    }
  }
}

main().catch((error: unknown) => {
  process.exitCode = 1;
  console.error(error);
});
