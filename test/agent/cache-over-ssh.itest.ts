import { existsSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Server } from "node:net";
import path from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { BinaryCache } from "../support/binary-cache.ts";
import type { Machine } from "../support/machine.ts";
import { exec, familyOf, kill, processesWith, procFile, start } from "../support/programs.ts";
import { buildChannelHost, channelHost, forgetSystems } from "../support/release.ts";
import { World } from "../support/world.ts";

// A fleet's cache that hosts reach through the ssh server alone: a real sshd, as provision sets it up, and a real cache. That it
// went that way the cache sees by what it was called.

let world: World;
let cache: BinaryCache;
let serial = 0;

beforeAll(async () => {
  world = await World.make({ hosts: ["phone", "nas"] });
  cache = await BinaryCache.start(path.join(world.dir, "cache"), "cache-1");
});
afterAll(async () => {
  await cache?.[Symbol.asyncDispose]();
  await world?.[Symbol.asyncDispose]();
});
beforeEach(async () => {
  cache.answer = () => "file";
  cache.requests.length = 0;
  cache.names.clear();
  await world.server.provision({ ...world.logins, cache: target() });
});

const target = () => cache.url.replace("http://", "");

async function machineOf(name: string, substituters = [cache.substituter]): Promise<Machine> {
  const machine = await world.machine(name);
  const settings = world.agentSettings({ substituters, cache: { push: null, over: "ssh" } });
  await writeFile(machine.path("etc/bento.json"), settings);
  await rm(machine.path("state/retry.json"), { force: true });
  return machine;
}

/** A host's next release, whose system is in the cache alone. */
async function released(name: string, { push = true } = {}): Promise<string> {
  const content = channelHost(
    name,
    `environment.systemPackages = [ pkgs.nginx ];\nenvironment.etc.serial = "${++serial}";`,
  );
  const { manifest } = await world.publish(name, content);
  const built = await buildChannelHost(content, world.dir);
  expect(built).toBe(manifest.toplevel);
  if (push) await cache.push(built);
  await forgetSystems();
  return built;
}

/** What of the way is there: ssh and what runs it, of a machine's agent. */
const wayOf = (machine: Machine) =>
  processesWith("BENTO_RUN", machine.path("run/bento")).filter((pid) => {
    const words = procFile(pid, "cmdline") ?? "";
    return words.startsWith("ssh\0") || words.includes("/fetchers/sftp\0");
  });

/** Of ssh(1), with a login's key. */
async function sshArgs(login: string, key: string): Promise<string[]> {
  const knownHosts = path.join(world.dir, "known_hosts");
  await writeFile(knownHosts, `[127.0.0.1]:${world.server.port} ${await world.server.hostKey()}\n`);
  const options = [
    `UserKnownHostsFile=${knownHosts}`,
    "IdentitiesOnly=yes",
    "BatchMode=yes",
    "ExitOnForwardFailure=yes",
  ];
  const where = ["-i", key, "-p", String(world.server.port), "-l", world.loginPrefix + login];
  return [...options.flatMap((option) => ["-o", option]), ...where];
}
const phone = () => sshArgs("phone", world.hostKeys.phone?.file ?? "");
const asPhone = async (args: readonly string[]) => exec("ssh", [...(await phone()), ...args]);
const asPublisher = async (args: readonly string[]) =>
  exec("ssh", [...(await sshArgs("publisher", world.publisherKey.file)), ...args]);

/** What a socket of the server's says to the phone. */
async function throughSocket(far: string): Promise<string> {
  const near = path.join(world.dir, "near");
  const ssh = start("ssh", [...(await phone()), "-N", "-L", `${near}:${far}`, "127.0.0.1"]);
  try {
    await expect.poll(() => existsSync(near), { timeout: 20_000 }).toBe(true);
    return await text(connect(near));
  } finally {
    kill([ssh.pid], "SIGTERM");
    await ssh.done;
  }
}

/** Something else on the server that listens, and says so. */
async function listener(where: string | number): Promise<Server> {
  const server = createServer((socket) => socket.end("let in\n"));
  await new Promise<void>((resolve) =>
    typeof where === "string" ? server.listen(where, resolve) : server.listen(where, "127.0.0.1", resolve),
  );
  return server;
}

test("prebuilt: the system comes through the server, and the way is closed again", async () => {
  const machine = await machineOf("phone");
  const toplevel = await released("phone");
  // A proxy for the world outside, as networking.proxy sets one, has no part in it.
  const proxy = { http_proxy: "http://127.0.0.1:1", all_proxy: "http://127.0.0.1:1", no_proxy: "intranet.example.org" };
  const { stderr } = await machine.agent({ ...proxy, BENTO_BUILD: "prebuilt" });
  expect(stderr).toMatch(/\nsuccess\n$/);
  expect(await machine.running()).toBe(toplevel);
  expect(cache.requests.filter((request) => request.startsWith("/nar/")).length).toBeGreaterThan(0);
  expect([...cache.names].filter((name) => name === target())).toEqual([]);
  expect(wayOf(machine)).toEqual([]);
});

test("auto and source go that way, too; and where another has the port, by another one", async () => {
  const other = await listener(51338);
  try {
    const machine = await machineOf("phone");
    const first = await released("phone");
    expect((await machine.agent()).stderr).toMatch(/\nsuccess\n$/);
    expect(await machine.running()).toBe(first);
    const second = await released("phone");
    expect((await machine.agent({ BENTO_BUILD: "source" })).stderr).toMatch(/\nsuccess\n$/);
    expect(await machine.running()).toBe(second);
    expect(cache.names.size).toBeGreaterThan(0);
    expect([...cache.names].filter((name) => name === target() || name === "127.0.0.1:51338")).toEqual([]);
  } finally {
    other.close();
  }
});

