import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { pipeline } from "node:stream/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { InterruptedError, UnavailableError } from "../../src/errors.ts";
import { Nix, NO_PASSTHROUGH } from "../../src/nix/nix.ts";
import { push } from "../../src/nix/push.ts";
import { exec, succeed } from "../support/programs.ts";
import { cacheKey, systemOfParts } from "./pushing.ts";
import { privateStore, type Store } from "./store.ts";

let store: Store;
let nix: Nix;
let system: string;
beforeAll(async () => {
  store = await privateStore();
  nix = await Nix.find();
  system = await systemOfParts();
});
afterAll(() => store.remove());

const signal = new AbortController().signal;

/**
 * A cache that takes uploads, as some HTTP servers do. `fails` says which uploads it refuses, by their number, and which it never
 * answers.
 */
async function uploads(name: string, fails: (n: number) => number | "silence" | null) {
  const dir = path.join(store.dir, name);
  await mkdir(path.join(dir, "nar"), { recursive: true });
  let count = 0;
  const server: Server = createServer(async (request, response) => {
    const file = path.join(dir, new URL(request.url ?? "", "http://cache").pathname);
    const answer = (status: number) => response.writeHead(status).end();
    if (request.method !== "PUT") {
      const stream = createReadStream(file);
      stream.on("error", () => answer(404));
      stream.on("open", () => {
        response.writeHead(200);
        if (request.method === "HEAD") response.end();
        else stream.pipe(response);
      });
      return;
    }
    const failure = fails(count++);
    if (failure !== null) {
      request.resume();
      if (failure !== "silence") answer(failure);
      return;
    }
    await mkdir(path.dirname(file), { recursive: true });
    await pipeline(request, createWriteStream(`${file}.new`));
    await rename(`${file}.new`, file);
    answer(201);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const narinfos = async () => (await readdir(dir)).filter((file) => file.endsWith(".narinfo"));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}?compression=zstd`,
    narinfos,
    /** What it says of each path. */
    texts: async () => Promise.all((await narinfos()).map((file) => readFile(path.join(dir, file), "utf8"))),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

test("an HTTP cache that takes uploads; trouble that passes is waited out, and nothing is copied twice", async () => {
  // Nix itself tries a failure four times more.
  await using cache = await uploads("flaky", (n) => (n > 6 && n < 17 ? 503 : null));
  const retries: number[] = [];
  const pushed = await push(nix, cache.url, [system, system], {
    signal,
    wait: 10,
    onRetry: (_, wait) => retries.push(wait),
  });
  expect(retries.length).toBeGreaterThan(0);
  expect(retries).toEqual(retries.map((_, n) => 10 * 2 ** n));
  expect(await cache.narinfos()).toHaveLength(11);
  expect(pushed.paths).toBe(11);
  expect(await push(nix, cache.url, [system], { signal })).toEqual({ paths: 0, bytes: 0, signed: 0 });
}, 60_000);

test("an HTTP cache that has lost what it had is filled again", async () => {
  await using cache = await uploads("emptied", () => null);
  expect(await push(nix, cache.url, [system], { signal })).toMatchObject({ paths: 11 });
  await rm(path.join(store.dir, "emptied"), { recursive: true });
  await mkdir(path.join(store.dir, "emptied/nar"), { recursive: true });
  expect(await push(nix, cache.url, [system], { signal })).toMatchObject({ paths: 11 });
  expect(await cache.narinfos()).toHaveLength(11);
}, 60_000);

test("what won't pass is not tried again", async () => {
  await using cache = await uploads("forbidden", (n) => (n > 3 ? 403 : null));
  const retries: string[] = [];
  const error = await push(nix, cache.url, [system], { signal, wait: 10, onRetry: (text) => retries.push(text) }).catch(
    (error) => error,
  );
  expect(error).toBeInstanceOf(UnavailableError);
  expect(error.message).toMatch(/could not be pushed to: .*403/);
  // As S3 answers that has no such bucket, and a web server that takes no uploads any more.
  for (const status of [404, 501]) {
    await using shows = await uploads(`shows-${status}`, (n) => (n > 3 ? status : null));
    const options = { signal, wait: 10, onRetry: (text: string) => retries.push(text) };
    await expect(push(nix, shows.url, [system], options)).rejects.toThrow(`${status}`);
  }
  // A directory that is the cache of another store's paths.
  const foreign = path.join(store.dir, "foreign");
  await mkdir(foreign);
  await writeFile(path.join(foreign, "nix-cache-info"), "StoreDir: /other/store\n");
  const toForeign = push(nix, `file://${foreign}`, [system], {
    signal,
    wait: 10,
    onRetry: (text) => retries.push(text),
  });
  await expect(toForeign).rejects.toThrow("/other/store");
  expect(retries).toEqual([]);

  // Nix names the address that it was given; whoever reads that gets no password of it.
  for (const login of ["user:hun%40ter%32", "hun%40ter2"]) {
    const guarded = cache.url.replace("//", `//${login}@`);
    const { message } = await push(nix, guarded, [system], { signal, wait: 10 }).catch((error) => error);
    expect(message).toMatch(/could not be pushed to: .*403/);
    expect(message).not.toMatch(/hun|ter2|ter%32/);
  }
}, 60_000);

