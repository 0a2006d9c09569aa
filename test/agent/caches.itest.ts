import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { Manifest } from "../../src/release/manifest.ts";
import { BinaryCache } from "../support/binary-cache.ts";
import { long } from "../support/long.ts";
import type { Machine } from "../support/machine.ts";
import { exec, kill, start, succeed } from "../support/programs.ts";
import { buildChannelHost, type Content, channelHost, forgetSystems } from "../support/release.ts";
import { World } from "../support/world.ts";

// Where a machine's system comes from: its fleet's binary caches, with an HTTP server for each, or its own builds. Systems
// are built for a cache and then thrown away, so that the machines, who share a store, have to get them.

let world: World;
let cache: BinaryCache;
let serial = 0;
/** What they run is in no store but their own any more once they have had one. */
const apart = ["router", "phone", "tablet"];
const hosts = ["nas", ...apart];

beforeAll(async () => {
  world = await World.make({ hosts });
});
afterAll(async () => world?.[Symbol.asyncDispose]());
beforeEach(async () => {
  cache = await BinaryCache.start(path.join(world.dir, `caches-${++serial}`), "cache-1");
});
afterEach(async () => cache?.[Symbol.asyncDispose]());

/** A machine that has these caches; the cache of the test unless told otherwise. */
async function machineWith(name = "nas", substituters = [cache.substituter]): Promise<Machine> {
  const machine = await world.machine(name);
  await writeFile(machine.path("etc/bento.json"), world.agentSettings({ substituters }));
  await rm(machine.path("state/retry.json"), { force: true });
  return machine;
}

/** Another system each time. */
const next = (name = "nas", program = "nginx") =>
  channelHost(name, `environment.systemPackages = [ pkgs.${program} ];\nenvironment.etc.serial = "${++serial}";`);

/** Builds a host's system, and leaves it in the cache alone. */
async function pushed(content: Content, push = (system: string) => cache.push(system)): Promise<string> {
  const built = await buildChannelHost(content, world.dir);
  await push(built);
  await forgetSystems();
  return built;
}

async function published(content: Content, name = "nas"): Promise<Manifest> {
  return (await world.publish(name, content)).manifest;
}

const downloads = () => cache.requests.filter((request) => request.startsWith("/nar/"));

/** Programs in front of Nix's that write down how they are called. */
async function recorded(machine: Machine): Promise<{ PATH: string; calls: () => Promise<string> }> {
  const bin = machine.path("recorders");
  const log = machine.path("recorders/log");
  await rm(bin, { recursive: true, force: true });
  await mkdir(bin);
  await writeFile(log, "");
  for (const name of ["nix", "nix-build", "nix-instantiate", "nix-env", "nix-store"]) {
    const real = await succeed("sh", ["-c", `command -v ${name}`]);
    await writeFile(path.join(bin, name), `#!/bin/sh\necho "${name} $*" >> ${log}\nexec ${real} "$@"\n`);
    await chmod(path.join(bin, name), 0o755);
  }
  return { PATH: `${bin}:${process.env.PATH}`, calls: () => readFile(log, "utf8") };
}

test("prebuilt: the system comes from the cache, and nothing is evaluated or built", async () => {
  const machine = await machineWith();
  const content = next();
  const toplevel = await pushed(content);
  const { PATH, calls } = await recorded(machine);
  // Its files could not even be evaluated.
  const broken = { files: { "configuration.nix": "{ this is no Nix" } };
  await world.publish("nas", broken, { evaluate: false, manifest: { toplevel } });
  const { stderr } = await machine.agent({ BENTO_BUILD: "prebuilt", PATH });
  expect(stderr).toMatch(/\nsuccess\n$/);
  expect(await machine.running()).toBe(toplevel);
  const nix = await calls();
  expect(nix).toContain("nix-store --realise");
  expect(nix).not.toMatch(/^nix-(build|instantiate) |^nix .*(build|eval)/m);
  expect(downloads().length).toBeGreaterThan(0);
});

