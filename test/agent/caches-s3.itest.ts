import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { beforeAll, expect, test } from "vitest";
import type { Machine } from "../support/machine.ts";
import { Bucket, NO_LOGIN, NO_S3, nixWithS3 } from "../support/s3.ts";
import { anotherCache, cache, cachesFor, machineWith, next, published, pushed, world } from "./caches.ts";

// Buckets that hosts get their systems from as s3://: Nix alone has the login, root's in ~/.aws/credentials.

cachesFor(["nas"]);

const ID = "AKIAHOSTS";
const SECRET = "hosts/0123+=";

let can: Awaited<ReturnType<typeof nixWithS3>>;
beforeAll(async () => {
  can = await nixWithS3(path.join(world.dir, "probed"));
});

/** A bucket that only this login may read, and that has what the test's cache has. */
const privateBucket = () => Bucket.start(cache.dir, "fleet-cache", { logins: { [ID]: SECRET } });

/** What a machine has whose root has these credentials, or none: it asks nobody but a metadata service that isn't there. */
async function root(machine: Machine, credentials: string): Promise<Record<string, string>> {
  const home = machine.path("root");
  await mkdir(path.join(home, ".aws"), { recursive: true });
  await writeFile(path.join(home, ".aws/credentials"), credentials);
  // A machine that is busy may take long for an answer.
  return { HOME: home, AWS_CONTAINER_CREDENTIALS_FULL_URI: "http://127.0.0.1:9/", BENTO_CACHE_DEADLINE: "60" };
}

const credentials = (id: string, secret: string, profile = "default") =>
  `[${profile}]\naws_access_key_id = ${id}\naws_secret_access_key = ${secret}\n`;

test.for([
  ["the default one", "default", ""],
  ["a profile's", "fleet", "&profile=fleet"],
] as const)("the system comes from a bucket, with root's login: %s", async ([, profile, parameter], { skip }) => {
  if (!can.logsIn) skip(NO_LOGIN);
  await using bucket = await privateBucket();
  const machine = await machineWith("nas", [{ url: `${bucket.url}${parameter}`, key: cache.publicKey }]);
  const content = next();
  const toplevel = await pushed(content);
  await published(content);
  const env = await root(machine, credentials(ID, SECRET, profile));
  const { stderr } = await machine.agent({ ...env, BENTO_BUILD: "prebuilt" });
  expect(stderr).toMatch(/\nsuccess\n$/);
  expect(await machine.running()).toBe(toplevel);
  expect(bucket.answered.some(({ key }) => key.startsWith("nar/"))).toBe(true);
  expect(bucket.answered.filter(({ by, status }) => by !== ID || status === 403)).toEqual([]);
});

test.for([
  ["a wrong secret", credentials(ID, "wrong"), "SignatureDoesNotMatch"],
  ["an unknown key", credentials("AKIAOTHER", SECRET), "InvalidAccessKeyId"],
  ["no login", "", "AccessDenied"],
] as const)("%s: the bucket is left out, as one that is down, and said", async ([, file, code], { skip }) => {
  if (!can.hasS3) skip(NO_S3);
  if (file !== "" && !can.logsIn) skip(NO_LOGIN);
  await using bucket = await privateBucket();
  const machine = await machineWith("nas", [{ url: bucket.url, key: cache.publicKey }]);
  const content = next();
  const toplevel = await pushed(content);
  await published(content);
  const before = await machine.running();
  const env = await root(machine, file);
  const prebuilt = await machine.agent({ ...env, BENTO_BUILD: "prebuilt" });
  const said = `the cache ${bucket.url} is left out of this attempt: `;
  expect(prebuilt.stderr).toContain(`\n${said}`);
  expect(prebuilt.stderr.split(said)[1]?.split("\n")[0]).toContain(`HTTP error 403 (${code})`);
  expect(prebuilt.stderr).toMatch(/\nfailed: no cache has \S+: none answers \(s3:.*\); it is not built here\n$/);
  expect(await machine.running()).toBe(before);
  // Nothing more is asked of it.
  expect(bucket.answered).toHaveLength(1);

  await machine.endBackoff();
  const auto = await machine.agent(env);
  expect(auto.stderr).toContain(`\n${said}`);
  expect(auto.stderr).toMatch(/\nsuccess\n$/);
  expect(await machine.running()).toBe(toplevel);
});

