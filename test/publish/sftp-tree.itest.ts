import { spawn } from "node:child_process";
import { once } from "node:events";
import { lstat, mkdir, readdir, readFile, readlink, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { archivesOf } from "../../src/release/plan.ts";
import { long } from "../support/long.ts";
import { type Exit, exec } from "../support/programs.ts";
import { type Content, channelHost } from "../support/release.ts";
import { World } from "../support/world.ts";
import type { Deployment } from "./deployer.ts";
import { startDeployer } from "./deployers.ts";
import { expectTidy, timeToLivePasses } from "./fleet-state.ts";
import { LegacyMachine, legacyLogin, SFTP } from "./legacy-machine.ts";

// server.tree: what hosts of the 2022 Bento find at the server; legacy-scripts.itest.ts runs it.

const hosts = ["browsed", "moved", "provisioned", "swept"];
let world: World;
beforeAll(async () => {
  world = await World.make({ hosts, tree: true });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

const at = (host: string, ...place: string[]) => path.join(world.server.chroot(host), ...place);
const publish = (host: string, content: Content) => world.publish(host, content, { evaluate: false });
const login = (host: string) => legacyLogin(world, host);

/** Runs sftp commands as the old client does: on standard input, not as a batch, so that its exit status is the session's. */
function sftp(machine: LegacyMachine, host: string, commands: readonly string[]): Promise<Exit> {
  return machine.run(`cd /tmp && printf '%s\\n' ${commands.map((one) => `'${one}'`).join(" ")} |
    ${SFTP} -P ${world.server.port} -r ${login(host)}`);
}

async function names(dir: string): Promise<string[]> {
  return (await readdir(dir, { recursive: true })).sort();
}

test("the tree is where the old client looks for it, with its scripts, and its time changes with it", async () => {
  const machine = await LegacyMachine.make(world, "browsed");
  const before = await sftp(machine, "browsed", ["ls -l last_change_date"]);
  expect(before.status, before.stderr).toBe(0);
  await publish("browsed", { files: { "configuration.nix": "{ }\n", "sub/b.nix": "2\n" } });
  const first = await sftp(machine, "browsed", ["ls -l last_change_date"]);
  expect(first.stdout).not.toBe(before.stdout);

  const fetched = await sftp(machine, "browsed", ["cd config", "get -R ."]);
  expect(fetched.status, fetched.stderr).toBe(0);
  expect(await names(machine.path("tmp"))).toEqual([
    "bootstrap.sh",
    "configuration.nix",
    "sub",
    "sub/b.nix",
    "update.sh",
  ]);
  expect(await machine.read("tmp/sub/b.nix")).toBe("2\n");
  expect((await stat(machine.path("tmp/update.sh"))).mode & 0o100).toBe(0o100);
  const single = await machine.run(
    `cd /tmp && rm -rf * && ${SFTP} -P ${world.server.port} ${login("browsed")}:/config/bootstrap.sh .`,
  );
  expect(single.status, single.stderr).toBe(0);
  expect(await names(machine.path("tmp"))).toEqual(["bootstrap.sh"]);
  const put = await sftp(machine, "browsed", ["put bootstrap.sh /logs/any", "ls logs"]);
  expect(put.stdout).toMatch(/^logs\/any *$/m);
  // It may write there, and nowhere else.
  await sftp(machine, "browsed", [
    "put bootstrap.sh config/evil",
    "put bootstrap.sh last_change_date",
    "rm config",
    "put bootstrap.sh evil",
  ]);
  expect(await names(at("browsed", "config/"))).not.toContain("evil");
  expect(await readdir(at("browsed"))).not.toContain("evil");
  expect((await lstat(at("browsed", "config"))).isSymbolicLink()).toBe(true);
  expect(await readFile(at("browsed", "last_change_date"), "utf8")).toMatch(/^release \d+\n/);

  await publish("browsed", { files: { "configuration.nix": "{ }\n", "sub/b.nix": "3\n" } });
  const second = await sftp(machine, "browsed", ["ls -l last_change_date"]);
  expect(second.stdout).not.toBe(first.stdout);
});

/** A release of which every file says which one it is of. */
const generation = (n: number | string): Content => ({
  files: Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`dir/${index}.nix`, `${n}\n`])),
});

/** Which release a copy of such a tree is of; throws when it is of two, or not all of one. */
async function generationIn(dir: string): Promise<string> {
  const texts = await Promise.all((await readdir(dir)).map((name) => readFile(path.join(dir, name), "utf8")));
  expect(texts.length).toBe(20);
  expect(new Set(texts).size).toBe(1);
  return (texts[0] ?? "").trim();
}

const treesOf = async (host: string) => (await readdir(at(host, "trees"))).filter((name) => name !== "config").sort();

test("who is about to fetch a tree still gets that one, whole, when the next is published", async () => {
  await publish("moved", generation(1));
  const options = [
    "-q",
    "-o",
    "StrictHostKeyChecking=no",
    "-o",
    "UserKnownHostsFile=/dev/null",
    "-o",
    "IdentitiesOnly=yes",
  ];
  const key = ["-i", world.hostKeys.moved?.file ?? "", "-P", String(world.server.port)];
  const copy = path.join(world.dir, "copy");
  await mkdir(copy);
  const client = spawn("sftp", [...options, ...key, login("moved")], { stdio: ["pipe", "pipe", "ignore"], cwd: copy });
  const ended = once(client, "close");
  client.stdin.write("cd config\npwd\n");
  for await (const line of createInterface({ input: client.stdout })) if (/Remote working directory/.test(line)) break;
  await publish("moved", generation(2));
  client.stdin.end("get -R .\n");
  client.stdout.resume();
  await ended;
  expect(await generationIn(path.join(copy, "dir"))).toBe("1");
  expect(await generationIn(at("moved", "config/dir"))).toBe("2");
  expect(await treesOf("moved")).toHaveLength(2);
  await publish("moved", generation(3));
  const left = await treesOf("moved");
  expect(left).toHaveLength(2);
  expect(left[1]).toBe(await readlink(at("moved", "trees/config")));
});

