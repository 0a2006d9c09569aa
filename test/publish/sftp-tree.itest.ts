import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { access, lstat, mkdir, readdir, readFile, readlink, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { statusesOf } from "../../src/commands/status.ts";
import { archivesOf } from "../../src/release/plan.ts";
import type { HostStatus } from "../../src/results.ts";
import { hostNamed } from "../fleet/host.ts";
import { believesAnybody } from "../support/hostile-ssh-config.ts";
import { long } from "../support/long.ts";
import { type Exit, exec } from "../support/programs.ts";
import { type Content, channelHost } from "../support/release.ts";
import { World } from "../support/world.ts";
import type { Deployment } from "./deployer.ts";
import { startDeployer } from "./deployers.ts";
import { expectTidy, timeToLivePasses } from "./fleet-state.ts";
import { FACTORY, LegacyMachine } from "./legacy-machine.ts";

// server.tree: what hosts of the 2022 Bento find at the server, and what becomes of it when they run what they find.

const OLD_BENTO = process.env.BENTO_TEST_OLD_BENTO;
const hosts = ["browsed", "moved", "scripts", "cutoff", "real", "swept"];
let world: World;
beforeAll(async () => {
  world = await World.make({ hosts, tree: true });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

const at = (host: string, ...place: string[]) => path.join(world.server.chroot(host), ...place);
const publish = (host: string, content: Content) => world.publish(host, content, { evaluate: false });
const login = (host: string) => `${world.loginPrefix}${host}@${world.server.address}`;
const SFTP = "sftp -q -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR";

/** Runs sftp commands as the old client does: on standard input, not as a batch, so that its exit status is the session's. */
function sftp(machine: LegacyMachine, host: string, commands: readonly string[]): Promise<Exit> {
  return machine.run(`cd /tmp && printf '%s\\n' ${commands.map((one) => `'${one}'`).join(" ")} |
    ${SFTP} -P ${world.server.port} -r ${login(host)}`);
}

async function statusOf(host: string): Promise<HostStatus> {
  await using publisher = await world.connect();
  const known = hostNamed(host, { key: world.hostKeys[host]?.publicKey ?? null });
  const [status] = await statusesOf(publisher, [known], [world.signingKey.publicKey]);
  if (status === undefined) throw new Error(`${host} has no status`);
  return status;
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
  const release = await world.release("real", channelHost("real"), { evaluate: false });
  await rm(at("real", "last_change_date"));
  await expect(world.put("real", release)).rejects.toThrow("no place for the unpacked tree of real");
  expect(await readdir(at("real", "releases"))).not.toContain("current");
  const {
    serverSettings: { user, publishers },
    loginPrefix: prefix,
  } = world;
  const logins = hosts.map((host) => [host, { login: prefix + host, key: world.hostKeys[host]?.publicKey ?? "" }]);
  await world.server.provision({ user, publishers, tree: true, hosts: Object.fromEntries(logins) });
  await world.put("real", release);
});

/** What the system of a configuration is called, by the machine's nixos-rebuild. */
async function systemOf(machine: LegacyMachine): Promise<string> {
  return (await machine.run("readlink -f /nix/var/nix/profiles/system")).stdout.trim();
}

/** A log of the second in which something was published can't be of that: no machine is as quick, but for this one. */
async function secondPasses(host: string): Promise<void> {
  const changed = await stat(path.join(world.server.chroot(host), "last_change_date"));
  const next = (Math.floor(changed.mtimeMs / 1000) + 1) * 1000;
  await vi.waitFor(() => expect(Date.now()).toBeGreaterThanOrEqual(next), { timeout: 5000 });
}

test("its scripts fetch, switch, and leave the logs that status reads", async () => {
  const machine = await LegacyMachine.make(world, "scripts");
  await publish("scripts", channelHost("scripts", "# one"));
  expect(await statusOf("scripts")).toMatchObject({ state: "new" });
  // The first time by hand, as in 2022.
  const first = await machine.run(
    `cd /var/bento && ${SFTP} -P ${world.server.port} ${login("scripts")}:/config/bootstrap.sh . && sh bootstrap.sh`,
  );
  expect(first.status, first.stdout + first.stderr).toBe(0);
  expect(await machine.read("var/bento/configuration.nix")).toContain("# one");
  expect(await statusOf("scripts")).toMatchObject({
    state: "up-to-date",
    reason: "reported by the Bento of 2022",
    running: { toplevel: await systemOf(machine) },
    lastOutcome: "success",
  });

  const upgrade = () => machine.run("cd /var/bento && sh update.sh");
  expect((await upgrade()).status).toBe(0);
  expect((await upgrade()).stdout).toMatch(/nothing new/);

  await publish("scripts", channelHost("scripts", "# broken"));
  const works = await systemOf(machine);
  await secondPasses("scripts");
  expect((await upgrade()).status).toBe(0);
  expect(await systemOf(machine)).toBe(works);
  expect(await statusOf("scripts")).toMatchObject({ state: "failed", running: { toplevel: works } });
  // As in 2022, what failed is not tried again.
  expect((await upgrade()).stdout).toMatch(/nothing new/);

  // What is published while it builds is not what its log is about.
  await publish("scripts", channelHost("scripts", "# slow"));
  await secondPasses("scripts");
  const slow = upgrade();
  await vi.waitFor(() => access(machine.path("var/bento/building")), { timeout: 60_000 });
  await publish("scripts", channelHost("scripts", "# three"));
  await writeFile(machine.path("var/bento/building.done"), "");
  expect((await slow).status).toBe(0);
  expect(await systemOf(machine)).not.toBe(works);
  expect(await statusOf("scripts")).toMatchObject({ state: "pending", lastOutcome: "success" });

  await secondPasses("scripts");
  expect((await upgrade()).status).toBe(0);
  expect(await machine.read("var/bento/configuration.nix")).toContain("# three");
  expect(await statusOf("scripts")).toMatchObject({ state: "up-to-date", lastOutcome: "success" });

  // Only the pinned server is believed, whatever this machine's ssh is told.
  const actual = world.serverSettings.hostKeys[0]?.split(" ").slice(0, 2).join(" ") ?? "";
  const program = "etc-known-hosts";
  const config = await believesAnybody(machine.path(program), actual);
  await machine.write("root/.ssh/config", config.replaceAll(machine.path(program), `/${program}`), 0o600);
  expect((await upgrade()).stdout).toMatch(/nothing new/);
  const pinned = await machine.read("var/bento/bootstrap.sh");
  await machine.write("var/bento/bootstrap.sh", pinned.replaceAll(actual, world.publisherKey.publicKey), 0o700);
  const stranger = await machine.run("cd /var/bento && sh bootstrap.sh");
  expect(stranger).toMatchObject({ status: 75, stderr: expect.stringContaining("nothing could be fetched") });
  await machine.write("var/bento/bootstrap.sh", pinned, 0o700);

  // Who can't reach the server keeps what it has.
  await world.server.stop();
  expect((await machine.run("cd /var/bento && sh bootstrap.sh")).status).toBe(75);
  expect(await machine.read("var/bento/configuration.nix")).toContain("# three");
  await world.server.start();
});

test("a configuration that cuts the host off from its server is taken back", async () => {
  const machine = await LegacyMachine.make(world, "cutoff");
  await publish("cutoff", channelHost("cutoff", "# cut-off"));
  // The system that it had brings the network back.
  const back = "#!/bin/sh\ninstall -m 600 /root/.ssh/kept /root/.ssh/id_ed25519\n";
  await machine.run("cp /root/.ssh/id_ed25519 /root/.ssh/kept");
  await machine.write(`${FACTORY.slice(1)}/bin/switch-to-configuration`, back, 0o755);
  const { stdout } = await machine.run(
    `cd /var/bento && ${SFTP} -P ${world.server.port} ${login("cutoff")}:/config/bootstrap.sh . && sh bootstrap.sh`,
  );
  expect(stdout).toMatch(/^rollback$/m);
  expect(await systemOf(machine)).toBe(FACTORY);
  expect(await statusOf("cutoff")).toMatchObject({ state: "rolled-back", running: { toplevel: FACTORY } });
});

test.runIf(OLD_BENTO)("the scripts of 2022 themselves: from theirs to ours, and by theirs alone", async () => {
  const machine = await LegacyMachine.make(world, "real");
  await machine.write("opt/bento", oldBento(OLD_BENTO ?? ""), 0o600);
  // Its deploy made them like this.
  const settings = `REMOTE_IP=${world.server.address} REMOTE_PORT=${world.server.port} TIMEOUT=20`;
  const made =
    await machine.run(`mkdir -p /opt/old && ${settings} && eval "$(sed -n '/^create_bento_files()/,/^}/p' /opt/bento)" &&
    create_bento_files /opt/old ${world.loginPrefix}real && ls /opt/old`);
  expect(made.stdout, made.stderr).toBe("bootstrap.sh\nupdate.sh\n");

  await publish("real", channelHost("real", "# one"));
  const byHand = await machine.run("cd /var/bento && sh /opt/old/bootstrap.sh");
  expect(byHand.status, byHand.stderr).toBe(0);
  expect(await machine.read("var/bento/configuration.nix")).toContain("# one");
  expect(await statusOf("real")).toMatchObject({
    state: "up-to-date",
    running: { toplevel: await systemOf(machine) },
    lastOutcome: "success",
  });

  // The timer runs an update.sh of theirs, which is replaced by ours while it runs.
  await publish("real", channelHost("real", "# two"));
  expect(await statusOf("real")).toMatchObject({ state: "pending" });
  await machine.run("cp /opt/old/*.sh /var/bento/");
  const updated = await machine.run("cd /var/bento && /bin/bash update.sh");
  expect(updated.status, updated.stderr).toBe(0);
  expect(updated.stdout).toMatch(/update required/);
  expect(updated.stderr).not.toMatch(/syntax error|command not found/);
  expect(await machine.read("var/bento/configuration.nix")).toContain("# two");
  expect(await machine.read("var/bento/update.sh")).toMatch(/Made by Bento/);
  expect(await statusOf("real")).toMatchObject({ state: "up-to-date" });
  expect((await machine.run("cd /var/bento && /bin/bash update.sh")).stdout).toMatch(/nothing new/);

  // And for somebody who keeps theirs.
  await publish("real", channelHost("real", "# three"));
  const theirs = await machine.run("cd /var/bento && cp /opt/old/*.sh . && sh /opt/old/bootstrap.sh");
  expect(theirs.status, theirs.stderr).toBe(0);
  expect(await machine.read("var/bento/configuration.nix")).toContain("# three");
  expect(await statusOf("real")).toMatchObject({ state: "up-to-date" });
});

/** The old project's one program, out of a git directory or a checkout. */
function oldBento(repository: string): string {
  return execFileSync("git", ["-C", repository, "show", "HEAD:bento"], { encoding: "utf8" });
}
