// What a host's poll costs: see scripts/bench.
import { execFileSync } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { parseArgs } from "node:util";
import { type MemoryGroup, memoryGroup } from "../../test/support/memory-group.ts";
import { succeed } from "../../test/support/programs.ts";
import { channelHost } from "../../test/support/release.ts";
import { World } from "../../test/support/world.ts";
import { type Link, LOOPBACK, roundTrip, slowLink } from "./link.ts";
import { measure } from "./measure.ts";

const HOST = "host";
const { values } = parseArgs({
  options: {
    delay: { type: "string", default: "100" },
    times: { type: "string", default: "5" },
    memory: { type: "string", default: "512" },
  },
});
const [delay, times, limit] = [values.delay, values.times, values.memory].map(Number) as [number, number, number];

interface Cost {
  /** Seconds. */
  wall: number;
  cpu: number;
  /** Both ways, headers included; undefined without a link. */
  bytes: number | undefined;
  /** Bytes of memory, all its programs together. */
  peak: number;
}

/** A program on the machine, as the shell has it. */
interface Subject {
  name: string;
  command(link: Link): Promise<string>;
}

await succeed("ip", ["link", "set", "lo", "up"]);
await using world = await World.make({ hosts: [HOST], listen: "0.0.0.0", tree: true });
const machine = await world.machine(HOST);
const { port } = world.server;
const login = world.loginPrefix + HOST;

/** The settings that make this machine's server the one at the link's other end. */
async function settle(link: Link): Promise<void> {
  await writeFile(machine.path("etc/bento.json"), world.agentSettings({ server: { address: link.address } }));
  const system = channelHost(HOST, `networking.gateway = "${link.address}"; environment.etc."at" = "${Date.now()}";`);
  await world.publish(HOST, system);
  const { status, stderr } = await machine.agent({ BENTO_SSH_CONFIG: "none" });
  if (status !== 0) throw new Error(`the machine is not upgraded:\n${stderr}`);
}

/** What a person's ssh needs, without this machine's own settings. */
async function sshOptions(link: Link): Promise<string> {
  const known = machine.path("known_hosts");
  await writeFile(known, `[${link.address}]:${port} ${await world.server.hostKey()}\n`);
  const options = [`UserKnownHostsFile=${known}`, "GlobalKnownHostsFile=/dev/null", `IdentityFile=${machine.key.file}`];
  return `-F none ${[...options, "IdentitiesOnly=yes", "BatchMode=yes", "LogLevel=ERROR"].map((option) => `-o ${option}`).join(" ")}`;
}

const subjects: Subject[] = [
  {
    name: "ssh, one connection",
    command: async (link) => `ssh ${await sshOptions(link)} -n -p ${port} ${login}@${link.address} true || true`,
  },
  {
    name: "sftp of one file",
    command: async (link) =>
      `echo 'get /releases/current ${machine.path("run/current")}' | sftp ${await sshOptions(link)} -P ${port} -b - ${login}@${link.address}`,
  },
  {
    name: "bento-agent, nothing new",
    command: async () => `exec bash ${machine.agentFile} upgrade`,
  },
];

const old = process.env.BENTO_TEST_OLD_BENTO;
if (old !== undefined) {
  subjects.push({
    name: "Bento of 2022, nothing new",
    async command(link) {
      const dir = machine.path("old");
      await mkdir(`${dir}/ssh`, { recursive: true, mode: 0o700 });
      const script = path.join(dir, "bento");
      await writeFile(script, execFileSync("git", ["-C", old, "show", "HEAD:bento"], { encoding: "utf8" }));
      const remote = `REMOTE_IP=${link.address} REMOTE_PORT=${port} TIMEOUT=20`;
      const make = `${remote}; eval "$(sed -n '/^create_bento_files()/,/^}/p' ${script})"; create_bento_files ${dir} ${login}`;
      await succeed("sh", ["-c", `${make}; sed -i 's|/var/bento|${dir}|g' ${dir}/update.sh`]);
      const key = await world.server.hostKey();
      // It looks for both, and for root's own settings.
      await writeFile(`${dir}/ssh/known_hosts`, `${link.address} ${key}\n[${link.address}]:${port} ${key}\n`);
      await writeFile(`${dir}/ssh/config`, `IdentityFile ${machine.key.file}\nLogLevel ERROR\n`);
      const enter = "mount -t tmpfs bento-bench /root && mkdir -m 700 /root/.ssh";
      return `exec unshare --mount sh -c '${enter} && cp ${dir}/ssh/* /root/.ssh/ && exec sh ${dir}/update.sh'`;
    },
  });
}

