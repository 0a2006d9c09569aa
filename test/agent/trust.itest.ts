import { readdir } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeKey } from "../support/keys.ts";
import { long } from "../support/long.ts";
import type { Machine } from "../support/machine.ts";
import { channelHost, type Release, sealWith } from "../support/release.ts";
import { World } from "../support/world.ts";

let world: World;
const hosts = ["stranger", "tampered", "junk", "other", "older", "large", "archive", "empty"];
beforeAll(async () => {
  world = await World.make({ hosts });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

const change = (host: string) => channelHost(host, "environment.systemPackages = [ pkgs.curl ];");

/** The host finds this envelope, refuses it, says so once, and changes nothing. */
async function expectRefused(host: string, envelope: string | Buffer, problem: string): Promise<Machine> {
  const machine = await world.machine(host);
  const before = await machine.running();
  const reports = (await world.outcomes(host)).length;
  await world.server.plant(host, "current", envelope);

  const { status, stderr } = await machine.agent();
  expect(stderr).toBe(`refused: ${problem}\n`);
  expect(status).toBe(1);
  expect(await world.report(host)).toMatchObject({ outcome: "refused", reason: problem, sequence: null, to: null });

  const again = await machine.agent();
  expect(again.stderr).toBe(`refused as before: ${problem}\n`);
  expect(again.status).toBe(1);
  expect((await world.outcomes(host)).length).toBe(reports + 1);
  expect(await machine.running()).toBe(before);
  expect(await machine.profile()).toBe(before);
  return machine;
}

test("a release signed with another key is refused, and the fleet's own is taken after it", async () => {
  const stranger = await makeKey(`${world.dir}/keys/stranger`);
  const release = await world.release("stranger", change("stranger"));
  const forged = { ...release.manifest, sequence: release.manifest.sequence + 1_000_000 };
  const machine = await expectRefused(
    "stranger",
    await sealWith(forged, stranger),
    "it is not signed by one of this fleet's signers",
  );
  await world.put("stranger", release);
  expect((await machine.agent()).status).toBe(0);
  expect(await machine.running()).toBe(release.manifest.toplevel);
});

test("a manifest that was changed after it was signed is refused", async () => {
  const { envelope, manifest } = await world.release("tampered", change("tampered"));
  const { signature } = JSON.parse(envelope);
  const changed = Buffer.from(JSON.stringify({ ...manifest, toplevel: null })).toString("base64");
  await expectRefused(
    "tampered",
    JSON.stringify({ payload: changed, signature }),
    "it is not signed by one of this fleet's signers",
  );
});

long("junk is refused", async () => {
  await expectRefused("junk", "<html>504 Gateway Timeout</html>", "what the server gave is no envelope");
  await expectRefused("junk", Buffer.from([0, 255, 10, 0]), "what the server gave is no envelope");
  await expectRefused("junk", '{"payload": 7, "signature": []}', "what the server gave is no envelope");
  await expectRefused(
    "junk",
    '{"payload": "e30=", "signature": "-"}',
    "it is not signed by one of this fleet's signers",
  );
});

test("another host's release is refused", async () => {
  const { envelope } = await world.release("archive", change("archive"));
  await expectRefused("other", envelope, "it is the release of another host, archive");
});

test("a release older than one that was seen is refused", async () => {
  const old = await world.publish("older", channelHost("older", "# the old one"));
  const current = await world.publish("older", change("older"));
  const machine = await world.machine("older");
  expect((await machine.agent()).status).toBe(0);
  await expectRefused(
    "older",
    old.envelope,
    `it is older (${old.manifest.sequence}) than a release seen before (${current.manifest.sequence})`,
  );
  expect(await machine.running()).toBe(current.manifest.toplevel);
});

long("an envelope of any size is refused without taking it in", async () => {
  await expectRefused("large", "x".repeat(16_385), "it is larger than 16384 bytes");
  await expectRefused("large", Buffer.alloc(64 * 1024 ** 2), "it is larger than 16384 bytes");
});

test("an empty pointer is no release, and no silence", async () => {
  const machine = await world.machine("empty");
  await world.server.plant("empty", "current", "");
  const { status, stderr } = await machine.agent();
  expect(stderr).toMatch(/^no contact: sftp: the current release could not be read: /);
  expect(status).toBe(1);
});

test("an archive that isn't the one that was signed for is not unpacked", async () => {
  const machine = await world.machine("archive");
  const expectFailed = async (release: Release, reason: string | RegExp) => {
    const { status, stderr } = await machine.agent();
    expect(stderr).toMatch(reason);
    expect(status).toBe(1);
    expect(await machine.running()).toBe(machine.factory);
    expect(await world.report("archive")).toMatchObject({ outcome: "failed", sequence: release.manifest.sequence });
    expect((await readdir(machine.path("state"))).filter((name) => /^release|\.new$/.test(name))).toEqual([]);
  };
  const truncated = await world.publish("archive", change("archive"));
  const { name, bytes, size } = truncated.archive;
  await world.server.plant("archive", name, bytes.subarray(0, 100));
  await expectFailed(
    truncated,
    `failed: it could not be fetched: sftp: the archive has 100 bytes, and should have ${size}\n`,
  );

  await machine.endBackoff();
  const flipped = Buffer.from(bytes);
  flipped[50] = (flipped[50] ?? 0) ^ 1;
  await world.server.plant("archive", name, flipped);
  await expectFailed(
    truncated,
    "failed: it could not be fetched: sftp: the archive is damaged: its sha256 is not the manifest's\n",
  );

  await machine.endBackoff();
  await world.server.plant("archive", name, Buffer.alloc(8 * 1024 ** 2));
  await expectFailed(
    truncated,
    /failed: it could not be fetched: sftp: the archive could not be fetched: .*File too large/,
  );

  const other = await world.publish("archive", change("archive"), {
    manifest: { digest: `sha256-${Buffer.alloc(32).toString("base64")}` },
  });
  await expectFailed(other, "failed: what was fetched is not what the manifest says\n");

  const missing = await world.publish("archive", channelHost("archive", "# another"), {
    manifest: { archive: { name: `${"0".repeat(64)}.nar.gz`, size: 100, sha256: "0".repeat(64) } },
  });
  await expectFailed(missing, /failed: it could not be fetched: sftp: the archive could not be fetched: .*not found/);
});