test("auto: as prebuilt where the cache has the system, and built here where it has not", async () => {
  const machine = await machineWith();
  const content = next();
  const first = await pushed(content);
  await published(content);
  const { PATH, calls } = await recorded(machine);
  expect((await machine.agent({ PATH })).stderr).toMatch(/\nsuccess\n$/);
  expect(await machine.running()).toBe(first);
  expect(await calls()).not.toMatch(/^nix-build/m);

  const { toplevel } = await published(next());
  cache.requests.length = 0;
  const built = await machine.agent({ PATH });
  expect(built.stderr).toMatch(/\nbuilding it here: no cache has \S+ yet \(asked: http:\S+\)\n/);
  expect(built.stderr).toMatch(/\nsuccess\n$/);
  expect(await machine.running()).toBe(toplevel);
  expect(await calls()).toMatch(/^nix-build/m);
});

test("source: it is evaluated here, also where a cache has it", async () => {
  const machine = await machineWith();
  const content = next();
  const toplevel = await pushed(content);
  await published(content);
  const { PATH, calls } = await recorded(machine);
  expect((await machine.agent({ BENTO_BUILD: "source", PATH })).stderr).toMatch(/\nsuccess\n$/);
  expect(await machine.running()).toBe(toplevel);
  expect(await calls()).toMatch(/^nix-build/m);
});

test("prebuilt, and no cache has it yet: a failure that passes; it is tried again, and then it is there", async () => {
  const machine = await machineWith();
  const before = await machine.running();
  await pushed(next());
  const content = next();
  const { toplevel } = await published(content);
  const { status, stderr } = await machine.agent({ BENTO_BUILD: "prebuilt" });
  expect(stderr).toMatch(/\nfailed: no cache has \S+ yet \(asked: http:\S+\); it is not built here\n$/);
  expect(status).toBe(1);
  expect(await machine.running()).toBe(before);
  expect((await machine.state("retry.json"))?.failures).toBe(1);

  await pushed(content);
  await machine.endBackoff();
  expect((await machine.agent({ BENTO_BUILD: "prebuilt" })).stderr).toMatch(/\nsuccess\n$/);
  expect(await machine.running()).toBe(toplevel);
});

test.each([
  ["unsigned", "not signed", "pushUnsigned"],
  ["wrongly signed", "signed with another key (cache-1)", "push"],
] as const)("%s: the reason names the key, nothing is downloaded, and nothing of it runs", async (_, said, push) => {
  await using other = await BinaryCache.start(path.join(world.dir, `caches-${++serial}`), "other-1");
  const machine = await machineWith("nas", [{ url: cache.url, key: other.publicKey }]);
  const before = await machine.running();
  const content = next();
  const toplevel = await pushed(content, (system) => cache[push](system));
  await published(content);
  const { stderr } = await machine.agent({ BENTO_BUILD: "prebuilt" });
  expect(stderr).toContain(`\nfailed: ${cache.url} has ${toplevel}, but ${said}`);
  expect(stderr).toContain("substituters in fleet.yaml");
  expect(await machine.running()).toBe(before);
  expect(downloads()).toEqual([]);

  await machine.endBackoff();
  const auto = await machine.agent();
  expect(auto.stderr).toContain(`building it here: ${cache.url} has ${toplevel}, but ${said}`);
  expect(auto.stderr).toMatch(/\nsuccess\n$/);
  expect(downloads()).toEqual([]);
});

test("a path of the closure is missing: it is seen before anything is downloaded", async () => {
  const machine = await machineWith();
  const before = await machine.running();
  const content = next();
  const toplevel = await pushed(content);
  await published(content);
  const [narinfo = ""] = (await cache.narinfosOf(/-etc-file$/))
    .filter(({ stored }) => !existsSync(stored))
    .map(({ file }) => file);
  await rm(narinfo);
  const { stderr } = await machine.agent({ BENTO_BUILD: "prebuilt" });
  expect(stderr).toMatch(
    /\nfailed: the caches have only a part of \S+: \S+-etc-file is missing; it is not built here\n$/,
  );
  expect(await machine.running()).toBe(before);
  expect(downloads()).toEqual([]);

  await machine.endBackoff();
  const auto = await machine.agent();
  expect(auto.stderr).toMatch(/\nbuilding it here: the caches have only a part of /);
  expect(auto.stderr).toMatch(/\nsuccess\n$/);
  expect(await machine.running()).toBe(toplevel);
});