long("who fetches while releases come and go gets one of them, whole", async () => {
  const machine = await LegacyMachine.make(world, "moved");
  let isOver = false;
  const seen: string[] = [];
  const reading = (async () => {
    while (!isOver) {
      const { status } = await machine.run(
        `rm -rf /tmp/* && cd /tmp && printf '%s\\n' 'cd config' 'get -R .' |
          ${SFTP} -b - -P ${world.server.port} ${login("moved")}`,
      );
      // It may have been too slow for two of them, and knows it.
      if (status === 0) seen.push(await generationIn(machine.path("tmp/dir")));
    }
  })();
  try {
    for (let n = 4; n <= 8 || (seen.length === 0 && n < 50); n++) await publish("moved", generation(n));
  } finally {
    isOver = true;
    await reading;
  }
  expect(seen.length).toBeGreaterThan(0);
});

long(
  "a deploy killed at any request leaves the old tree or the new one, and the next deploy puts all in order",
  async () => {
    let count = 0;
    const deploy = async (n: string, signal?: Deployment["signal"]) => {
      const { envelope, archive, manifest } = await world.release("swept", generation(n), { evaluate: false });
      const { name, size, bytes } = archive;
      const file = path.join(world.dir, name);
      await writeFile(file, bytes);
      const upload = { host: "swept", envelope, archive: { name, size, file }, keep: archivesOf(manifest) };
      await using child = await startDeployer(world, [upload], signal === undefined ? {} : { signal });
      for (let line = await child.line(); line !== undefined; line = await child.line()) {
        const [, requests] = /^requests (\d+)/.exec(line) ?? [];
        if (requests !== undefined) count = Number(requests);
        else if (line.startsWith("{")) expect(JSON.parse(line)).toEqual({ swept: null });
      }
      return child.status();
    };
    // A signal at a request that never comes: it counts them.
    const uncut = { name: "SIGKILL", at: 1_000_000, when: "before" } as const;
    expect(await deploy("first", uncut)).toBe(0);
    expect(await deploy("second", uncut)).toBe(0);
    expect(count).toBeGreaterThan(60);
    const all = Array.from({ length: count }, (_, index) => index + 1);
    // The last ones are where the trees change places.
    const places =
      process.env.BENTO_TEST_ALL === "1" ? all : [60, ...all.slice(-45).filter((n) => n % 20 === 0), count - 3];
    const tally = { old: 0, new: 0 };
    let before = "second";
    for (const place of places) {
      const next = `cut ${place}`;
      expect(await deploy(next, { ...uncut, at: place }), next).toBe(137);
      while ((await exec("pgrep", ["-u", `${world.loginPrefix}publisher`])).status === 0) await setTimeout(10);
      const given = await generationIn(at("swept", "config/dir"));
      expect([before, next]).toContain(given);
      tally[given === next ? "new" : "old"] += 1;
      await timeToLivePasses(world);
      before = `after ${place}`;
      expect(await deploy(before)).toBe(0);
      expect(await generationIn(at("swept", "config/dir"))).toBe(before);
    }
    console.log(
      `killed at ${places.length} of ${count} requests: the old tree ${tally.old} times, the new one ${tally.new}`,
    );
    expect(tally.old).toBeGreaterThan(0);
    expect(tally.new).toBeGreaterThan(0);
    expect(await deploy("last")).toBe(0);
    await expectTidy(world, ["swept"]);
    expect(await treesOf("swept")).toHaveLength(2);
  },
  600_000,
);

test("a tree that isn't the release's is made again by the next deploy", async () => {
  const read = async () => {
    await using publisher = await world.connect();
    return (await publisher.readCurrent(["moved"])).get("moved");
  };
  expect(await read()).not.toHaveProperty("isIncomplete");
  await rm(at("moved", "trees/config"));
  expect(await read()).toMatchObject({ state: "present", isIncomplete: true });
  await publish("moved", { files: { "configuration.nix": "{ }\n" } });
  expect(await read()).not.toHaveProperty("isIncomplete");
});

test("a server that was not set up for it is the host's failure, which says what to do", async () => {
  const release = await world.release("provisioned", channelHost("provisioned"), { evaluate: false });
  await rm(at("provisioned", "last_change_date"));
  await expect(world.put("provisioned", release)).rejects.toThrow("no place for the unpacked tree of provisioned");
  expect(await readdir(at("provisioned", "releases"))).not.toContain("current");
  const {
    serverSettings: { user, publishers },
    loginPrefix: prefix,
  } = world;
  const logins = hosts.map((host) => [host, { login: prefix + host, key: world.hostKeys[host]?.publicKey ?? "" }]);
  await world.server.provision({ user, publishers, tree: true, hosts: Object.fromEntries(logins) });
  await world.put("provisioned", release);
});
