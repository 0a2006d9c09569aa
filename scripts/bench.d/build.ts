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

// From the merge to the running system: the runner's build, push and deploy, and the host's upgrade, for each way that a host can
// get its system. See scripts/bench.

const { values } = parseArgs({
  options: { packages: { type: "string", default: "4" }, work: { type: "string", default: "2" } },
});
const packages = Number(values.packages);
const work = Number(values.work);
const cli = path.join(packageRoot(), "dist/cli.js");
const HOST = "nas";

/** A package that takes `work` seconds of a processor and is 1 MB that doesn't compress. */
const slow = (name: string) => `(derivation {
    name = "${name}"; system = builtins.currentSystem or "x86_64-linux"; builder = "/bin/sh";
    args = [ "-c" "PATH=/run/current-system/sw/bin:/usr/bin:/bin; timeout ${work} sh -c 'while :; do :; done'; mkdir -p $out/bin; head -c 1000000 /dev/urandom > $out/bin/${name}" ];
  })`;

interface Way {
  name: string;
  /** services.bento.build */
  build: "source" | "auto" | "prebuilt";
  /** Whether the runner builds and pushes before it deploys. */
  isBuilt: boolean;
}

const WAYS: readonly Way[] = [
  { name: "source", build: "source", isBuilt: false },
  { name: "auto, the cache has it", build: "auto", isBuilt: true },
  { name: "auto, no cache has it", build: "auto", isBuilt: false },
  { name: "prebuilt", build: "prebuilt", isBuilt: true },
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
const machine = await world.machine(HOST);
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
// The host's store is its own: what there is now, before the change, and nothing of what the runner builds from here on.
must(await measure(process.execPath, [cli, "build", "--json"], { cwd: fleet.dir, env }), "the first build");
const own = path.join(world.dir, "host-store");
execFileSync("cp", ["-a", store, own]);

const file = `hosts/${HOST}/configuration.nix`;
const original = await fleet.read(file);
console.log(`A fleet of ${world.hosts.length}; ${HOST} gets ${packages} packages that take ${work} s each to build.\n`);
console.log(HEADING);
for (const [index, way] of WAYS.entries()) {
  await rm(cache, { recursive: true, force: true });
  const added = Array.from({ length: packages }, (_, n) => slow(`way-${index}-package-${n}`)).join("\n  ");
  await fleet.write(file, original.replace(/(environment\.systemPackages = \[)/, `$1\n  ${added}\n`));
  await fleet.commit(way.name);

  const steps: Figures[] = [];
  const step = async (name: string, figures: Promise<Figures>) => {
    const done = must(await figures, name);
    steps.push(done);
    console.log(row(`  ${name}`, done));
  };
  console.log(way.name);
  if (way.isBuilt) {
    const build = [cli, "build", "--push", `file://${cache}`, "--json"];
    await step(
      "bento build --push",
      measure(process.execPath, build, { cwd: fleet.dir, env: { ...env, BENTO_CACHE_KEY: key.secretKey } }),
    );
  }
  await step("bento deploy", measure(process.execPath, [cli, "deploy", "--json"], { cwd: fleet.dir, env }));
  using server = await serve(cache);
  const settings = [
    process.env.NIX_CONFIG ?? "",
    `substituters = ${server.url}`,
    `trusted-public-keys = ${key.publicKey}`,
    "narinfo-cache-negative-ttl = 0",
  ].join("\n");
  const inOwnStore = 'mount --bind "$0" "$1"; shift; exec "$@"';
  const agent = [
    "-m",
    "--propagation",
    "private",
    "sh",
    "-c",
    inOwnStore,
    own,
    store,
    "bash",
    machine.agentFile,
    "upgrade",
  ];
  const hostEnv = {
    ...process.env,
    ...machine.env,
    NIX_CONFIG: settings,
    BENTO_BUILD: way.build,
    XDG_CACHE_HOME: path.join(world.dir, `host-cache-${index}`),
  };
  await step("the host's upgrade", measure("unshare", agent, { env: hostEnv }));
  const total = steps.reduce((sum, { wall }) => sum + wall, 0);
  console.log(`  from the merge to the running system ${total.toFixed(1)} s`);
  const running = await machine.running();
  if (!running.includes(`nixos-system-${HOST}-`)) throw new Error(`it runs ${running}`);
}
