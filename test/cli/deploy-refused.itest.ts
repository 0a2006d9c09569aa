import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { scratch } from "../platform/scratch.ts";
import type { FleetRepository } from "../support/fleet.ts";
import { makeKey } from "../support/keys.ts";
import { succeed } from "../support/programs.ts";
import { withFleet } from "../support/with-fleet.ts";
import type { World } from "../support/world.ts";
import { recordingPath } from "./bento.ts";
import { deployWith, type Environment, serverListing } from "./deploying.ts";

// Keys that a deploy needs, and servers that it doesn't get to.

let world: World;
let fleet: FleetRepository;

withFleet({ resets: true }, (made) => {
  ({ world, fleet } = made);
});

const deploy = (args: readonly string[] = [], env: Environment = {}) => deployWith(world, fleet, args, env);
const listing = () => serverListing(world);

test("without a key: which one, and how to give it", async () => {
  const before = await listing();
  for (const [name, what] of [
    ["BENTO_SSH_KEY", "the publisher's ssh key"],
    ["BENTO_SIGNING_KEY", "the signing key"],
  ] as const) {
    const { status, stdout, stderr } = await deploy([], { [`${name}_FILE`]: undefined });
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toBe(
      `error: ${what} is missing\n→ put it into the environment as ${name}, or the path of its file as ${name}_FILE; bento keygen makes both\n`,
    );
  }
  expect(await listing()).toEqual(before);
});

test("a key that is no key, or can't be read, is not shown", async () => {
  const secret = (await readFile(world.signingKey.file, "utf8")).slice(0, 200);
  const broken = await deploy([], { BENTO_SIGNING_KEY_FILE: undefined, BENTO_SIGNING_KEY: secret });
  expect(broken.status).toBe(2);
  expect(broken.stderr).toMatch(/^error: the signing key is not an OpenSSH private key\n→ /);
  expect(broken.stderr).not.toContain(secret.split("\n")[1]);
  const missing = await deploy([], { BENTO_SSH_KEY_FILE: "/nonexistent/key" });
  expect(missing).toMatchObject({
    status: 2,
    stderr: "error: the publisher's ssh key can't be read from /nonexistent/key (ENOENT)\n",
  });
});

test("keys may be in the environment as CI has them, with carriage returns and without the last line end", async () => {
  const text = async (file: string) => (await readFile(file, "utf8")).trimEnd().replaceAll("\n", "\r\n");
  const { status } = await deploy(["--hosts", "router", "--dry-run"], {
    BENTO_SSH_KEY_FILE: undefined,
    BENTO_SIGNING_KEY_FILE: undefined,
    BENTO_SSH_KEY: await text(world.publisherKey.file),
    BENTO_SIGNING_KEY: await text(world.signingKey.file),
  });
  expect(status).toBe(0);
});

test("no program that is started, and so nothing that is evaluated, has the keys in its environment", async () => {
  await using dir = await scratch();
  const { PATH, seen } = await recordingPath(dir.path);
  const { status } = await deploy(["--hosts", "router", "--dry-run"], {
    BENTO_SSH_KEY_FILE: undefined,
    BENTO_SIGNING_KEY_FILE: undefined,
    BENTO_SSH_KEY: await readFile(world.publisherKey.file, "utf8"),
    BENTO_SIGNING_KEY: await readFile(world.signingKey.file, "utf8"),
    CANARY: "others are seen",
    PATH,
  });
  expect(status).toBe(0);
  expect(await seen()).toContain("CANARY=others are seen");
  expect(await seen()).not.toMatch(/PRIVATE KEY|BENTO_(?:SSH|SIGNING)_KEY/);
});

test("a signing key that no host would believe is refused before anything is done", async () => {
  await using dir = await scratch();
  const other = await makeKey(path.join(dir.path, "other"));
  const before = await listing();
  const { status, stdout, stderr } = await deploy([], { BENTO_SIGNING_KEY_FILE: other.file });
  expect([status, stdout]).toEqual([2, ""]);
  expect(stderr).toContain(
    "error: the signing key is not one of the fleet's signers, so no host would accept what it signs\n",
  );
  expect(stderr).toContain(other.publicKey);
  expect(stderr).toContain(world.signingKey.publicKey);
  expect(await listing()).toEqual(before);
});

/** fleet.yaml with another server, rendered, and not committed. */
async function serverIs(from: string, to: string): Promise<void> {
  await fleet.edit("fleet.yaml", from, to);
  await fleet.render();
}

test("a server that isn't there", async () => {
  await serverIs(`port: ${world.server.port}`, "port: 1");
  const { status, stdout, stderr } = await deploy(["--no-eval"]);
  expect([status, stdout]).toEqual([3, ""]);
  expect(stderr).toBe(
    "error: can't reach the server 127.0.0.1:1: nothing listens there\n→ server.address and server.port in fleet.yaml say where it is\n",
  );
});

test("a server with another host key: both fingerprints, as ssh-keygen prints them, and nothing is sent", async () => {
  await using dir = await scratch();
  const other = await makeKey(path.join(dir.path, "other"));
  const real = await world.server.hostKey();
  await writeFile(path.join(dir.path, "real.pub"), real);
  const fingerprint = async (file: string) => (await succeed("ssh-keygen", ["-lf", file])).split(" ")[1];
  await serverIs(real, other.publicKey);
  const before = await listing();
  const { status, stderr } = await deploy(["--no-eval"]);
  expect(stderr).toContain(
    `showed another host key than the pinned one: expected ${await fingerprint(`${other.file}.pub`)}, got ${await fingerprint(path.join(dir.path, "real.pub"))}\n`,
  );
  expect(status).toBe(3);
  expect(await listing()).toEqual(before);
});

test("a login that the server refuses", async () => {
  const { status, stderr } = await deploy(["--no-eval"], { BENTO_SSH_KEY_FILE: world.signingKey.file });
  expect(stderr).toMatch(
    /^error: 127\.0\.0\.1:\d+ refused the login '.*-publisher' with the publisher's key\n→ its public half must be in server\.publishers, /,
  );
  expect(status).toBe(3);
});
