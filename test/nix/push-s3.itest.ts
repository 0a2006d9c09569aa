import { mkdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { UnavailableError } from "../../src/errors.ts";
import { Nix, NO_PASSTHROUGH } from "../../src/nix/nix.ts";
import { type PushOptions, push } from "../../src/nix/push.ts";
import { requireStore } from "../../src/nix/store-address.ts";
import { recordingPath } from "../cli/bento.ts";
import { Bucket, NO_LOGIN, NO_S3, nixWithS3 } from "../support/s3.ts";
import { cacheKey, systemOfParts } from "./pushing.ts";
import { privateStore, type Store } from "./store.ts";

// A bucket, to which Nix logs in with what the environment has, or ~/.aws/credentials.

const ID = "AKIAEXAMPLE";
const SECRET = "wJalr/XUtn+FEMI=";

let store: Store;
let nix: Nix;
let system: string;
let can: Awaited<ReturnType<typeof nixWithS3>>;
beforeAll(async () => {
  store = await privateStore();
  nix = await Nix.find();
  system = await systemOfParts();
  // Where there is no login, nobody's metadata service is asked for one.
  process.env.AWS_CONTAINER_CREDENTIALS_FULL_URI = "http://127.0.0.1:9/";
  can = await nixWithS3(path.join(store.dir, "probed"));
});
afterAll(() => store?.remove());

let bucket: Bucket;
let serial = 0;
beforeEach(async () => {
  // Nix remembers of a name that there is a cache.
  const name = `fleet-cache-${++serial}`;
  bucket = await Bucket.start(path.join(store.dir, name), name, { logins: { [ID]: SECRET } });
});
afterEach(async () => {
  await bucket[Symbol.asyncDispose]();
  login(null);
  await rm(path.join(store.dir, "home/.aws"), { recursive: true, force: true });
});

const signal = new AbortController().signal;

/** What Nix finds in the environment from now on. */
function login(id: string | null, secret = SECRET): void {
  if (id === null) {
    delete process.env.AWS_ACCESS_KEY_ID;
    delete process.env.AWS_SECRET_ACCESS_KEY;
  } else Object.assign(process.env, { AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: secret });
}

/** ~/.aws/credentials. */
async function credentials(profiles: Record<string, [id: string, secret: string]>): Promise<void> {
  const dir = path.join(store.dir, "home/.aws");
  await mkdir(dir, { recursive: true });
  const sections = Object.entries(profiles).map(
    ([name, [id, secret]]) => `[${name}]\naws_access_key_id = ${id}\naws_secret_access_key = ${secret}\n`,
  );
  await writeFile(path.join(dir, "credentials"), sections.join("\n"));
}

/** Pushes with a key, again, and with another key. */
async function pushedThrice(url: string): Promise<void> {
  const [first, second] = [await cacheKey(store.dir, "s-1"), await cacheKey(store.dir, "s-2")];
  expect(await push(nix, url, [system], { signal, key: first })).toMatchObject({ paths: 11, signed: 0 });
  expect(await push(nix, url, [system], { signal, key: first })).toMatchObject({ paths: 0, signed: 0 });
  expect(await push(nix, url, [system], { signal, key: second })).toMatchObject({ paths: 0, signed: 11 });
  const texts = await bucket.narinfos();
  expect(texts).toHaveLength(11);
  for (const text of texts) expect(text.match(/^Sig: (s-.)/gm)).toEqual(["Sig: s-1", "Sig: s-2"]);
}

/** How a push ends that must not, and how often it was tried again. */
async function refused(url: string, options: Partial<PushOptions> = {}): Promise<UnavailableError> {
  const retries: string[] = [];
  const onRetry = (text: string) => retries.push(text);
  const error = await push(nix, url, [system], { signal, wait: 10, onRetry, ...options }).catch((error) => error);
  expect(error).toBeInstanceOf(UnavailableError);
  expect(retries).toEqual([]);
  return error;
}

test("its settings, the key and what is in the environment reach Nix as they are", async () => {
  const url = "s3://fleet-cache?profile=ci&endpoint=127.0.0.1:9&scheme=http&region=eu-central-1";
  const { file, publicKey } = await cacheKey(store.dir, "s-1");
  const dir = path.join(store.dir, "recorded");
  await mkdir(dir);
  const recorder = await recordingPath(dir);
  const before = process.env.PATH;
  process.env.PATH = recorder.PATH;
  login("AKIA0", "0123/+=");
  try {
    const impatient = await Nix.find({ ...NO_PASSTHROUGH, options: [["download-attempts", "1"]] });
    const pushing = push(impatient, url, [system], { signal, wait: 1, key: { file, publicKey } });
    await expect(pushing).rejects.toThrow(/^s3:\/\/fleet-cache\S+ could not be pushed to: /);
  } finally {
    process.env.PATH = before;
  }
  const seen = await recorder.seen();
  expect(seen).toContain(` --to ${url}&secret-key=${encodeURIComponent(file)} ${system}`);
  expect(seen).toMatch(/^AWS_ACCESS_KEY_ID=AKIA0$/m);
  expect(seen).toMatch(/^AWS_SECRET_ACCESS_KEY=0123\/\+=$/m);
}, 120_000);

test("what everybody may write to: signed, only what is missing, and signed later", async ({ skip }) => {
  if (!can.hasS3) skip(NO_S3);
  bucket.logins = null;
  // Nothing needs it; but a Nix that can log in takes seconds for each request to find that it has no login.
  login(ID);
  await pushedThrice(bucket.url);
  expect(bucket.answered.filter(({ status }) => status === 403)).toEqual([]);
});

test("a login of the environment's: signed, only what is missing, and signed later", async ({ skip }) => {
  if (!can.logsIn) skip(NO_LOGIN);
  login(ID);
  await requireStore(nix, bucket.url);
  await pushedThrice(bucket.url);
  expect(bucket.answered.filter(({ by, status }) => by !== ID || status === 403)).toEqual([]);
});

test("a login of ~/.aws/credentials: the default one's, and a profile's; what the environment has goes before", async ({
  skip,
}) => {
  if (!can.logsIn) skip(NO_LOGIN);
  await credentials({ default: [ID, SECRET] });
  expect(await push(nix, bucket.url, [system], { signal })).toMatchObject({ paths: 11 });
  await credentials({ default: ["AKIAOTHER", "other"], ci: [ID, SECRET] });
  const withProfile = `${bucket.url}&profile=ci`;
  await rm(bucket.dir, { recursive: true });
  await mkdir(bucket.dir);
  expect(await push(nix, withProfile, [system], { signal })).toMatchObject({ paths: 11 });
  expect(new Set(bucket.answered.map(({ by }) => by))).toEqual(new Set([ID]));
  login("AKIAOTHER");
  expect((await refused(withProfile)).message).toContain("InvalidAccessKeyId");
});

test.for([
  ["a wrong secret", [ID, "wrong"], "its server refuses the login: the secret key is wrong (SignatureDoesNotMatch)"],
  [
    "an unknown key",
    ["AKIAOTHER", SECRET],
    "its server refuses the login: it knows no such access key (InvalidAccessKeyId)",
  ],
  ["no login", null, "its server refuses access, and Nix has no login (AccessDenied)"],
] as const)(
  "%s: one sentence, before anything is built and at the push; it is asked once",
  async ([, as, said], { skip }) => {
    if (!can.logsIn) skip(NO_LOGIN);
    login(as?.[0] ?? null, as?.[1]);
    const early = await requireStore(nix, `${bucket.url}&profile=ci`).catch((error) => error);
    expect(early).toBeInstanceOf(UnavailableError);
    expect(early.message).toBe(`${bucket.url}&profile=ci can't be pushed to: ${said}`);
    expect(early.hint).toContain(
      "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or else those of [ci] in ~/.aws/credentials",
    );
    const late = await refused(bucket.url);
    expect(late.message).toBe(`${bucket.url} could not be pushed to: ${said}`);
    expect(bucket.answered.map(({ method, status }) => `${method} ${status}`)).toEqual(["GET 403", "GET 403"]);
  },
);

test("without a login where one is needed, with a Nix that has none ever", async ({ skip }) => {
  if (!can.hasS3 || can.logsIn) skip(can.hasS3 ? "this Nix logs in" : NO_S3);
  login(ID);
  const { message, hint } = await refused(bucket.url);
  const said = "its server refuses access: the login has no right to it, or there is none (AccessDenied)";
  expect(message).toBe(`${bucket.url} could not be pushed to: ${said}`);
  expect(hint).toContain("Debian's Nix logs in nowhere");
  await expect(requireStore(nix, bucket.url)).rejects.toThrow(said);
});

test("a login that may only read, and one that may not list", async ({ skip }) => {
  if (!can.logsIn) skip(NO_LOGIN);
  login(ID);
  const said = "its server refuses access: the login has no right to it, or there is none (AccessDenied)";
  await requireStore(nix, bucket.url);
  bucket.readers = [ID];
  expect((await refused(bucket.url)).message).toBe(`${bucket.url} could not be pushed to: ${said}`);
  bucket.readers = [];
  const [first, second] = [await cacheKey(store.dir, "r-1"), await cacheKey(store.dir, "r-2")];
  expect(await push(nix, bucket.url, [system], { signal, key: first })).toMatchObject({ paths: 11 });
  bucket.readers = [ID];
  expect((await refused(bucket.url, { key: second })).message).toBe(`${bucket.url} is not wholly signed: ${said}`);

  // Of what isn't there, nix-cache-info is what Nix asks for first.
  await rm(bucket.dir, { recursive: true });
  await mkdir(bucket.dir);
  bucket.isListable = false;
  await expect(requireStore(nix, bucket.url)).rejects.toThrow(said);
});

test("another bucket's name, and another region", async ({ skip }) => {
  if (!can.logsIn) skip(NO_LOGIN);
  login(ID);
  const wrong = {
    "there is no such bucket (NoSuchBucket)": bucket.url.replace("fleet-cache-", "fleet-cash-"),
    "the bucket is in another region (AuthorizationHeaderMalformed)": bucket.url.replace("eu-central-1", "eu-west-1"),
  };
  for (const [said, url] of Object.entries(wrong)) {
    expect((await refused(url)).message).toBe(`${url} could not be pushed to: ${said}`);
    await expect(requireStore(nix, url)).rejects.toThrow(`${url} can't be pushed to: ${said}`);
  }
});

test("that it was let in before is no reason not to ask, and no help", async ({ skip }) => {
  if (!can.logsIn) skip(NO_LOGIN);
  login(ID);
  await push(nix, bucket.url, [system], { signal });
  await requireStore(nix, bucket.url);
  bucket.logins = {};
  await expect(requireStore(nix, bucket.url)).rejects.toThrow("InvalidAccessKeyId");
  expect((await refused(bucket.url)).message).toContain("it knows no such access key");
});

test("with a Nix that was built without: it is told before anything is built", async ({ skip }) => {
  if (can.hasS3) skip("this Nix was built with S3");
  const error = await requireStore(nix, "s3://fleet-cache?region=eu").catch((error) => error);
  expect(error).toBeInstanceOf(UnavailableError);
  expect(error.message).toBe(
    `Nix ${nix.version} on this machine can't push to s3://fleet-cache?region=eu: it was built without S3`,
  );
});