test("a login that was taken away is no reason to believe that there is nothing", async ({ skip }) => {
  if (!can.logsIn) skip(NO_LOGIN);
  await using bucket = await privateBucket();
  const machine = await machineWith("nas", [{ url: bucket.url, key: cache.publicKey }]);
  const env = { ...(await root(machine, credentials(ID, SECRET))), BENTO_BUILD: "prebuilt" };
  const first = next();
  await pushed(first);
  await published(first);
  expect((await machine.agent(env)).stderr).toMatch(/\nsuccess\n$/);

  const second = next();
  const toplevel = await pushed(second);
  await published(second);
  bucket.logins = { AKIANEW: "new" };
  const refused = await machine.agent(env);
  expect(refused.stderr).toContain(`\nthe cache ${bucket.url} is left out of this attempt: `);
  expect(refused.stderr).toMatch(/\nfailed: no cache has \S+: none answers /);
  await root(machine, credentials("AKIANEW", "new"));
  await machine.endBackoff();
  expect((await machine.agent(env)).stderr).toMatch(/\nsuccess\n$/);
  expect(await machine.running()).toBe(toplevel);
});

test("what another key has signed: the reason names it", async ({ skip }) => {
  if (!can.logsIn) skip(NO_LOGIN);
  await using other = await anotherCache("other-1");
  await using bucket = await privateBucket();
  const machine = await machineWith("nas", [{ url: bucket.url, key: other.publicKey }]);
  const content = next();
  const toplevel = await pushed(content);
  await published(content);
  const env = await root(machine, credentials(ID, SECRET));
  const { stderr } = await machine.agent({ ...env, BENTO_BUILD: "prebuilt" });
  expect(stderr).toMatch(
    new RegExp(`\nfailed: s3:\\S+ has ${toplevel}, but signed with another key \\(cache-1\\) than this machine trusts`),
  );
});

test.for(["source", "auto"])("%s: a bucket that breaks during the build does not fail it", async (build, { skip }) => {
  if (!can.logsIn) skip(NO_LOGIN);
  await using bucket = await privateBucket();
  bucket.breaks = (key) => (build === "source" ? key !== "nix-cache-info" : key.startsWith("nar/"));
  const machine = await machineWith("nas", [{ url: bucket.url, key: cache.publicKey }]);
  const content = next();
  const toplevel = await pushed(content);
  await published(content);
  const env = await root(machine, credentials(ID, SECRET));
  const { stderr } = await machine.agent({ ...env, BENTO_BUILD: build });
  expect(bucket.answered.some(({ status }) => status === 500)).toBe(true);
  expect(stderr).toMatch(/\nsuccess\n$/);
  expect(await machine.running()).toBe(toplevel);
});

test("a server that is gone, and a Nix without S3: left out, and said", async () => {
  const bucket = await privateBucket();
  await bucket[Symbol.asyncDispose]();
  const machine = await machineWith("nas", [{ url: bucket.url, key: cache.publicKey }]);
  const content = next();
  const toplevel = await pushed(content);
  await published(content);
  const { stderr } = await machine.agent(await root(machine, ""));
  const [, why] = stderr.split(`\nthe cache ${bucket.url} is left out of this attempt: `);
  expect(why?.split("\n")[0]).toMatch(can.hasS3 ? /connect/i : /don't know how to open Nix store/);
  expect(stderr).toMatch(/\nsuccess\n$/);
  expect(await machine.running()).toBe(toplevel);
});