test("a download that is cut off leaves the machine as it was; auto builds", async () => {
  const machine = await machineWith();
  const before = await machine.running();
  const content = next();
  const toplevel = await pushed(content);
  await published(content);
  cache.answer = (request) => (request.startsWith("/nar/") ? "half" : "file");
  const { stderr } = await machine.agent({ BENTO_BUILD: "prebuilt" });
  expect(stderr).toMatch(/\nfailed: it could not be fetched from http:\S+: .+; it is not built here\n$/);
  expect(await machine.running()).toBe(before);
  expect((await exec("nix-store", ["--check-validity", toplevel])).status).not.toBe(0);

  await machine.endBackoff();
  const auto = await machine.agent();
  expect(auto.stderr).toMatch(/\nsuccess\n$/);
  expect(await machine.running()).toBe(toplevel);
});

test("a cache that is down is left out, said, and costs no upgrade", async () => {
  const machine = await machineWith();
  // Nix remembers for a week that there is a cache.
  await pushed(next());
  await exec("nix-store", [
    "--realise",
    "--dry-run",
    `${path.dirname(machine.factory)}/${"0".repeat(32)}-x`,
    "--option",
    "substituters",
    cache.url,
  ]);
  const { toplevel } = await published(next());
  await cache[Symbol.asyncDispose]();
  const prebuilt = await machine.agent({ BENTO_BUILD: "prebuilt" });
  expect(prebuilt.stderr).toMatch(/\nthe cache http:\S+ is left out of this attempt: .*connect/i);
  expect(prebuilt.stderr).toMatch(/\nfailed: no cache has \S+: none answers \(http:.*\); it is not built here\n$/);

  await machine.endBackoff();
  const auto = await machine.agent();
  expect(auto.stderr).toMatch(/is left out of this attempt/);
  expect(auto.stderr).toMatch(/\nsuccess\n$/);
  expect(await machine.running()).toBe(toplevel);
});

test("one that says nothing is left out after its deadline, and the other one is used", async () => {
  await using silent = await BinaryCache.start(path.join(world.dir, `caches-${++serial}`), "silent-1");
  silent.answer = () => "silence";
  const machine = await machineWith("nas", [silent.substituter, cache.substituter]);
  const content = next();
  const toplevel = await pushed(content);
  await published(content);
  const { stderr } = await machine.agent({ BENTO_BUILD: "prebuilt", BENTO_CACHE_DEADLINE: "1" });
  expect(stderr).toMatch(new RegExp(`\nthe cache ${silent.url} is left out of this attempt: .*timed out`));
  expect(stderr).toMatch(/\nsuccess\n$/);
  expect(await machine.running()).toBe(toplevel);
  expect(silent.requests).toHaveLength(1);
});

for (const [what, run] of [
  ["narinfo", long],
  ["nar", test],
] as const)
  run(`one that answers and then hangs over a ${what} is bounded; auto builds`, async () => {
    const machine = await machineWith();
    const content = next();
    const toplevel = await pushed(content);
    await published(content);
    // Not over the first thing that it is asked for, for which it wouldn't be used at all.
    const first = `/${path.basename(toplevel).slice(0, 32)}.narinfo`;
    cache.answer = (request) => {
      if (request === first) return "file";
      return (what === "nar" ? request.startsWith("/nar/") : request.endsWith(".narinfo")) ? "silence" : "file";
    };
    const { stderr } = await machine.agent({ BENTO_CACHE_DEADLINE: "1" });
    expect(stderr).toMatch(/\nbuilding it here: /);
    expect(stderr).toMatch(/\nsuccess\n$/);
    expect(await machine.running()).toBe(toplevel);
  });

