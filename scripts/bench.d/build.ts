import { execFileSync } from "node:child_process";
import { createReadStream } from "node:fs";
import { rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { parseArgs } from "node:util";
import { makeCacheKey } from "../../src/nix/cache-key.ts";
import { packageRoot } from "../../src/platform/package.ts";
import { World } from "../../test/support/world.ts";
import { type Figures, HEADING, measure, row } from "./measure.ts";

// The whole way of one change on a fleet of four, for each way that hosts can get their systems: the pull request's check, the
// runner's build, push and deploy after the merge, and each host's upgrade. See scripts/bench.

const { values } = parseArgs({
  options: { packages: { type: "string", default: "4" }, work: { type: "string", default: "2" } },
});
const packages = Number(values.packages);
const work = Number(values.work);
const cli = path.join(packageRoot(), "dist/cli.js");
/** What all hosts of the demo's fleet import. */
const SHARED = "utils/common.nix";

/** A package that takes `work` seconds of a processor and is 1 MB that doesn't compress. */
const slow = (name: string) => `(derivation {
    name = "${name}"; system = builtins.currentSystem or "x86_64-linux"; builder = "/bin/sh";
    args = [ "-c" "PATH=/run/current-system/sw/bin:/usr/bin:/bin; timeout ${work} sh -c 'while :; do :; done'; mkdir -p $out/bin; head -c 1000000 /dev/urandom > $out/bin/${name}" ];
  })`;

/** What a host's agent runs in: the store given first, in the place of the one given then. */
const IN_STORE = 'mount --bind "$0" "$1"; shift; exec "$@"';

interface Way {
  name: string;
  /** services.bento.build */
  build: "source" | "auto" | "prebuilt";
  /** Whether the runner builds and pushes before it deploys. */
  isBuilt: boolean;
  /** Whether it has built the pull request, too. */
  isBuiltBefore?: boolean;
}

const WAYS: readonly Way[] = [
  { name: "source", build: "source", isBuilt: false },
  { name: "auto, the cache has it", build: "auto", isBuilt: true },
  { name: "auto, no cache has it", build: "auto", isBuilt: false },
  { name: "prebuilt", build: "prebuilt", isBuilt: true },
  { name: "prebuilt, and built on the pull request", build: "prebuilt", isBuilt: true, isBuiltBefore: true },
];

function must(figures: Figures, what: string): Figures {
  if (figures.status === 0) return figures;
  throw new Error(`${what} ended with status ${figures.status}: ${figures.stdout.slice(-2000)}`);
}

/** A directory as a static web server shows it. */
async function serve(dir: string) {
  const server = createServer((request, response) => {
    const file = path.join(dir, path.normalize(new URL(request.url ?? "", "http://cache").pathname));
    const stream = createReadStream(file);
    stream.on("error", () => response.writeHead(404).end());
    stream.on("open", () => response.writeHead(200));
    stream.pipe(response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, [Symbol.dispose]: () => server.close() };
}

await using world = await World.make();
const fleet = await world.makeFleet();
const key = makeCacheKey("bench-1");
const cache = path.join(world.dir, "cache");
const store = path.dirname(world.store.dir);

const env = {
  ...process.env,
  XDG_CACHE_HOME: path.join(world.dir, "runner-cache"),
  XDG_STATE_HOME: path.join(world.dir, "runner-state"),
  BENTO_SSH_KEY_FILE: world.publisherKey.file,
  BENTO_SIGNING_KEY_FILE: world.signingKey.file,
};
const bento = (...args: string[]) => measure(process.execPath, [cli, ...args, "--json"], { cwd: fleet.dir, env });
const signing = { ...env, BENTO_CACHE_KEY: key.secretKey };
const push = [cli, "build", "--push", `file://${cache}`, "--json"];

const machines = await Promise.all(world.hosts.map(async (host) => [host, await world.machine(host)] as const));
// Each host's store is its own: what there is now, before the change, and nothing of what the runner builds from here on.
must(await bento("build"), "the first build");
const own = (host: string) => path.join(world.dir, `store-of-${host}`);
for (const host of world.hosts) execFileSync("cp", ["-a", store, own(host)]);

const original = await fleet.read(SHARED);
console.log(
  `A fleet of ${world.hosts.length}; all of them get ${packages} packages that take ${work} s each to build.\n`,
);
console.log(HEADING);
for (const [index, way] of WAYS.entries()) {
  await rm(cache, { recursive: true, force: true });
  console.log(way.name);
  const step = async (name: string, figures: Promise<Figures>): Promise<number> => {
    const done = must(await figures, name);
    console.log(row(`  ${name}`, done));
    return done.wall;
  };

  await fleet.git("checkout", "-q", "-b", `change-${index}`);
  const added = Array.from({ length: packages }, (_, n) => slow(`way-${index}-package-${n}`)).join("\n  ");
  await fleet.write(SHARED, original.replace(/(environment\.systemPackages = \[)/, `$1\n  ${added}\n`));
  await fleet.commit(way.name);
  await step("bento check --base main", bento("check", "--base", "main"));
  if (way.isBuiltBefore) await step("bento build --base main", bento("build", "--base", "main"));
  await fleet.git("checkout", "-q", "main");
  await fleet.git("merge", "-q", "--no-ff", "-m", `Merge: ${way.name}`, `change-${index}`);

  let merged = 0;
  if (way.isBuilt) {
    merged += await step("bento build --push", measure(process.execPath, push, { cwd: fleet.dir, env: signing }));
  }
  merged += await step("bento deploy", bento("deploy"));
  using server = await serve(cache);
  const settings = [
    process.env.NIX_CONFIG ?? "",
    `substituters = ${server.url}`,
    `trusted-public-keys = ${key.publicKey}`,
    "narinfo-cache-negative-ttl = 0",
  ].join("\n");
  let slowest = 0;
  for (const [host, machine] of machines) {
    const hostEnv = {
      ...process.env,
      ...machine.env,
      NIX_CONFIG: settings,
      BENTO_BUILD: way.build,
      XDG_CACHE_HOME: path.join(world.dir, `cache-of-${host}-${index}`),
    };
    const before = await machine.running();
    const agent = ["-m", "--propagation", "private", "sh", "-c", IN_STORE, own(host), store];
    const upgrade = measure("unshare", [...agent, "bash", machine.agentFile, "upgrade"], { env: hostEnv });
    slowest = Math.max(slowest, await step(`the upgrade of ${host}`, upgrade));
    const running = await machine.running();
    if (running === before || !running.includes(`nixos-system-${host}-`)) throw new Error(`${host} runs ${running}`);
  }
  const total = merged + slowest;
  console.log(`  from the merge to the slowest host's running system ${total.toFixed(1)} s`);
}
