import { chmod, chown, readdir, readFile, stat } from "node:fs/promises";
import path from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { Upload } from "../../src/publish/publisher.ts";
import type { SftpOptions } from "../../src/publish/sftp.ts";
import { type Direction, Link, type LinkOptions } from "../support/link.ts";
import { kill, start, succeed } from "../support/programs.ts";
import { World } from "../support/world.ts";
import { Deploys, expectTidy } from "./fleet-state.ts";

// Connections that are lost, servers that hang or are full, and deploys that are interrupted.

let world: World;
let deploys: Deploys;
const HOSTS = ["first", "second", "third"];
const SIZES = { first: 3_000, second: 600_000, third: 3_000 };

beforeAll(async () => {
  world = await World.make({ hosts: HOSTS });
  deploys = new Deploys(world);
});
afterAll(async () => world?.[Symbol.asyncDispose]());

/** One deploy, and what was said meanwhile. */
async function deploy(uploads: readonly Upload[], port: number, options: Partial<SftpOptions> = {}) {
  const said: string[] = [];
  const say = (line: string) => said.push(line);
  await using publisher = await world.connect(world.publisherKey, { port }, { backoff: 1, say, ...options });
  await Promise.all([publisher.lock("a test"), publisher.readCurrent(HOSTS)]);
  const sent: number[] = [];
  const failures = await publisher.publish(uploads, (progress) => sent.push(progress.sent));
  return { failures, said, sent };
}

async function expectPublished(uploads: readonly Upload[]): Promise<void> {
  for (const { host, envelope } of uploads) {
    expect(await readFile(path.join(world.server.chroot(host), "releases/current"), "utf8")).toBe(envelope);
    await deploys.given(host);
  }
}

/** Bytes in both directions of a deploy that nothing happens to. */
async function measure(): Promise<Record<Direction, number>> {
  await using link = await Link.to(world.server.port);
  const uploads = await deploys.next(SIZES);
  await deploy(uploads, link.port);
  return link.passed;
}

test("a connection that is cut anywhere is made again, and the deploy goes on with what is missing", async () => {
  const total = await measure();
  const cuts: NonNullable<LinkOptions["cut"]>[] = [];
  // While it logs in; while it takes the lock; in the middle of an archive; while it renames; at its very end.
  for (const bytes of [500, 4_000, 300_000, total.up - 900, total.up - 500]) cuts.push({ direction: "up", bytes });
  for (const bytes of [1_000, 5_000, total.down - 800, total.down - 300]) cuts.push({ direction: "down", bytes });
  for (const cut of cuts) {
    await using link = await Link.to(world.server.port, { cut });
    const uploads = await deploys.next(SIZES);
    const { failures, said, sent } = await deploy(uploads, link.port);
    expect([...failures.values()], JSON.stringify(cut)).toEqual([null, null, null]);
    expect(link.connections).toBe(2);
    expect(said).toHaveLength(1);
    expect(said[0]).toMatch(/; trying again in \d+\.\d s \(1 of 6\)$/);
    expect(sent.at(-1)).toBe(SIZES.first + SIZES.second + SIZES.third);
    await expectPublished(uploads);
    await world.server.sessionsEnd();
    await expectTidy(world, HOSTS);
  }
});

test("what was sent before the connection was lost is not sent again", async () => {
  const total = await measure();
  // All but the pointers.
  await using link = await Link.to(world.server.port, { cut: { direction: "up", bytes: total.up - 1_000 } });
  const uploads = await deploys.next(SIZES);
  await deploy(uploads, link.port);
  await expectPublished(uploads);
  expect(link.passed.up).toBeLessThan(total.up + 100_000);
});