const TOO_SLOW = "less than 1000 bytes a second came for 2 s";
/** Two seconds stand for five minutes. */
const impatient = { BENTO_CACHE_SPEED_TIME: "2" };
const trickles = (request: string) => (request.startsWith("/nar/") ? "trickle" : "file");

test("one that trickles is left for another one that has it, too, and with none for a build", async () => {
  await using other = await BinaryCache.start(path.join(world.dir, `caches-${++serial}`), "cache-2");
  const machine = await machineWith("nas", [{ ...cache.substituter, url: `${cache.url}/` }, other.substituter]);
  const content = next();
  const toplevel = await pushed(content, async (system) => {
    await cache.push(system);
    await other.push(system);
  });
  await published(content);
  cache.answer = trickles;
  const { PATH, calls } = await recorded(machine);
  const fetched = await machine.agent({ ...impatient, PATH });
  expect(fetched.stderr).toContain(`\nthe cache ${cache.url}/ is left out of this attempt: ${TOO_SLOW}`);
  expect(fetched.stderr).toMatch(/\nsuccess\n$/);
  expect(await machine.running()).toBe(toplevel);
  expect(await calls()).not.toMatch(/^nix-build/m);
  expect(fetched.stderr).not.toContain(`the cache ${other.url}`);

  const second = next();
  const built = await pushed(second);
  await published(second);
  const { stderr } = await machine.agent(impatient);
  expect(stderr).toContain(`\nthe cache ${cache.url}/ is left out of this attempt: ${TOO_SLOW}`);
  expect(stderr).toMatch(
    /\nbuilding it here: its download was too slow, .*; now no cache has \S+ yet \(asked: \S+; not asked: \S+: less than /,
  );
  expect(stderr).toMatch(/\nsuccess\n$/);
  expect(await machine.running()).toBe(built);
});

long("one that trickles is left, too, where a daemon does Nix's work", async () => {
  const machine = await machineWith();
  const content = next();
  const toplevel = await pushed(content);
  await published(content);
  cache.answer = trickles;
  const daemon = start("nix-daemon", ["--daemon"]);
  try {
    const { stderr } = await machine.agent({ ...impatient, NIX_REMOTE: "daemon" });
    expect(stderr).toContain(`\nthe cache ${cache.url} is left out of this attempt: ${TOO_SLOW}`);
    expect(stderr).toMatch(/\nsuccess\n$/);
    expect(await machine.running()).toBe(toplevel);
  } finally {
    kill([daemon.pid]);
  }
});

long("source: what trickles is built instead", async () => {
  const machine = await machineWith();
  const content = next();
  const toplevel = await pushed(content);
  await published(content);
  cache.answer = trickles;
  const { stderr } = await machine.agent({ ...impatient, BENTO_BUILD: "source" });
  expect(stderr).toContain(`\nthe cache ${cache.url} is left out of this attempt: ${TOO_SLOW}`);
  expect(stderr).toMatch(/\nsuccess\n$/);
  expect(await machine.running()).toBe(toplevel);
});

test("one that is slow, and gets on, is waited for", async () => {
  const machine = await machineWith();
  const large = randomBytes(300_000).toString("base64");
  const content = channelHost("nas", `environment.etc.serial = "${++serial}";\nenvironment.etc.large = "${large}";`);
  const toplevel = await pushed(content);
  await published(content);
  cache.answer = (request) => (request.startsWith("/nar/") ? "slow" : "file");
  const begun = performance.now();
  const { stderr } = await machine.agent({ BENTO_CACHE_SPEED_TIME: "4", BENTO_BUILD: "prebuilt" });
  expect(stderr).toMatch(/\nsuccess\n$/);
  expect(await machine.running()).toBe(toplevel);
  expect(performance.now() - begun).toBeGreaterThan(7_000);
});

test("one that comes to say what it has byte by byte is left at once", async () => {
  const machine = await machineWith();
  const content = next();
  const toplevel = await pushed(content);
  await published(content);
  cache.answer = (request) => (request.endsWith(".narinfo") ? "trickle" : "file");
  const { stderr } = await machine.agent({ BENTO_CACHE_DEADLINE: "1" });
  expect(stderr).toMatch(/\nthe cache http:\S+ is left out of this attempt: .*timed out/);
  expect(stderr).toMatch(/\nsuccess\n$/);
  expect(await machine.running()).toBe(toplevel);
});

for (const [trouble, run] of [
  [500, long],
  ["hangup", long],
  ["half", test],
] as const)
  run(`source: a cache that breaks during the build (${trouble}) does not fail it`, async () => {
    const machine = await machineWith();
    const content = next();
    const toplevel = await pushed(content);
    await published(content);
    cache.answer = (request) => (request === "/nix-cache-info" ? "file" : trouble);
    const { stderr } = await machine.agent({ BENTO_BUILD: "source", BENTO_CACHE_DEADLINE: "2" });
    expect(stderr).toMatch(/\nsuccess\n$/);
    expect(await machine.running()).toBe(toplevel);
    expect(cache.requests.length).toBeGreaterThan(1);
  });

/** The agent's program on a machine with a store of its own, which begins as the world's is now; all that runs it sees no other. */
async function withOwnStore(machine: Machine): Promise<{ program: string; env: Record<string, string>; nix: string }> {
  const nix = machine.path("nix");
  const home = machine.path("home");
  await mkdir(home);
  await succeed("cp", ["-a", path.join(world.dir, "nix"), nix]);
  const program = machine.path("agent-with-own-store");
  const inside = `mount --bind "$1" "$2" && shift 2 && exec bash "$@"`;
  await writeFile(
    program,
    `exec unshare -m sh -c '${inside}' sh ${nix} ${path.join(world.dir, "nix")} ${machine.agentFile} "$@"\n`,
  );
  return { program, env: { HOME: home }, nix };
}

test("built once, and fetched by three hosts with a store each, who build nothing", async () => {
  // With a program that none of them has yet.
  const contents = apart.map((host) => [host, next(host, "postgresql")] as const);
  const systems = new Map<string, string>();
  for (const [host, content] of contents) systems.set(host, await buildChannelHost(content, world.dir));
  await cache.push(...systems.values());
  await forgetSystems();
  for (const [host, content] of contents) await published(content, host);
  const machines = await Promise.all(apart.map((host) => machineWith(host)));
  const fetched: string[][] = [];
  for (const machine of machines) {
    const toplevel = systems.get(machine.name) ?? "";
    const own = await withOwnStore(machine);
    const { PATH, calls } = await recorded(machine);
    cache.requests.length = 0;
    const { stderr } = await machine.agent({ ...own.env, PATH, BENTO_BUILD: "prebuilt" }, ["upgrade"], own.program);
    expect(stderr).toMatch(/\nsuccess\n$/);
    expect(await machine.running()).toBe(toplevel);
    expect(await calls()).not.toMatch(/^nix-build|^nix-instantiate/m);
    // It is there, and nowhere else.
    expect(existsSync(path.join(own.nix, "store", path.basename(toplevel), "bin"))).toBe(true);
    expect(existsSync(toplevel)).toBe(false);
    // Nothing twice.
    expect(new Set(downloads()).size).toBe(downloads().length);
    fetched.push(downloads());
  }
  // Each has fetched what is its own, and each what they have in common, which was built once.
  const [first = [], ...others] = fetched.map((paths) => new Set(paths));
  const common = [...first].filter((nar) => others.every((other) => other.has(nar)));
  expect(common.length).toBeGreaterThan(0);
  for (const paths of fetched) expect(paths.length).toBeGreaterThan(common.length);
  expect(new Set(fetched.map(({ length }) => length)).size).toBe(1);
});

test("services.bento can do without the fleet's caches", async () => {
  const machine = await machineWith();
  const content = next();
  await pushed(content);
  await published(content);
  const { stderr } = await machine.agent({ BENTO_CACHES: "none" });
  expect(stderr).toMatch(/\nsuccess\n$/);
  expect(cache.requests).toEqual([]);
});
