import { randomBytes } from "node:crypto";
import path from "node:path";
import { expect, test } from "vitest";
import { long } from "../support/long.ts";
import { exec, kill, start } from "../support/programs.ts";
import { channelHost } from "../support/release.ts";
import { anotherCache, cache, cachesFor, machineWith, next, published, pushed, recorded } from "./caches.ts";

// Caches that are down, say nothing, trickle, or break off: each costs a machine a while, and no upgrade.

cachesFor(["nas"]);

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
  await using silent = await anotherCache("silent-1");
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
  await using other = await anotherCache("cache-2");
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
  const content = channelHost("nas", `environment.etc.large = "${large}";`);
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
