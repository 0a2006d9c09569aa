import { chmod, chown, mkdir, stat } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Link } from "../support/link.ts";
import { World } from "../support/world.ts";
import { Deploys } from "./fleet-state.ts";

// How often a deploy waits for the server, which is what it costs where the server is far away. Counted, not timed.

let world: World;
beforeAll(async () => {
  world = await World.make({ hosts: [] });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

/** Milliseconds in which the server says nothing more: it has answered all that it was asked. */
const SILENT = 150;

async function flights(work: (publisher: Awaited<ReturnType<World["connect"]>>) => Promise<unknown>): Promise<number> {
  await using link = await Link.to(world.server.port, { lockstep: SILENT });
  {
    await using publisher = await world.connect(world.publisherKey, { port: link.port });
    await work(publisher);
  }
  return link.flights;
}

/** Counts again when it is more: a server that is held up for a moment looks as if it had answered all. */
async function atMost(limit: number, count: () => Promise<number>): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let attempt = 0; attempt < 3 && least > limit; attempt++) least = Math.min(least, await count());
  expect(least).toBeLessThanOrEqual(limit);
  return least;
}

test("with nothing to do for 100 hosts, five round trips beside the login; not many more with everything new", async () => {
  const hosts = Array.from({ length: 100 }, (_, index) => `host-${index}`);
  const { uid, gid } = await stat(path.join(world.server.root, ".bento"));
  for (const host of hosts) {
    const dir = path.join(world.server.chroot(host), "releases");
    await mkdir(dir, { recursive: true });
    await chown(dir, uid, gid);
    await chmod(dir, 0o2750);
  }
  const deploys = new Deploys(world);
  const uploads = await deploys.next(Object.fromEntries(hosts.map((host) => [host, 2000])));
  // One for each of: banners, key exchange (two), login, channel, the first words of SFTP.
  const bare = await atMost(6, () => flights(async () => {}));
  const first = await flights(async (publisher) => {
    await Promise.all([publisher.lock("ada"), publisher.readCurrent(hosts)]);
    const failures = await publisher.publish(uploads);
    expect([...failures.values()].filter((failure) => failure !== null)).toEqual([]);
  });
  // Once only, so with some room: 11 on a quiet machine, since not all files may be open at once.
  expect(first - bare).toBeLessThanOrEqual(16);

  const unchanged = await atMost(bare + 5, () =>
    flights(async (publisher) => {
      const [, current] = await Promise.all([publisher.lock("ada"), publisher.readCurrent(hosts)]);
      for (const { host, envelope } of uploads) expect(current.get(host)).toMatchObject({ state: "present", envelope });
    }),
  );
  await atMost(bare + 3, () => flights((publisher) => publisher.readCurrent(hosts)));
  console.log(`round trips: login ${bare}, nothing new +${unchanged - bare}, everything new +${first - bare}`);
});
