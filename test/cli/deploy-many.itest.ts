import { readFileSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { BenchFleet, publicKey } from "../../scripts/bench.d/fleet.ts";
import { makeChroots } from "../../scripts/bench.d/world.ts";
import type { DeployDocument } from "../../src/results.ts";
import { scratch } from "../platform/scratch.ts";
import { expectTidy } from "../publish/fleet-state.ts";
import { Link } from "../support/link.ts";
import { kill } from "../support/programs.ts";
import { World } from "../support/world.ts";
import { bento, bentoJson, startBento, startTidy } from "./bento.ts";

// Deploys of fleets with many hosts or much in them, from the command line, without Nix.

let world: World;
beforeAll(async () => {
  world = await World.make({ hosts: [] });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

const env = () => ({ BENTO_SSH_KEY_FILE: world.publisherKey.file, BENTO_SIGNING_KEY_FILE: world.signingKey.file });
const releases = (host: string) => path.join(world.server.chroot(host), "releases");

/** A fleet of hosts with 50 files each, whose server is to be reached at `port`. */
async function makeFleet(dir: string, prefix: string, count: number, port = world.server.port): Promise<BenchFleet> {
  const hosts = Array.from({ length: count }, (_, index) => `${prefix}-${String(index).padStart(4, "0")}`);
  const isThere = new Set(await readdir(world.server.root));
  await makeChroots(
    world.server.root,
    world.serverSettings.user,
    hosts.filter((host) => !isThere.has(host)),
  );
  return BenchFleet.make(dir, {
    server: { ...world.serverSettings, port },
    signers: [world.signingKey.publicKey],
    keys: Object.fromEntries(hosts.map((host) => [host, publicKey()])),
    files: 50,
  });
}

test.runIf(process.env.BENTO_TEST_ALL === "1")(
  "1,000 hosts of 50 files take less than 250 MB of memory",
  async () => {
    await using dir = await scratch();
    const fleet = await makeFleet(dir.path, "many", 1_000);
    for (const published of [1_000, 0]) {
      const running = await startBento(["deploy", "--no-eval", "--json"], { cwd: fleet.dir, env: env() });
      // The kernel keeps the highest; it is gone with the process, so it is read again and again.
      let peak = 0;
      const timer = setInterval(() => {
        const status = readFileSync(`/proc/${running.pid}/status`, "utf8");
        peak = Math.max(peak, Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0));
      }, 50);
      running.child.on("exit", () => clearInterval(timer));
      const { status, stdout, stderr } = await running.finished;
      expect(status, stderr).toBe(0);
      const { hosts }: DeployDocument = JSON.parse(stdout);
      expect(hosts.filter((host) => host.status === "published")).toHaveLength(published);
      console.log(`1,000 hosts, ${published} published: at most ${Math.round(peak / 1000)} MB`);
      expect(peak).toBeGreaterThan(10_000);
      expect(peak).toBeLessThan(250_000);
    }
    await expectTidy(world, fleet.hosts);
  },
  1_800_000,
);

test.each(["SIGINT", "SIGTERM"] as const)(
  "%s while archives are on their way: no lock, no temporary file, no key is left, and what was published stays",
  async (signal) => {
    await using dir = await scratch();
    // In the middle of the second deploy's five archives of some 25 kB.
    await using link = await Link.to(world.server.port, { connection: 2, hold: 60_000 });
    const fleet = await makeFleet(dir.path, "stop", 5, link.port);
    expect((await bento(["deploy", "--no-eval", "--force"], { cwd: fleet.dir, env: env() })).status).toBe(0);
    const before = await Promise.all(fleet.hosts.map((host) => readFile(path.join(releases(host), "current"), "utf8")));
    await fleet.changeShared();
    const running = await startBento(["deploy", "--no-eval"], { cwd: fleet.dir, env: env() });
    await link.held;
    expect(await readdir(path.join(world.server.root, ".bento"))).toContain("lock");
    kill([running.pid], signal);
    link.letGo();
    // That it left no files of its own is looked at there.
    expect(await running.finished).toEqual({ status: 130, stdout: "", stderr: "error: interrupted\n" });
    await expectTidy(world, fleet.hosts);
    expect(
      await Promise.all(fleet.hosts.map((host) => readFile(path.join(releases(host), "current"), "utf8"))),
    ).toEqual(before);
  },
);

test("a connection that is lost in the middle is said, and the deploy succeeds all the same", async () => {
  await using dir = await scratch();
  await using link = await Link.to(world.server.port, { cut: { direction: "up", bytes: 60_000 } });
  const fleet = await makeFleet(dir.path, "lost", 5, link.port);
  const { status, stderr, document } = await bentoJson<DeployDocument>(["deploy", "--no-eval"], {
    cwd: fleet.dir,
    env: env(),
  });
  expect(document.hosts.map((host) => host.status)).toEqual(fleet.hosts.map(() => "published"));
  expect(stderr).toMatch(/^the connection to 127\.0\.0\.1:\d+ was lost; trying again in \d\.\d s \(1 of 6\)\n$/);
  expect(status).toBe(0);
  await expectTidy(world, fleet.hosts);
});

test("keys are never among a program's arguments, nor in what is printed, and only their owner can read their files", async () => {
  await using dir = await scratch();
  const fleet = await makeFleet(dir.path, "keys", 2);
  const trace = path.join(dir.path, "trace");
  const keys = await Promise.all([world.publisherKey, world.signingKey].map(({ file }) => readFile(file, "utf8")));
  const [BENTO_SSH_KEY, BENTO_SIGNING_KEY] = keys;
  // Every program that is started, with its arguments, and every file that is made.
  const watch = ["-f", "-s", "100000", "-e", "trace=execve,openat", "-o", trace];
  const cli = path.join(import.meta.dirname, "../../dist/cli.js");
  const command = [...watch, process.execPath, cli, "deploy", "--no-eval", "--verbose"];
  const running = await startTidy("strace", command, { cwd: fleet.dir, env: { BENTO_SSH_KEY, BENTO_SIGNING_KEY } });
  const { status, stdout, stderr } = await running.finished;
  expect(status, stderr).toBe(0);
  const seen = await readFile(trace, "utf8");
  expect(seen).toMatch(/execve\("[^"]*ssh-keygen", \["/);
  for (const line of keys.flatMap((key) => key.split("\n"))) {
    if (line.length < 20 || line.startsWith("-----")) continue;
    expect(seen).not.toContain(line);
    expect(stdout + stderr).not.toContain(line);
  }
  const made = seen.split("\n").filter((line) => /\/key", [A-Z_|]*O_CREAT/.test(line));
  expect(made.length).toBeGreaterThanOrEqual(2);
  for (const line of made) expect(line).toMatch(/O_EXCL.*, 0600\)/);
});
