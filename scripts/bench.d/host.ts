import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { BenchFleet } from "./fleet.ts";
import type { Link } from "./link.ts";
import { type Figures, HEADING, measure, row } from "./measure.ts";
import { sftp } from "./peers.ts";
import type { BenchWorld } from "./world.ts";

/** Files of the host's tree. */
const FILES = 500;

/** Prints what a host's polls and fetches take. */
export async function measureHost(
  world: BenchWorld,
  link: Link,
  { cli, limit, signal }: { cli: string; limit: number; signal: AbortSignal },
): Promise<void> {
  const [host = ""] = Object.keys(world.keys);
  const server = await world.settings(link.address);
  const keys = { [host]: world.firstHost.publicKey };
  const fleet = await BenchFleet.make(world.dir, { server, signers: [world.signing.publicKey], keys, files: FILES });
  await world.forget();
  const keyFiles = { BENTO_SSH_KEY_FILE: world.publisher.file, BENTO_SIGNING_KEY_FILE: world.signing.file };
  const deploy = ["deploy", "--no-eval", "--json", "--fleet", fleet.dir];
  must(await measure(process.execPath, [cli, ...deploy], { env: { ...process.env, ...keyFiles }, signal }));

  const machine = path.join(world.dir, "machine");
  await rm(machine, { recursive: true, force: true });
  await mkdir(path.join(machine, "run"), { recursive: true });
  const env = {
    ...process.env,
    BENTO_HOST: host,
    BENTO_CONFIG: path.join(fleet.dir, "utils/bento.json"),
    BENTO_KEY: world.firstHost.file,
    BENTO_RUN: path.join(machine, "run"),
    BENTO_SSH_CONFIG: "none",
  };
  const fetcher = path.join(import.meta.dirname, "../../utils/agent/fetchers/sftp");
  console.log(`\n${`a host of ${FILES} files`.padEnd(34)}${HEADING.slice(34)}`);
  const poll = must(await measure("bash", [fetcher, "poll"], { env, signal }));
  console.log(row("poll", poll));

  const manifest = path.join(machine, "manifest.json");
  const { payload } = JSON.parse(poll.stdout) as { payload: string };
  await writeFile(manifest, Buffer.from(payload, "base64"));
  const release = path.join(machine, "release");
  const fetched = must(await measure("bash", [fetcher, "fetch", manifest, release], { env, signal }));
  console.log(row("fetch", fetched));
  const shared = "tree/utils/shared-1.nix";
  if (!(await readFile(path.join(release, shared))).equals(await readFile(path.join(fleet.dir, shared.slice(5))))) {
    throw new Error("what was fetched is not what was published");
  }

  const target = await world.target(link.address, "host");
  await world.fill(target, path.join(fleet.trees, host));
  const copy = path.join(machine, "copy");
  const [program, ...args] = sftp(target, [`get -r ${target.directory} ${copy}`], machine);
  // It is slow, and by how much is what is asked here.
  const plain = await measure(program, args, { limit: limit * 3, signal });
  const factor = plain.wall / fetched.wall;
  console.log(row(plain.timedOut ? "sftp get -r (cut off)" : "sftp get -r", plain));
  console.log(`The fetch is ${plain.timedOut ? "more than " : ""}${factor.toFixed(1)} times faster than sftp get -r.`);
}

function must(figures: Figures): Figures {
  if (figures.status === 0) return figures;
  throw new Error(`it ended with status ${figures.status}: ${figures.stdout.slice(0, 1000)}`);
}
