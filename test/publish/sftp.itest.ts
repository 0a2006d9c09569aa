import { createHash } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import { chmod, chown, readdir, readFile, rm, stat, symlink, utimes, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Upload } from "../../src/publish/publisher.ts";
import { makeKey } from "../support/keys.ts";
import { exec, start, succeed } from "../support/programs.ts";
import { World } from "../support/world.ts";

let world: World;
const hosts = ["first", "second", "litter", "reader", "full", "hostile"];
beforeAll(async () => {
  world = await World.make({ hosts });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

/** Something to publish. To the publisher, an envelope and an archive are bytes. */
function upload(host: string, text: string, keep: readonly string[] = [], size = 0): Upload {
  const bytes = Buffer.concat([Buffer.from(text), Buffer.alloc(size)]);
  const name = `${createHash("sha256").update(bytes).digest("hex")}.nar.gz`;
  const file = path.join(world.dir, name);
  writeFileSync(file, bytes);
  return {
    host,
    envelope: `envelope of ${text}\n`,
    archive: { name, size: bytes.length, file },
    keep: [name, ...keep],
  };
}

function releases(host: string): string {
  return path.join(world.server.chroot(host), "releases");
}

/** Runs a batch of sftp(1) commands with somebody's key and login. */
async function sftp(login: string, key: string, commands: string) {
  const knownHosts = path.join(world.dir, "known_hosts");
  await writeFile(knownHosts, `[${world.server.address}]:${world.server.port} ${await world.server.hostKey()}\n`);
  const options = ["-o", `UserKnownHostsFile=${knownHosts}`, "-o", "IdentitiesOnly=yes", "-i", key];
  const where = [...options, "-P", String(world.server.port), `${world.loginPrefix}${login}@${world.server.address}`];
  return exec("sftp", ["-q", "-b", "-", ...where], { input: commands });
}

const asHost = (host: string, commands: string) => sftp(host, world.hostKeys[host]?.file ?? "", commands);
const asPublisher = (commands: string) => sftp("publisher", world.publisherKey.file, commands);

test("a host that never had a release is told apart from one that the server doesn't know", async () => {
  await using publisher = await world.connect();
  const current = await publisher.readCurrent(["first", "unknown"]);
  expect(current.get("first")).toEqual({ state: "missing" });
  expect(current.get("unknown")).toMatchObject({
    state: "failed",
    error: { message: "the server has no place for unknown yet", hint: expect.stringContaining("provision") },
  });
  const reports = await publisher.readReports(["first", "unknown"]);
  expect(reports.get("first")).toEqual({ state: "missing" });
  expect(reports.get("unknown")).toMatchObject({ state: "failed" });
});

test("releases go up for all hosts at once, and one that can't have one doesn't stop the others", async () => {
  await using publisher = await world.connect();
  await publisher.lock("ada");
  const uploads = [upload("first", "a"), upload("unknown", "b"), upload("second", "c")];
  const sent: number[] = [];
  const failures = await publisher.publish(uploads, (progress) => sent.push(progress.sent));
  expect(failures.get("first")).toBeNull();
  expect(failures.get("second")).toBeNull();
  expect(failures.get("unknown")).toMatchObject({ message: "the server has no place for unknown yet" });
  expect(sent.at(-1)).toBe(3 - 1);

  const current = await publisher.readCurrent(["first", "second"]);
  expect(current.get("first")).toMatchObject({ state: "present", envelope: "envelope of a\n" });
  expect(current.get("second")).toMatchObject({ state: "present", envelope: "envelope of c\n" });
  expect((await readdir(releases("first"))).sort()).toEqual([uploads[0]?.archive?.name, "current"].sort());
  const { mode } = await stat(path.join(releases("first"), "current"));
  expect((mode & 0o777).toString(8)).toBe("640");
  expect((await asHost("first", "get /releases/current /dev/null")).status).toBe(0);
});

test("the pointer is written last: a host that reads meanwhile gets a release that is all there", async () => {
  await using publisher = await world.connect();
  const old = upload("second", "old");
  await publisher.publish([old]);
  // strace shows what the server's sftp process did with the files, in order.
  const trace = path.join(world.dir, "trace");
  const calls = "trace=rename,renameat,renameat2,link,fsync,openat,open,unlink";
  const tracer = start("strace", ["-f", "-o", trace, "-e", calls, "-p", String(world.server.sessions().at(-1))]);
  const attached = new Promise<void>((resolve) => {
    tracer.child.stderr?.on("data", (data: Buffer) => data.includes("attached") && resolve());
  });
  await attached;
  const next = upload("second", "new", old.keep);
  await publisher.publish([next]);
  tracer.child.kill("SIGINT");
  await tracer.done;
  const steps = (await readFile(trace, "utf8"))
    .split("\n")
    .filter((line) => /= 0$/.test(line) && /rename|fsync/.test(line))
    .map((line) => /"[^"]*\/([^"/]*)"\)? *= 0$/.exec(line)?.[1] ?? line.replace(/^\d+ +(\w+)\(.*$/, "$1"));
  expect(steps).toEqual(["fsync", "fsync", next.archive?.name, "current"]);
});

test("an archive that is there already is not sent again, and one that was cut off is", async () => {
  await using publisher = await world.connect();
  const release = upload("first", "resumed");
  const file = path.join(releases("first"), release.archive?.name ?? "");
  await writeFile(file, "res", { mode: 0o640 });
  await publisher.publish([release]);
  expect(await readFile(file, "utf8")).toBe("resumed");
  const { ino } = await stat(file);
  await publisher.publish([release]);
  expect((await stat(file)).ino).toBe(ino);
});

test("what is older than the history, and what a killed deploy left, is collected", async () => {
  await using publisher = await world.connect();
  const old = upload("litter", "old");
  await publisher.publish([old]);
  const kept = upload("litter", "kept");
  await publisher.publish([kept]);
  expect(await readdir(releases("litter"))).not.toContain(old.archive?.name);
  await writeFile(path.join(releases("litter"), ".tmp-0b1c-current"), "half of an envelope");
  await writeFile(path.join(releases("litter"), "note-from-the-administrator"), "keep me");
  const next = upload("litter", "next", [kept.archive?.name ?? ""]);
  await publisher.publish([next]);
  const expected = [kept.archive?.name, next.archive?.name, "current", "note-from-the-administrator"];
  expect((await readdir(releases("litter"))).sort()).toEqual(expected.sort());
});

test("while one deploy has the lock, another is told whose it is", async () => {
  await using first = await world.connect();
  await first.lock("ada@laptop");
  await using second = await world.connect();
  await expect(second.lock("grace@desk")).rejects.toMatchObject({
    exitStatus: 3,
    message: expect.stringMatching(
      /^another deploy holds the fleet's lock: ada@laptop \(process \d+ on .+\), last seen \d+ s ago$/,
    ),
  });
  await first[Symbol.asyncDispose]();
  await second.lock("grace@desk");
});

test("a lock that was left behind is taken over, and its owner publishes nothing more", async () => {
  const lock = path.join(world.server.root, ".bento/lock");
  await using dead = await world.connect();
  await dead.lock("dead@runner");
  const anHourAgo = Date.now() / 1000 - 3600;
  await utimes(lock, anHourAgo, anHourAgo);
  await using alive = await world.connect();
  await alive.lock("alive@runner");
  expect(JSON.parse(await readFile(lock, "utf8"))).toMatchObject({ owner: "alive@runner" });
  const before = await readFile(path.join(releases("first"), "current"), "utf8");
  await expect(dead.publish([upload("first", "from the dead")])).rejects.toThrow(/has taken the fleet's lock over/);
  expect(await readFile(path.join(releases("first"), "current"), "utf8")).toBe(before);
  await dead[Symbol.asyncDispose]();
  expect(existsSync(lock)).toBe(true);
  await alive[Symbol.asyncDispose]();
  expect(await readdir(path.join(world.server.root, ".bento"))).toEqual([]);
});

test("a server that isn't the pinned one, refuses the key, or isn't there, is told as that", async () => {
  await expect(world.connect(world.publisherKey, { hostKeys: [world.signingKey.publicKey] })).rejects.toMatchObject({
    exitStatus: 3,
    message: expect.stringMatching(/showed another host key than the pinned one: expected SHA256:\S+, got SHA256:\S+$/),
  });
  await expect(world.connect(await makeKey(path.join(world.dir, "keys/stranger")))).rejects.toMatchObject({
    exitStatus: 3,
    message: expect.stringMatching(/refused the login '\S+publisher' with the publisher's key$/),
  });
  await expect(world.connect(world.publisherKey, { port: 1 })).rejects.toMatchObject({
    exitStatus: 3,
    message: "can't reach the server 127.0.0.1:1: nothing listens there",
  });
  await expect(world.connect(world.publisherKey, { address: "nowhere.invalid" })).rejects.toMatchObject({
    exitStatus: 3,
    message: expect.stringMatching(/^can't reach the server nowhere\.invalid:\d+: /),
  });
});

test("the publisher's key may be of any type that OpenSSH has, and is not asked about before it is used", async () => {
  const keys = await Promise.all(
    ["ed25519", "ecdsa", "rsa"].map((type) => makeKey(path.join(world.dir, `keys/publisher-${type}`), type)),
  );
  await world.server.provision({
    ...world.logins,
    publishers: [world.publisherKey, ...keys].map(({ publicKey }) => publicKey),
  });
  for (const key of keys) {
    await using publisher = await world.connect(key);
    expect((await publisher.readCurrent(["second"])).get("second")).toMatchObject({ state: "present" });
  }
});

test("a host sees its own chroot and nobody else's, and can't write its releases", async () => {
  await using publisher = await world.connect();
  await publisher.publish([upload("reader", "mine"), upload("first", "not yours")]);
  const listing = await asHost("reader", "ls -1a /\n");
  expect(
    listing.stdout
      .split("\n")
      .filter((line) => /^\/?[a-z]/.test(line.replace("/", "")))
      .sort(),
  ).toEqual(expect.arrayContaining([expect.stringContaining("releases"), expect.stringContaining("reports")]));
  for (const place of ["/first/releases/current", "../first/releases/current", `${releases("first")}/current`]) {
    const { status, stderr } = await asHost("reader", `get ${place} ${world.dir}/stolen\n`);
    expect(stderr).toContain("not found");
    expect(status).toBe(1);
  }
  expect(existsSync(path.join(world.dir, "stolen"))).toBe(false);
  await writeFile(path.join(world.dir, "mine"), "mine\n");
  for (const command of [
    `put ${world.dir}/mine /releases/current`,
    `put ${world.dir}/mine /releases/more`,
    "rm /releases/current",
    "rename /releases/current /releases/old",
    `put ${world.dir}/mine /elsewhere`,
    "mkdir /elsewhere",
    "rename /releases /gone",
    "symlink /etc /releases/etc",
  ]) {
    const { status, stderr } = await asHost("reader", `${command}\n`);
    expect([command, status]).toEqual([command, 1]);
    expect(stderr).toMatch(/denied|Failure/i);
  }
  expect(await readFile(path.join(releases("reader"), "current"), "utf8")).toBe("envelope of mine\n");
});

test("nobody gets a shell, a tunnel or another subsystem", async () => {
  const login = `${world.loginPrefix}reader@${world.server.address}`;
  const options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"];
  const key = ["-i", world.hostKeys.reader?.file ?? "", "-o", "IdentitiesOnly=yes", "-p", String(world.server.port)];
  const shell = await exec("ssh", [...options, ...key, login, "touch /reports/pwned; id"]);
  expect(shell.stdout).toBe("This service allows sftp connections only.\n");
  expect(shell.status).toBe(1);
  expect(existsSync(path.join(world.server.chroot("reader"), "reports/pwned"))).toBe(false);
  const tunnel = await exec("ssh", [...options, ...key, "-W", `127.0.0.1:${world.server.port}`, login]);
  expect(tunnel.status).toBe(255);
  expect(tunnel.stderr).toMatch(/administratively prohibited|forwarding failed/);
});

test("the publisher reads what hosts report, and can't write it", async () => {
  await writeFile(path.join(world.dir, "latest.json"), '{"outcome":"success"}\n');
  await chmod(path.join(world.dir, "latest.json"), 0o640);
  const delivered = await asHost("reader", `put ${world.dir}/latest.json /reports/latest.json\n`);
  expect(delivered.status).toBe(0);
  await using publisher = await world.connect();
  const said = (await publisher.readReports(["reader"])).get("reader");
  expect(said).toMatchObject({ state: "read", heartbeat: null, report: { text: '{"outcome":"success"}\n' } });
  const { status, stderr } = await asPublisher(`put ${world.dir}/latest.json /reader/reports/latest.json\n`);
  expect(stderr).toMatch(/denied/i);
  expect(status).toBe(1);
});

test("whatever a hostile host puts in place of its report, the publisher neither hangs nor reads it", async () => {
  const reports = path.join(world.server.chroot("hostile"), "reports");
  const latest = path.join(reports, "latest.json");
  const { uid, gid } = await stat(reports);
  const secret = path.join(world.server.root, ".bento/secret");
  await writeFile(secret, "the publisher's secret", { mode: 0o644 });
  const place = async (make: () => Promise<unknown>) => {
    await rm(latest, { recursive: true, force: true });
    await make();
    await using publisher = await world.connect();
    const said = await publisher.readReports(["hostile", "reader"]);
    expect(said.get("hostile")).toMatchObject({ state: "failed" });
    expect(JSON.stringify(said.get("hostile"))).not.toContain('secret"');
    expect(said.get("reader")).toMatchObject({ state: "read" });
  };
  await place(() => succeed("mkfifo", ["-m", "644", latest]));
  await place(() => symlink("/.bento/secret", latest));
  await place(() => symlink("/dev/zero", latest));
  await place(() => succeed("mkdir", [latest]));
  await place(async () => {
    await succeed("truncate", ["-s", "10G", latest]);
    await chown(latest, uid, gid);
    await chmod(latest, 0o640);
  });
  await place(async () => {
    await writeFile(latest, "unreadable", { mode: 0o600 });
    await chown(latest, uid, gid);
  });
  await rm(secret);
});

test("a full disk on the server is told as that, and the old release stays", async () => {
  const dir = releases("full");
  const before = await stat(dir);
  await succeed("mount", ["-t", "tmpfs", "-o", "size=1m,mode=2750", "bento-test", dir]);
  await chown(dir, before.uid, before.gid);
  await chmod(dir, 0o2750);
  await using publisher = await world.connect();
  const old = upload("full", "old");
  expect((await publisher.publish([old])).get("full")).toBeNull();
  const large = upload("full", "too large", old.keep, 4 * 1024 ** 2);
  const failures = await publisher.publish([large, upload("first", "small")]);
  expect(failures.get("full")).toEqual({
    message: "no space is left on the server's disk",
    hint: "make room, and deploy again",
  });
  expect(failures.get("first")).toBeNull();
  expect((await publisher.readCurrent(["full"])).get("full")).toMatchObject({ envelope: "envelope of old\n" });
  expect((await readdir(dir)).sort()).toEqual([old.archive?.name, "current"].sort());

  // With room again the same deploy goes through.
  await succeed("mount", ["-o", "remount,size=16m", dir]);
  expect((await publisher.publish([large])).get("full")).toBeNull();
  expect((await publisher.readCurrent(["full"])).get("full")).toMatchObject({ envelope: "envelope of too large\n" });
});

test("a connection that is lost, and can't be had again, is an error, and never a wait without end", async () => {
  const said: string[] = [];
  await using publisher = await world.connect(world.publisherKey, {}, { backoff: 1, say: (line) => said.push(line) });
  await world.server.stop();
  await expect(publisher.readCurrent(["first"])).rejects.toMatchObject({
    exitStatus: 3,
    message: expect.stringMatching(
      /^the connection to \S+ was lost, and then: can't reach the server \S+: nothing listens/,
    ),
  });
  expect(said[0]).toMatch(/^the connection to 127\.0\.0\.1:\d+ was lost; trying again in \d\.\d s \(1 of 6\)$/);
  expect(said.at(-1)).toMatch(/^can't reach the server .* \(6 of 6\)$/);
  expect(said).toHaveLength(6);
  await expect(publisher.publish([upload("first", "late")])).rejects.toThrow(/was lost/);
  await world.server.start();
});