test("whatever brings releases, the cache comes through the server", async () => {
  const machine = await machineOf("phone");
  const fetcher = machine.path("fetcher");
  const own = path.join(path.dirname(machine.agentFile), "fetchers/sftp");
  // It knows a fetcher's three verbs, as somebody's own does.
  await writeFile(
    fetcher,
    `#!/bin/sh\ncase $1 in poll | fetch | report) exec ${own} "$@" ;; *) echo "no $1" >&2; exit 2 ;; esac\n`,
    { mode: 0o755 },
  );
  const toplevel = await released("phone");
  const { stderr } = await machine.agent({ BENTO_BUILD: "prebuilt", BENTO_FETCHER: fetcher });
  expect(stderr).toMatch(/\nsuccess\n$/);
  expect(await machine.running()).toBe(toplevel);
  expect(cache.names.has(target())).toBe(false);
  expect(cache.names.size).toBeGreaterThan(0);
});

test("a server that doesn't let it through, as before it is set up again, is told as that; auto builds, prebuilt waits", async () => {
  await world.server.provision(world.logins);
  const machine = await machineOf("phone");
  const before = await machine.running();
  const toplevel = await released("phone");
  const prebuilt = await machine.agent({ BENTO_BUILD: "prebuilt" });
  expect(prebuilt.stderr).toContain(
    `none answers (${cache.url} over ssh: the server doesn't connect this machine to it; set it up again from fleet.json); it is not built here`,
  );
  expect(await machine.running()).toBe(before);
  await rm(machine.path("state/retry.json"), { force: true });
  const auto = await machine.agent();
  expect(auto.stderr).toMatch(/\nsuccess\n$/);
  expect(await machine.running()).toBe(toplevel);
  expect(cache.requests).toEqual([]);
});

test("nothing listens where the cache should be, behind a server that lives: seconds, and it is said", async () => {
  const nobody = await listener(0);
  const { port } = nobody.address() as AddressInfo;
  nobody.close();
  await world.server.provision({ ...world.logins, cache: `127.0.0.1:${port}` });
  const url = `http://127.0.0.1:${port}`;
  const machine = await machineOf("phone", [{ url, key: cache.publicKey }]);
  await released("phone");
  const { stderr } = await machine.agent({ BENTO_BUILD: "prebuilt" });
  expect(stderr).toContain(`none answers (${url} over ssh: the server can't connect to it: connect failed`);
});

test("signatures count as ever, and messages name the cache as fleet.yaml does", async () => {
  const machine = await machineOf("phone", [
    { url: cache.url, key: `cache-1:${Buffer.alloc(32, 1).toString("base64")}` },
  ]);
  await released("phone");
  const { stderr } = await machine.agent({ BENTO_BUILD: "prebuilt" });
  expect(stderr).toContain(`${cache.url} over ssh has `);
  expect(stderr).toContain("signed with another key (cache-1)");
});

test("an agent that is killed while it downloads leaves nothing open, and no download", async () => {
  const machine = await machineOf("phone");
  await released("phone");
  const asked = Promise.withResolvers<void>();
  cache.answer = (request) => {
    if (!request.startsWith("/nar/")) return "file";
    asked.resolve();
    return "silence";
  };
  const agent = machine.startAgent({ BENTO_BUILD: "prebuilt" });
  await asked.promise;
  expect(wayOf(machine).length).toBeGreaterThan(0);
  const downloads = familyOf(agent.pid).filter((pid) => procFile(pid, "cmdline")?.includes("\0--realise\0"));
  expect(downloads.length).toBeGreaterThan(0);
  kill([agent.pid]);
  const left = () => [...wayOf(machine), ...downloads.filter((pid) => procFile(pid, "cmdline"))];
  await expect.poll(left, { timeout: 20_000 }).toEqual([]);
});

test("a host is connected to the cache and to nothing else; nobody is connected to a host; the publisher not even there", async () => {
  const socket = path.join(world.dir, "socket");
  const other = await listener(0);
  const others = [other, await listener(socket)];
  const { port } = other.address() as AddressInfo;
  try {
    // The cache, by the plainest way there is.
    const through = await asPhone(["-W", target(), "127.0.0.1"]);
    expect(through).toEqual({ status: 0, stdout: "", stderr: "" });

    for (const to of [`127.0.0.1:${port}`, `localhost:${target().split(":")[1]}`, `[::1]:${target().split(":")[1]}`]) {
      const { stdout, stderr, status } = await asPhone(["-W", to, "127.0.0.1"]);
      expect({ to, stdout, isRefused: /administratively prohibited/.test(stderr), status }).toEqual({
        to,
        stdout: "",
        isRefused: true,
        status: 255,
      });
    }
    const refused = [
      ["-N", "-R", "127.0.0.1:0:127.0.0.1:1"],
      ["-N", "-R", `${path.join(world.dir, "listens")}:127.0.0.1:1`],
    ];
    for (const args of refused) {
      const { stderr, status } = await asPhone([...args, "127.0.0.1"]);
      expect({ args, said: /remote (port )?forwarding failed/i.test(stderr), status }).toEqual({
        args,
        said: true,
        status: 255,
      });
    }
    expect(await throughSocket(socket)).toBe("");
    // In place of a command there is sftp, which takes none.
    for (const command of ["id", "sh -i"]) expect((await asPhone(["127.0.0.1", command])).stdout).not.toContain("uid=");
    const publisher = await asPublisher(["-W", target(), "127.0.0.1"]);
    expect(publisher.stderr).toMatch(/administratively prohibited/);
  } finally {
    for (const other of others) other.close();
  }
});
