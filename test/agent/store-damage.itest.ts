import { existsSync } from "node:fs";
import { chmod, readdir, readFile, rename, rm, truncate, writeFile } from "node:fs/promises";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { gitRepository } from "../platform/git.ts";
import { writeTree } from "../platform/scratch.ts";
import { BinaryCache } from "../support/binary-cache.ts";
import { long } from "../support/long.ts";
import type { Machine } from "../support/machine.ts";
import { exec, familyOf, kill, succeed } from "../support/programs.ts";
import { buildChannelHost, channelHost, forgetSystems } from "../support/release.ts";
import { World } from "../support/world.ts";

// The power is lost while Nix writes: its database says that a path is there, and the files are empty. Real stores, real damage.

let world: World;
let cache: BinaryCache;
let machine: Machine;
let serial = 0;

beforeAll(async () => {
  world = await World.make({ hosts: ["nas"] });
  machine = await world.machine("nas");
});
afterAll(async () => world?.[Symbol.asyncDispose]());
beforeEach(async () => {
  cache = await BinaryCache.start(path.join(world.dir, `cache-${++serial}`), "cache-1");
  await writeFile(machine.path("etc/bento.json"), world.agentSettings({ substituters: [cache.substituter] }));
  await rm(machine.path("state/retry.json"), { force: true });
});
afterEach(async () => cache?.[Symbol.asyncDispose]());

const note = () => machine.path("state/building");

/** The next release, whose system is in the store and, unless told otherwise, in the cache. */
async function released({ push = true } = {}): Promise<string> {
  const content = channelHost(
    "nas",
    `environment.systemPackages = [ pkgs.nginx ];\nenvironment.etc.serial = "${++serial}";`,
  );
  const system = await buildChannelHost(content, world.dir);
  if (push) await cache.push(system);
  expect((await world.publish("nas", content)).manifest.toplevel).toBe(system);
  return system;
}

/** Cuts a file of a store path short. */
async function damage(storePath: string, file: string): Promise<void> {
  const place = path.join(storePath, file);
  await chmod(place, 0o644);
  await truncate(place, 0);
  await chmod(place, 0o555);
}
/** As the agent has noted it, in another boot; what was written to the store since `seconds` is looked at then. */
const noted = (seconds: number) => writeFile(note(), `another-boot\n${seconds}\n`);
const now = () => Math.floor(Date.now() / 1000);

const isWhole = async (storePath: string) => (await exec("nix-store", ["--verify-path", storePath])).status === 0;