/** Bytes that have gone over a link. */
async function carried(link: Link): Promise<number | undefined> {
  if (link === LOOPBACK) return undefined;
  const [device] = JSON.parse(await succeed("ip", ["-s", "-j", "link", "show", `slow-${delay}`]));
  return device.stats64.tx.bytes;
}

async function cost(command: string, link: Link, megabytes = limit): Promise<Cost> {
  using group: MemoryGroup | undefined = memoryGroup(megabytes * 1024 ** 2);
  const before = await carried(link);
  const env = { ...process.env, ...machine.env, BENTO_SSH_CONFIG: "none" };
  const figures = await measure("bash", ["-c", `${group?.enter ?? ":"} && ${command}`], { env });
  if (figures.status !== 0) throw new Error(`it ended with status ${figures.status}: ${command}`);
  const after = await carried(link);
  return {
    wall: figures.wall,
    cpu: figures.cpu,
    peak: group?.peak ?? figures.peak,
    bytes: before === undefined || after === undefined ? undefined : after - before,
  };
}

async function least(command: string, link: Link): Promise<Cost> {
  const costs: Cost[] = [];
  for (let n = 0; n < times; n++) costs.push(await cost(command, link));
  const min = (of: (cost: Cost) => number) => Math.min(...costs.map(of));
  const bytes = costs[0]?.bytes === undefined ? undefined : min((one) => one.bytes ?? 0);
  return { wall: min((one) => one.wall), cpu: min((one) => one.cpu), peak: min((one) => one.peak), bytes };
}

function line(name: string, cells: readonly string[]): string {
  return `${name.padEnd(28)}${cells.map((cell) => cell.padStart(14)).join("")}`;
}

const MIB = 1024 ** 2;
const near = new Map<string, Cost>();
await settle(LOOPBACK);
for (const subject of subjects) near.set(subject.name, await least(await subject.command(LOOPBACK), LOOPBACK));

await using link = await slowLink(world.dir, delay);
await settle(link);
const trip = await roundTrip(link.address, port);
console.log(
  `A poll with nothing new, ${trip.toFixed(0)} ms away, within ${limit} MiB of memory; the least of ${times}:\n`,
);
console.log(line("", ["wall", "wall at 0 ms", "round trips", "bytes", "cpu", "memory"]));
for (const subject of subjects) {
  const far = await least(await subject.command(link), link);
  const here = near.get(subject.name)?.wall ?? 0;
  const trips = Math.round(((far.wall - here) * 1000) / trip);
  const cells = [`${far.wall.toFixed(2)} s`, `${here.toFixed(2)} s`, String(trips), String(far.bytes ?? "")];
  console.log(line(subject.name, [...cells, `${far.cpu.toFixed(2)} s`, `${(far.peak / MIB).toFixed(1)} MiB`]));
}

// As little memory as a poll comes along with, to 4 MiB.
let enough = limit;
for (let less = 4; less < limit; less += 4) {
  const done = await cost(`exec bash ${machine.agentFile} upgrade 2> /dev/null`, LOOPBACK, less).catch(() => null);
  if (done === null) continue;
  enough = less;
  break;
}
console.log(`\nA poll comes along with ${enough} MiB.`);

await world.publish(
  HOST,
  channelHost(HOST, `networking.gateway = "${link.address}"; environment.etc."at" = "the end";`),
);
const upgrade = await cost(`exec bash ${machine.agentFile} upgrade 2> ${machine.path("said")}`, link);
console.log(
  `An upgrade to a tiny system, from poll to report: ${upgrade.wall.toFixed(1)} s, ${upgrade.bytes ?? ""} bytes, ${(upgrade.peak / MIB).toFixed(1)} MiB. ` +
    '(Evaluating a whole NixOS is Nix\'s own memory: services.bento.build = "prebuilt" does without it.)',
);
