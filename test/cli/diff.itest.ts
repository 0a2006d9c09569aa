import path from "node:path";
import { expect, test } from "vitest";
import type { DiffDocument } from "../../src/results.ts";
import { BinaryCache } from "../support/binary-cache.ts";
import type { FleetRepository } from "../support/fleet.ts";
import { all } from "../support/long.ts";
import { succeed } from "../support/programs.ts";
import { withFleet } from "../support/with-fleet.ts";
import type { World } from "../support/world.ts";
import { bento, bentoJson } from "./bento.ts";

// A fleet whose hosts run what was deployed, and then a commit. The tests go on where the one before them stopped.

let world: World;
let fleet: FleetRepository;

withFleet({}, async (made) => {
  ({ world, fleet } = made);
  expect((await bento(["deploy", "--hosts", "nas,router"], options())).status).toBe(0);
  for (const host of ["nas", "router"]) expect((await (await world.machine(host)).agent()).status).toBe(0);
});

const env = () => ({ BENTO_SSH_KEY_FILE: world.publisherKey.file, BENTO_SIGNING_KEY_FILE: world.signingKey.file });
const options = () => ({ cwd: fleet.dir, env: env() });
const diff = (...args: string[]) => bento(["diff", ...args], options());

test("what runs is what would be deployed; a host that was never heard of isn't compared", async () => {
  const { status, stdout } = await diff("nas", "laptop-anna");
  expect(stdout).toMatch(/^- {2}laptop-anna {2}skipped {4}\S.*\n· {2}nas {10}unchanged\n/);
  expect(stdout).toMatch(/\n2 hosts: 1 unchanged, 1 skipped \(compared with what runs\)\n$/);
  expect(status).toBe(0);
});

test("a commit: which packages change, though nothing is built; with their sizes once it is", async () => {
  await fleet.edit("hosts/nas/configuration.nix", "[ pkgs.postgresql ]", "[ pkgs.curl ]");
  await fleet.commit("nas: curl");
  const unbuilt = await diff("nas");
  expect(unbuilt.stdout).toMatch(/^~ {2}nas {2}changed\n {4}curl +new +→ +8\.17\.0\n {4}postgresql +18\.1 +→ +gone\n/);
  expect(unbuilt.status).toBe(0);
  expect((await bento(["build", "--hosts", "nas"], options())).status).toBe(0);
  const { document } = await bentoJson<DiffDocument>(["diff", "nas"], options());
  const nas = await world.machine("nas");
  expect(document).toEqual({
    version: 1,
    command: "diff",
    base: null,
    warnings: expect.any(Array),
    hosts: [
      {
        name: "nas",
        status: "changed",
        from: await nas.running(),
        to: expect.stringMatching(/-nixos-system-nas-/),
        sequence: expect.any(Number),
        lastContact: expect.stringMatching(/Z$/),
        packages: [
          { name: "curl", from: null, to: "8.17.0" },
          { name: "postgresql", from: "18.1", to: null },
        ],
        size: { from: expect.any(Number), to: expect.any(Number) },
        reason: null,
        error: null,
      },
    ],
  });
  const size = document.hosts[0]?.size;
  const own = await succeed("nix-store", ["--query", "--requisites", await nas.running()]);
  const sizes = await succeed("nix-store", ["--query", "--size", ...own.split("\n")]);
  expect(size?.from).toBe(sizes.split("\n").reduce((sum, text) => sum + Number(text), 0));
  expect((await diff("nas")).stdout).toMatch(/^~ {2}nas {2}changed {2}\S+ KiB → \S+ KiB \([+-]\S+ \w+\)\n/);
});

