import { createReadStream, readFileSync } from "node:fs";
import { mkdir, rm, truncate } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { makeCacheKey } from "../../src/nix/cache-key.ts";
import type { CheckDocument } from "../../src/results.ts";
import { exec, succeed } from "../support/programs.ts";
import { bentoJson } from "./bento.ts";
import { type BuildFleet, buildFleet } from "./build-fleet.ts";

// What is pushed, as hosts get it: by HTTP, into stores of their own, which trust the fleet's key and nothing else.

const { secretKey, publicKey } = makeCacheKey("cache-1");
const other = makeCacheKey("cache-1");

let fleet: BuildFleet;
let server: Awaited<ReturnType<typeof serve>>;
let cache: string;
let n = 0;
const systems = new Map<string, string>();

beforeAll(async () => {
  fleet = await buildFleet({ alpha: "p.shared", beta: "p.shared (p.big 1)", gamma: "p.shared (p.big 2)" });
});
beforeEach(async () => {
  cache = path.join(fleet.store.dir, `cache-${n++}`);
  await mkdir(cache);
  server = await serve(cache);
});
afterEach(() => server.close());
afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]();
});

/** A directory as a web server shows it, and how often each file of it was asked for. */
async function serve(dir: string) {
  const asked = new Map<string, number>();
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? "", "http://cache");
    asked.set(pathname, (asked.get(pathname) ?? 0) + 1);
    const stream = createReadStream(path.join(dir, path.normalize(pathname)));
    stream.on("error", () => response.writeHead(404).end());
    stream.on("open", () => response.writeHead(200));
    stream.pipe(response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, asked, close: () => server.close() };
}

async function build(key: string | undefined, ...args: string[]): Promise<CheckDocument> {
  const { document } = await bentoJson<CheckDocument>(["build", "--push", `file://${cache}`, ...args], {
    cwd: fleet.dir,
    env: { ...fleet.env, BENTO_CACHE_KEY: key },
  });
  expect(document.push?.error).toBeNull();
  for (const { name, toplevel } of document.hosts) systems.set(name, toplevel ?? "");
  return document;
}

/** A host that has nothing yet gets its system: `nix-store --realise`, as its agent does. */
async function realise(host: string, system: string) {
  const root = path.join(cache, "..", `${path.basename(cache)}-${host}`);
  const settings = [
    process.env.NIX_CONFIG ?? "",
    `substituters = ${server.url}`,
    `trusted-public-keys = ${publicKey}`,
    "download-attempts = 1",
  ].join("\n");
  const env = {
    NIX_REMOTE: `local?root=${root}`,
    NIX_STATE_DIR: undefined,
    NIX_LOG_DIR: undefined,
    NIX_CONFIG: settings,
    XDG_CACHE_HOME: path.join(root, "cache"),
  };
  const exit = await exec("nix-store", ["--realise", system], { env });
  const has = async (file: string) =>
    (await exec("test", ["-e", path.join(root, "nix/store", path.basename(system), file)])).status === 0;
  return { ...exit, isThere: exit.status === 0 && (await has("bin/switch-to-configuration")) };
}

test("what is built once is fetched by every host, and nothing is built there", async () => {
  await build(secretKey);
  expect(readFileSync(path.join(fleet.store.dir, "shared-builds"), "utf8")).toBe("built\n");
  const fetched = await Promise.all([...systems].map(([host, system]) => realise(host, system)));
  expect(fetched.map(({ isThere }) => isThere)).toEqual([true, true, true]);
  for (const { stderr } of fetched) expect(stderr).not.toMatch(/^building /m);
  expect(server.asked.get("/nix-cache-info")).toBeGreaterThan(0);
});

test("what is not signed, or by somebody else, is refused", async () => {
  // In a store where nothing is signed yet.
  await fleet.set("delta", "p.shared (p.big 3)");
  await build(undefined, "--hosts", "delta");
  const unsigned = await realise("unsigned", systems.get("delta") ?? "");
  expect([unsigned.isThere, unsigned.stderr]).toEqual([
    false,
    expect.stringMatching(/not signed by any of the keys|signature/),
  ]);
  await rm(cache, { recursive: true });
  await mkdir(cache);
  await build(other.secretKey, "--hosts", "delta");
  expect((await realise("strange", systems.get("delta") ?? "")).isThere).toBe(false);
});

test("what was pushed without a key, or with an older one, hosts take after a push with the key", async () => {
  await fleet.set("epsilon", "p.shared (p.big 4)");
  const args = ["--hosts", "epsilon"];
  expect((await build(undefined, ...args)).push?.signed).toBe(0);
  const system = systems.get("epsilon") ?? "";
  expect((await realise("before", system)).isThere).toBe(false);
  expect((await build(other.secretKey, ...args)).push).toMatchObject({ paths: 0, signed: expect.any(Number) });
  expect((await realise("other-key", system)).isThere).toBe(false);
  const signed = await build(secretKey, ...args);
  expect(signed.push?.paths).toBe(0);
  expect(signed.push?.signed).toBeGreaterThan(0);
  expect((await realise("after", system)).isThere).toBe(true);
  expect((await build(secretKey, ...args)).push).toMatchObject({ paths: 0, signed: 0 });
});

test("what was damaged or taken away is refused, and comes back with a cache that is filled anew", async () => {
  await build(secretKey, "--hosts", "beta");
  const system = systems.get("beta") ?? "";
  const narinfo = readFileSync(path.join(cache, `${path.basename(system).slice(0, 32)}.narinfo`), "utf8");
  const nar = path.join(cache, /^URL: (.*)$/m.exec(narinfo)?.[1] ?? "");
  await truncate(nar, 100);
  expect((await realise("truncated", system)).isThere).toBe(false);
  await rm(nar);
  expect((await realise("missing", system)).isThere).toBe(false);
  await rm(cache, { recursive: true });
  await mkdir(cache);
  await build(secretKey, "--hosts", "beta");
  expect((await realise("again", system)).isThere).toBe(true);
});

test("a cache in a directory that Nix has made is given what Nix leaves out, and what it says is kept", async () => {
  await rm(cache, { recursive: true });
  const [anything = ""] = systems.values();
  await succeed("nix", ["copy", "--to", `file://${cache}`, anything]);
  const info = path.join(cache, "nix-cache-info");
  expect(readFileSync(info, "utf8")).not.toContain("Priority");
  await build(secretKey, "--hosts", "alpha");
  expect(readFileSync(info, "utf8")).toBe(`StoreDir: ${fleet.store.dir}/nix/store\nWantMassQuery: 1\nPriority: 30\n`);
});