test("the note is there while the store is written to, and is of this boot", async () => {
  await released();
  const machineOfCache = cache;
  const asked = Promise.withResolvers<void>();
  await forgetSystems();
  machineOfCache.answer = (request) => {
    if (!request.startsWith("/nar/")) return "file";
    asked.resolve();
    return "silence";
  };
  const agent = machine.startAgent({ BENTO_BUILD: "prebuilt" });
  await asked.promise;
  const boot = (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
  expect(await readFile(note(), "utf8")).toMatch(new RegExp(`^${boot}\\n\\d+\\n$`));
  kill(familyOf(agent.pid));
  await agent.done.catch(() => {});
  // Nothing was lost with the power: the next attempt has nothing to look at, and then there is nothing to note.
  machineOfCache.answer = () => "file";
  const { stderr } = await machine.agent({ BENTO_BUILD: "prebuilt" });
  expect(stderr).toMatch(/\nsuccess\n$/);
  expect(stderr).not.toContain("looking at what is new");
  expect(existsSync(note())).toBe(false);
});

test("what a power cut has left empty is made again before it is activated: from the cache, or by a build", async () => {
  for (const policy of ["prebuilt", "auto"]) {
    const system = await released({ push: policy === "prebuilt" });
    await damage(system, "bin/switch-to-configuration");
    await writeFile(note(), "another-boot\n");
    const { stderr } = await machine.agent({ BENTO_BUILD: policy });
    expect(stderr).toContain(`${system} is damaged, and is taken out of the store\n`);
    expect(stderr).toMatch(/\nsuccess\n$/);
    expect(await machine.running()).toBe(system);
    expect(await isWhole(system)).toBe(true);
    expect(existsSync(note())).toBe(false);
  }
});

test("what can't be made again is not activated; the machine runs what it ran, and tries again", async () => {
  const before = await machine.running();
  const system = await released();
  await damage(system, "bin/switch-to-configuration");
  await writeFile(note(), "another-boot\n");
  cache.answer = (request) => (request.startsWith("/nar/") ? 404 : "file");
  const { stderr, status } = await machine.agent({ BENTO_BUILD: "prebuilt" });
  expect(status).toBe(1);
  expect(stderr).toMatch(/\nfailed: it could not be fetched from /);
  expect(stderr).not.toContain("activating");
  expect(await machine.running()).toBe(before);
  expect(existsSync(note())).toBe(true);
  // Nothing else was taken away for it.
  for (const stored of (await succeed("nix-store", ["--query", "--requisites", before])).split("\n")) {
    expect(await isWhole(stored)).toBe(true);
  }

  cache.answer = () => "file";
  await rm(machine.path("state/retry.json"), { force: true });
  expect((await machine.agent({ BENTO_BUILD: "prebuilt" })).stderr).toMatch(/\nsuccess\n$/);
  expect(await machine.running()).toBe(system);
});

test("a build that fails by itself leaves nothing for the next boot to look at", async () => {
  await world.publish("nas", channelHost("nas", "this is no Nix"), { evaluate: false });
  const { stderr } = await machine.agent();
  expect(stderr).toMatch(/\nfailed: it does not build: /);
  expect(stderr).not.toContain("--check-contents");
  expect(existsSync(note())).toBe(false);
});

test("what is damaged and in use stays, and somebody is told how to mend it", async () => {
  const before = await machine.running();
  const system = await released();
  await succeed("nix-store", ["--realise", system, "--add-root", path.join(world.dir, "in-use"), "--indirect"]);
  await damage(system, "bin/switch-to-configuration");
  await writeFile(note(), "another-boot\n");
  const { stderr } = await machine.agent({ BENTO_BUILD: "prebuilt" });
  expect(stderr).toContain(
    `failed: ${system} was damaged when the power was lost, and is in use: nix-store --repair-path ${system}`,
  );
  expect(await machine.running()).toBe(before);
  await rm(path.join(world.dir, "in-use"));
  await rm(machine.path("state/retry.json"), { force: true });
  expect((await machine.agent({ BENTO_BUILD: "prebuilt" })).stderr).toMatch(/\nsuccess\n$/);
});

test("where all is whole it goes on; where a build fails, somebody is told where to look", async () => {
  const system = await released();
  await writeFile(note(), "another-boot\n");
  const { stderr } = await machine.agent();
  expect(stderr).toContain("looking at what is new");
  expect(stderr).not.toContain("is damaged");
  expect(await machine.running()).toBe(system);

  await world.publish("nas", channelHost("nas", "this is no Nix"), { evaluate: false });
  await writeFile(note(), "another-boot\n");
  expect((await machine.agent()).stderr).toContain("nix-store --verify --check-contents looks at all of it");
  expect((await readdir(machine.path("state"))).filter((name) => name === "building")).toEqual(["building"]);
});

/** A system with a command of its own, which is made from a file of the release. */
function withCommand(text: string): { files: Record<string, string> } {
  const configuration = `{ pkgs, ... }: {
    networking.hostName = "nas";
    environment.systemPackages = [
      pkgs.htop
      (derivation {
        name = "greet";
        system = builtins.currentSystem;
        builder = "/bin/sh";
        args = [ "-c" "PATH=/usr/bin:/bin; mkdir -p $out/bin; cp \${./greet} $out/bin/greet; chmod +x $out/bin/greet" ];
      })
    ];
  }
`;
  return { files: { "configuration.nix": configuration, greet: `#!/bin/sh\necho ${text}\n` } };
}

/** Writes its derivations and its sources to the store, as a build that was cut off has; gives those that are named so. */
async function begun({ files }: { files: Record<string, string> }, name: RegExp): Promise<string[]> {
  const dir = path.join(world.dir, `begun-${++serial}`);
  await writeTree(dir, files);
  const configuration = `nixos-config=${dir}/configuration.nix`;
  const drv = await succeed("nix-instantiate", ["<nixpkgs/nixos>", "-A", "system", "-I", configuration]);
  return (await succeed("nix-store", ["--query", "--requisites", drv]))
    .split("\n")
    .filter((stored) => name.test(stored));
}

const left = "that a power cut has left empty are made again before anything is built from them";
test(`derivations ${left}`, () => leftEmpty("derivations", /\.drv$/));
test(`sources ${left}`, () => leftEmpty("sources", /-greet$/));
long(`sources, by a clock that was ten years ahead, ${left}`, () => leftEmpty("clock", /-greet$/, 10 * 365 * 86_400));

/** Of a system that has begun to be built, those of which the name is `name`; `ahead` in seconds is how wrong the clock was. */
async function leftEmpty(what: string, name: RegExp, ahead = 0): Promise<void> {
  const since = now();
  // Of a package that the running system has, the derivation is kept by it.
  await world.publish("nas", channelHost("nas", "environment.systemPackages = [ pkgs.htop ];"), { evaluate: false });
  expect((await machine.agent()).status).toBe(0);
  const content = withCommand(what);
  const stored = await begun(content, name);
  expect(stored.length).toBeGreaterThan(0);
  for (const file of stored) {
    await chmod(file, 0o644);
    await truncate(file, 0);
    await chmod(file, 0o444);
  }
  await noted(since + ahead);
  await world.publish("nas", content, { evaluate: false });
  const { stderr } = await machine.agent();
  expect(stderr).toContain(`${stored[0]} is damaged, and is taken out of the store\n`);
  expect(stderr).toMatch(/\nsuccess\n$/);
  expect(await succeed(path.join(await machine.running(), "sw/bin/greet"), [])).toBe(what);
  for (const file of stored) expect(await isWhole(file)).toBe(true);
  expect(existsSync(note())).toBe(false);
}

test("what is missing in the store is made again, too, and what was there before is not looked at", async () => {
  const old = await buildChannelHost(channelHost("nas", `environment.etc.serial = "${++serial}";`), world.dir);
  await succeed("nix-store", ["--realise", old, "--add-root", path.join(world.dir, "old"), "--indirect"]);
  await damage(old, "bin/switch-to-configuration");
  await setTimeout(1000);
  const since = now();
  const system = await released({ push: false });
  await rename(system, `${system}.gone`);
  await noted(since);
  const { stderr } = await machine.agent();
  expect(stderr).toContain(`${system} is damaged, and is taken out of the store\n`);
  expect(stderr).not.toContain(old);
  expect(stderr).toMatch(/\nsuccess\n$/);
  expect(await isWhole(system)).toBe(true);
  await rm(path.join(world.dir, "old"));
});

test("what Nix remembers of inputs is thrown away when a build fails after a power cut, and it is built once more", async () => {
  const caches = path.join(process.env.HOME ?? "", ".cache/nix");
  await rm(caches, { recursive: true, force: true });
  await using input = await gitRepository({ "module.nix": `{ environment.etc.serial = "${++serial}"; }\n` });
  const { nixpkgs, system } = world.store;
  const flake = `{
    inputs = { nixpkgs.url = "path:${nixpkgs}"; input = { url = "git+file://${input.dir}?ref=main"; flake = false; }; };
    outputs = { nixpkgs, input, ... }: {
      nixosConfigurations.nas = nixpkgs.lib.nixosSystem {
        system = "${system}";
        modules = [ (input + "/module.nix") { networking.hostName = "nas"; } ];
      };
    };
  }\n`;
  // As of a server, of which Nix keeps a copy.
  vi.stubEnv("_NIX_FORCE_HTTP", "1");
  try {
    await world.publish("nas", { files: { "flake.nix": flake } });
    for (const entry of await readdir(caches, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const file = path.join(entry.parentPath, entry.name);
      await chmod(file, 0o644);
      await writeFile(file, "what the disk had there before");
    }
    await succeed("nix-store", ["--gc"]);
    await noted(now());
    const { stderr } = await machine.agent();
    expect(stderr).toMatch(
      /\nit does not build: .*; once more, without what Nix remembers of inputs, which may be damaged too\n/,
    );
    expect(stderr).toMatch(/\nsuccess\n$/);
  } finally {
    vi.unstubAllEnvs();
  }
});