test("a server that restarts in the middle is waited for", async () => {
  const uploads = await deploys.next(SIZES);
  const said: string[] = [];
  const restarted = Promise.withResolvers<void>();
  const say = (line: string) => {
    said.push(line);
    // It is down when that is said the first time.
    if (said.length === 2) world.server.start().then(restarted.resolve, restarted.reject);
  };
  await using publisher = await world.connect(world.publisherKey, {}, { backoff: 100, say });
  await Promise.all([publisher.lock("a test"), publisher.readCurrent(HOSTS)]);
  await world.server.stop();
  const failures = await publisher.publish(uploads);
  await restarted.promise;
  expect([...failures.values()]).toEqual([null, null, null]);
  expect(said[0]).toMatch(/^the connection to 127\.0\.0\.1:\d+ was lost; trying again in /);
  expect(said[1]).toMatch(/^can't reach the server .*: nothing listens there; trying again in /);
  await expectPublished(uploads);
});

test("a connection that hangs is given up after a deadline, and another one made", async () => {
  const uploads = await deploys.next(SIZES);
  await using link = await Link.to(world.server.port, { hold: 200_000 });
  const { failures, said } = await deploy(uploads, link.port, { silence: 1_000 });
  expect([...failures.values()]).toEqual([null, null, null]);
  expect(link.connections).toBe(2);
  expect(said[0]).toMatch(/^(?:the server \S+ has not answered for 1 s|the connection to \S+ was lost); trying again/);
  await expectPublished(uploads);
});

test("a server whose sftp process hangs ends the deploy, and doesn't hang it", async () => {
  await using publisher = await world.connect(world.publisherKey, {}, { silence: 1_000, backoff: 1, attempts: 0 });
  const pids = world.server.sessions().slice(-1);
  kill(pids, "SIGSTOP");
  try {
    await expect(publisher.lock("a test")).rejects.toMatchObject({
      exitStatus: 3,
      message: expect.stringMatching(/has not answered for 1 s$|was lost$/),
    });
  } finally {
    kill(pids, "SIGKILL");
  }
});

test("interrupted in the middle of an archive: the lock is given back, and no temporary file is left", async () => {
  const before = await deploys.next(SIZES);
  await deploy(before, world.server.port);
  const uploads = await deploys.next(SIZES);
  await using link = await Link.to(world.server.port, { hold: 300_000 });
  const controller = new AbortController();
  const deploying = deploy(uploads, link.port, { signal: controller.signal });
  const ended = expect(deploying).rejects.toMatchObject({ exitStatus: 130 });
  await link.held;
  expect((await readdir(path.join(world.server.root, ".bento"))).sort()).toContain("lock");
  expect((await readdir(path.join(world.server.chroot("second"), "releases"))).join()).toContain(".tmp-");
  controller.abort();
  link.letGo();
  await ended;
  await expectPublished(before);
  await expectTidy(world, HOSTS);
});

test("interrupted when the server is not to be reached any more: it ends all the same", async () => {
  const uploads = await deploys.next(SIZES);
  await using link = await Link.to(world.server.port, { hold: 300_000 });
  const controller = new AbortController();
  const deploying = deploy(uploads, link.port, { signal: controller.signal, silence: 1_000 });
  const ended = expect(deploying).rejects.toMatchObject({ exitStatus: 130 });
  await link.held;
  controller.abort();
  await ended;
  await succeed("rm", [path.join(world.server.root, ".bento/lock")]);
});

/** A small file system in place of a host's releases. */
async function mounted(host: string, options: string): Promise<string> {
  const dir = path.join(world.server.chroot(host), "releases");
  const { uid, gid } = await stat(dir);
  await succeed("mount", ["-t", "tmpfs", "-o", options, "bento-test", dir]);
  await chown(dir, uid, gid);
  await chmod(dir, 0o2750);
  return dir;
}

const mounts: string[] = [];
afterEach(async () => {
  for (const dir of mounts.splice(0)) await succeed("umount", [dir]);
});

test.each([
  // Enough for the host's first release, and not for a second one beside it.
  ["bytes", "size=640k", /^no space is left on the server's disk$/],
  ["files", "nr_inodes=4", /^no space is left on the server's disk$/],
])(
  "a server that has no more room for %s: one line for the host, the old release stays, the next deploy works",
  async (_, options, message) => {
    const dir = await mounted("second", options);
    mounts.push(dir);
    const first = await deploys.next(SIZES);
    expect([...(await deploy(first, world.server.port)).failures.values()]).toEqual([null, null, null]);
    const uploads = await deploys.next(SIZES);
    const { failures } = await deploy(uploads, world.server.port);
    expect(failures.get("second")?.message).toMatch(message);
    expect([failures.get("first"), failures.get("third")]).toEqual([null, null]);
    await expectPublished([
      ...uploads.filter(({ host }) => host !== "second"),
      ...first.filter(({ host }) => host === "second"),
    ]);
    await expectTidy(world, HOSTS);
    await succeed("mount", ["-o", "remount,size=16m,nr_inodes=1000", dir]);
    expect([...(await deploy(uploads, world.server.port)).failures.values()]).toEqual([null, null, null]);
    await expectPublished(uploads);
  },
);

test("a quota of the publisher's that is used up: a line for each host, nothing published, and the next deploy works", async () => {
  const before = await deploys.next(SIZES);
  await deploy(before, world.server.port);
  const uploads = await deploys.next(SIZES);
  {
    await using publisher = await world.connect();
    await Promise.all([publisher.lock("a test"), publisher.readCurrent(HOSTS)]);
    // A quota is a file system's own affair; to the server, what it looks like is this error of a system call.
    const fault = ["-e", "trace=fsync", "-e", "inject=fsync:error=EDQUOT"];
    const tracer = start("strace", ["-o", "/dev/null", ...fault, "-p", String(world.server.sessions().at(-1))]);
    await new Promise<void>((resolve) => {
      tracer.child.stderr?.on("data", (data: Buffer) => data.includes("attached") && resolve());
    });
    const failures = await publisher.publish(uploads);
    for (const host of HOSTS) expect(failures.get(host)?.message).toMatch(/quota used up\?$/);
    tracer.child.kill("SIGINT");
    await tracer.done;
  }
  await expectPublished(before);
  await expectTidy(world, HOSTS);
  await deploy(uploads, world.server.port);
  await expectPublished(uploads);
});

test("a host whose directory the publisher may not write to fails alone, and says what to do", async () => {
  const dir = path.join(world.server.chroot("first"), "releases");
  const { uid, gid } = await stat(dir);
  const before = await readFile(path.join(dir, "current"), "utf8");
  await chown(dir, 0, gid);
  const uploads = await deploys.next(SIZES);
  const { failures } = await deploy(uploads, world.server.port);
  await chown(dir, uid, gid);
  await chmod(dir, 0o2750);
  expect(failures.get("first")).toEqual({
    message: "the publisher may not use /first/releases on the server",
    hint: expect.stringContaining("set the server up again"),
  });
  expect([failures.get("second"), failures.get("third")]).toEqual([null, null]);
  expect(await readFile(path.join(dir, "current"), "utf8")).toBe(before);
  await expectPublished(uploads.filter(({ host }) => host !== "first"));
  await expectTidy(world, HOSTS);
});