test("with --base, against a commit, and nobody is asked", async () => {
  const { status, stdout } = await bento(["diff", "nas", "router", "--base", "HEAD~1"], { cwd: fleet.dir });
  expect(stdout).toMatch(
    /^~ {2}nas {5}changed\n {4}curl +new +→ +8\.17\.0\n {4}postgresql .*\n· {2}router {2}unchanged\n/,
  );
  expect(stdout).toMatch(/\n2 hosts: 1 changed, 1 unchanged \(compared with HEAD~1\)\n$/);
  expect(status).toBe(0);
  const unknown = await bento(["diff", "--base", "nowhere"], { cwd: fleet.dir });
  expect(unknown).toMatchObject({
    status: 2,
    stdout: "",
    stderr: expect.stringContaining("git knows no commit 'nowhere'"),
  });
});

test("what runs is nowhere to be found: that is said, until a cache has it", async () => {
  const nas = await world.machine("nas");
  // Somebody's own experiment, which no commit has.
  const experiment = await world.release("nas", {
    files: {
      "configuration.nix":
        '{ pkgs, ... }: { networking.hostName = "nas"; environment.systemPackages = [ pkgs.htop ]; }',
    },
  });
  const system = experiment.manifest.toplevel ?? "";
  const heartbeat = path.join(world.server.chroot("nas"), "reports/heartbeat.json");
  const said = JSON.parse(await succeed("cat", [heartbeat]));
  const say = (running: string) =>
    succeed("sh", ["-c", 'cat > "$0"', heartbeat], { input: JSON.stringify({ ...said, running }) });
  await say(system);
  const gone = await diff("nas");
  expect(gone.stdout).toMatch(
    /^✗ {2}nas {2}failed\n {4}what it runs, \S+, isn't in this store, and isn't what a commit/,
  );
  expect(gone.status).toBe(1);

  // A cache has it, and this store hasn't.
  const drv = await succeed("nix-instantiate", [
    "--expr",
    `(import <nixpkgs/nixos> { configuration = { pkgs, ... }: { networking.hostName = "nas"; environment.systemPackages = [ pkgs.htop ]; }; }).system`,
  ]);
  const built = await succeed("nix-store", ["--realise", drv]);
  await using cache = await BinaryCache.start(path.join(world.dir, "cache"), "c-1");
  await cache.push(built);
  // Faster than to ask Nix, which looks for users of it in every process.
  await succeed("rm", ["-rf", built]);
  await say(built);
  await fleet.edit(
    "fleet.yaml",
    "signers:",
    `substituters: [ { url: "${cache.url}", key: "${cache.publicKey}" } ]\nsigners:`,
  );
  await fleet.render();
  await fleet.commit("a cache");
  const cached = await diff("nas");
  expect(cached.stdout).toMatch(
    /^~ {2}nas {2}changed {2}.*KiB.*\n {4}curl +new +→ +8\.17\.0\n {4}openssh +new +→ +10\.2p1\n/,
  );
  // What Nix remembers of the cache is in the run's own directory.
  expect(cache.requests.filter((request) => request.endsWith(".narinfo")).length).toBeGreaterThan(0);
  expect(cache.requests.filter((request) => request.startsWith("/nar/"))).toEqual([]);
  // The others Nix tries again for seconds.
  for (const answer of all ? ([404, 500, "hangup"] as const) : ([404] as const)) {
    cache.answer = () => answer;
    const without = await diff("nas");
    expect(without.stdout).toContain(`nor in ${cache.url}`);
    expect(without.status).toBe(1);
  }

  for (const hostile of ["--help", "/etc/passwd", "/nix/store/../../etc", `${built}\u001b[2J`]) {
    await say(hostile);
    const { status, stdout } = await diff("nas");
    expect(stdout).toContain("is no system in this store's directory");
    // biome-ignore lint/suspicious/noControlCharactersInRegex: there must be none.
    expect(stdout).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
    expect(status).toBe(1);
  }
  expect(await nas.running()).not.toBe(built);
});

test("a fleet without a server has nobody to ask", async () => {
  await fleet.write("fleet.yaml", "hosts:\n  router:\n");
  const { status, stderr } = await diff();
  expect(status).toBe(2);
  expect(stderr).toMatch(/^error: without a server .*\n→ --base REF/);
});
