import { existsSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import type { Machine } from "../support/machine.ts";
import { succeed } from "../support/programs.ts";
import { buildChannelHost, forgetSystems } from "../support/release.ts";
import {
  anotherCache,
  cache,
  cachesFor,
  downloads,
  machineWith,
  next,
  published,
  pushed,
  recorded,
  world,
} from "./caches.ts";

// Where a machine's system comes from: its fleet's binary caches, or its own builds; and whom of them it believes.

/** What they run is in no store but their own any more once they have had one. */
const apart = ["router", "phone", "tablet"];
cachesFor(["nas", ...apart]);

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
  await using other = await anotherCache("other-1");
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