test("a cache in a directory whose disk is full: that is the reason, and it is not tried again", async () => {
  const disk = path.join(store.dir, "disk");
  await mkdir(disk);
  await succeed("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]);
  try {
    // All that Nix needs to know of a cache; and no room for more.
    await writeFile(
      path.join(disk, "nix-cache-info"),
      `StoreDir: ${path.dirname(system)}\nWantMassQuery: 1\nPriority: 30\n`,
    );
    await exec("dd", ["if=/dev/zero", `of=${disk}/fill`, "bs=4k"]);
    const retries: string[] = [];
    const options = { signal, wait: 10, onRetry: (text: string) => retries.push(text) };
    const { message } = await push(nix, `file://${disk}`, [system], options).catch((error) => error);
    expect(message).toMatch(/could not be pushed to: .*No space left on device/);
    expect(message).not.toContain("--show-trace");
    expect(retries).toEqual([]);
  } finally {
    await succeed("umount", [disk]);
  }
}, 60_000);

test("what an HTTP cache has unsigned, or by another key, is signed there; what it has of somebody else's making is not", async () => {
  await using cache = await uploads("signed-later", () => null);
  const [first, second] = [await cacheKey(store.dir, "c-1"), await cacheKey(store.dir, "c-2")];
  const [toAll, toOne] = [
    { signal, key: first },
    { signal, key: second },
  ];
  expect(await push(nix, cache.url, [system], { signal })).toMatchObject({ paths: 11, signed: 0 });
  expect(await push(nix, cache.url, [system], toAll)).toMatchObject({ paths: 0, signed: 11 });
  expect(await push(nix, cache.url, [system], toAll)).toMatchObject({ paths: 0, signed: 0 });
  expect(await push(nix, cache.url, [system], toOne)).toMatchObject({ paths: 0, signed: 11 });
  for (const text of await cache.texts()) expect(text.match(/^Sig: (c-.)/gm)).toEqual(["Sig: c-1", "Sig: c-2"]);

  // Another's build under a name of this one's, which is in the cache first.
  const [own = ""] = (await cache.texts()).filter((text) => text.startsWith(`StorePath: ${system}\n`));
  const theirs = own.replace(/^NarHash: .*$/m, `NarHash: sha256:${"0".repeat(52)}`).replace(/^Sig: .*\n/gm, "");
  const narinfo = `${path.basename(system).slice(0, 32)}.narinfo`;
  await writeFile(path.join(store.dir, "signed-later", narinfo), theirs);
  const error = await push(nix, cache.url, [system], toAll).catch((error) => error);
  expect(error).toBeInstanceOf(UnavailableError);
  expect(error.message).toContain(`it has other builds of 1 of these paths`);
  expect(error.message).toContain(system);
  expect(await readFile(path.join(store.dir, "signed-later", narinfo), "utf8")).toBe(theirs);
}, 60_000);

test("a server that takes an upload and says no more: Nix's own attempts are enough", async () => {
  await using cache = await uploads("silent", (n) => (n > 0 ? "silence" : null));
  const retries: string[] = [];
  const options = { signal, wait: 10, patience: 1_000, onRetry: (text: string) => retries.push(text) };
  const impatient = await Nix.find({
    ...NO_PASSTHROUGH,
    options: [
      ["stalled-download-timeout", "1"],
      ["download-attempts", "1"],
    ],
  });
  await expect(push(impatient, cache.url, [system], options)).rejects.toThrow(/could not be pushed to: .*time/i);
  expect(retries).toEqual([]);
}, 60_000);

test("interrupted while it waits, it ends", async () => {
  await using cache = await uploads("down", () => 503);
  const controller = new AbortController();
  const pushing = push(await Nix.find(undefined, controller.signal), cache.url, [system], {
    signal: controller.signal,
    wait: 60_000,
    onRetry: () => controller.abort(),
  });
  await expect(pushing).rejects.toBeInstanceOf(InterruptedError);
}, 60_000);
