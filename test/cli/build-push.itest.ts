import { existsSync, readdirSync, readFileSync } from "node:fs";
import { readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { CheckDocument } from "../../src/results.ts";
import { issueComment, pullRequest, push as pushEvent, workflowRun } from "../action/events.ts";
import { runStep } from "../action/runner.ts";
import { exec, kill, succeed } from "../support/programs.ts";
import { Bucket, NO_LOGIN, NO_S3, nixWithS3 } from "../support/s3.ts";
import { bento, bentoJson, type RunningBento, recordingPath, startBento } from "./bento.ts";
import { type BuildFleet, buildFleet } from "./build-fleet.ts";

let fleet: BuildFleet;
let secretKey: string;
let publicKey: string;

beforeAll(async () => {
  fleet = await buildFleet({ alpha: "p.shared", beta: "p.shared (p.big 1)", gamma: "p.broken" });
  const keys = path.join(fleet.store.dir, "keys");
  const { stdout, status } = await bento(["keygen", keys, "--cache", "cache.example.org-1"]);
  expect([status, stdout]).toEqual([0, expect.stringContaining("substituters, an entry:")]);
  expect((await readdir(keys)).sort()).toEqual(["cache", "cache.pub"]);
  secretKey = await readFile(path.join(keys, "cache"), "utf8");
  publicKey = (await readFile(path.join(keys, "cache.pub"), "utf8")).trim();
});

afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]();
});

const cacheDir = (name: string) => path.join(fleet.store.dir, name);
const build = (args: readonly string[], env: Record<string, string | undefined> = {}) =>
  bentoJson<CheckDocument>(["build", ...args], { cwd: fleet.dir, env: { ...fleet.env, ...env } });
const narinfos = (dir: string) => readdirSync(dir).filter((name) => name.endsWith(".narinfo"));

/** Fetches a system into a store of its own, that trusts `key` and nothing else. */
function fetchFrom(url: string, system: string, store: string, key: string, login: Record<string, string> = {}) {
  const options = [
    ["substituters", url],
    ["trusted-public-keys", key],
    ["narinfo-cache-negative-ttl", "0"],
  ].flatMap(([name = "", value = ""]) => ["--option", name, value]);
  const root = cacheDir(store);
  const env = {
    NIX_STATE_DIR: path.join(root, "var"),
    NIX_STORE_DIR: undefined,
    XDG_CACHE_HOME: path.join(root, "cache"),
  };
  return exec("nix", ["copy", "--from", url, "--to", `local?root=${root}`, ...options, system], {
    env: { ...env, ...login, NIX_STORE_DIR: process.env.NIX_STORE_DIR },
  });
}

test("what was built is signed and pushed, each path once; what failed is not; the key is nowhere to be seen", async () => {
  const recorder = await recordingPath(await makeDir("recorder"));
  const cache = cacheDir("cache");
  const { document, status, stderr, stdout } = await build(["--push", `file://${cache}`], {
    BENTO_CACHE_KEY: secretKey,
    PATH: recorder.PATH,
  });
  expect(status).toBe(1);
  expect(document.hosts.map(({ status }) => status)).toEqual(["ok", "ok", "failed"]);
  expect(document.signedBy).toBe(publicKey);
  expect(document.push).toEqual({
    url: `file://${cache}`,
    paths: narinfos(cache).length,
    bytes: expect.any(Number),
    signed: 0,
    error: null,
  });
  expect(await readFile(path.join(cache, "nix-cache-info"), "utf8")).toBe(
    `StoreDir: ${fleet.store.dir}/nix/store\nWantMassQuery: 1\nPriority: 30\n`,
  );
  expect(document.push?.bytes).toBeGreaterThan(3_000_000);
  for (const name of narinfos(cache)) {
    const text = readFileSync(path.join(cache, name), "utf8");
    expect(text).toContain("Compression: zstd");
    expect(text).toMatch(/^Sig: cache\.example\.org-1:/m);
  }
  const secret = secretKey.split(":")[1]?.trim() ?? "";
  expect(`${stdout}${stderr}${await recorder.seen()}`).not.toContain(secret);

  const system = document.hosts[1]?.toplevel ?? "";
  expect(await fetchFrom(`file://${cache}`, system, "host", publicKey)).toMatchObject({ status: 0 });
  await succeed("test", ["-L", path.join(cacheDir("host"), "nix/store", path.basename(system), "sw/bin/big-1")]);
  const other = await fetchFrom(`file://${cache}`, system, "stranger", publicKey.replace(/.{4}=$/, "AAAA="));
  expect(other.stderr).toMatch(/lacks a (?:valid )?signature|signature by a trusted key/);
});

test("the next push copies what is new, and nothing else in the store was signed", async () => {
  await fleet.set("delta", "p.shared (p.big 2)");
  const cache = cacheDir("cache");
  const before = narinfos(cache);
  const { document } = await build(["--hosts", "delta", "--push", `file://${cache}`], { BENTO_CACHE_KEY: secretKey });
  const added = narinfos(cache).filter((name) => !before.includes(name));
  expect(document.push?.paths).toBe(added.length);
  expect(added.length).toBeLessThan(before.length);
  const again = await build(["--hosts", "delta", "--push", `file://${cache}`], { BENTO_CACHE_KEY: secretKey });
  expect(again.document.push).toMatchObject({ paths: 0, bytes: 0, error: null });

  // Somebody else's build, in the same store.
  const drv = await succeed("nix-instantiate", [
    "-E",
    'derivation { name = "other"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo > $out" ]; }',
  ]);
  const out = await succeed("nix-store", ["--realise", drv]);
  await build(["--hosts", "delta"], { BENTO_CACHE_KEY: secretKey });
  const info = await succeed("nix", ["path-info", "--json", out]);
  expect(info).not.toContain("cache.example.org-1");
  expect(await succeed("nix", ["path-info", "--json", document.hosts[0]?.toplevel ?? ""])).toContain(
    "cache.example.org-1",
  );
});

test("a push that is killed is gone on with, and a reader never saw half of it", async () => {
  await fleet.set("epsilon", Array.from({ length: 12 }, (_, n) => `(p.big ${10 + n})`).join(" "));
  await build(["--hosts", "epsilon"]);
  const cache = cacheDir("killed");
  const args = ["build", "--hosts", "epsilon", "--push", `file://${cache}`];
  const running = await startBento(args, { cwd: fleet.dir, env: { ...fleet.env, BENTO_CACHE_KEY: secretKey } });
  await until(running, () => narinfos(cache).length >= 3);
  kill([...running.children(), running.pid]);
  await running.finished.catch(() => {});
  const before = narinfos(cache);
  for (const name of before) {
    const nar = /^URL: (.*)$/m.exec(readFileSync(path.join(cache, name), "utf8"))?.[1] ?? "";
    await succeed("zstd", ["-qt", path.join(cache, nar)]);
  }
  const { document, status } = await build(args.slice(1), { BENTO_CACHE_KEY: secretKey });
  expect(status).toBe(0);
  expect(before.length).toBeGreaterThan(2);
  expect(document.push?.paths).toBeGreaterThan(0);
  expect(document.push?.paths).toBe(narinfos(cache).length - before.length);
  expect(await fetchFrom(`file://${cache}`, document.hosts[0]?.toplevel ?? "", "after", publicKey)).toMatchObject({
    status: 0,
  });
});

test("an interrupted push ends, and leaves no key behind", async () => {
  await fleet.set("zeta", Array.from({ length: 8 }, (_, n) => `(p.big ${30 + n})`).join(" "));
  const cache = cacheDir("interrupted");
  const args = ["build", "--hosts", "zeta", "--push", `file://${cache}`];
  const running = await startBento(args, { cwd: fleet.dir, env: { ...fleet.env, BENTO_CACHE_KEY: secretKey } });
  await until(running, () => narinfos(cache).length >= 1);
  kill([running.pid], "SIGINT");
  // `finished` fails when there is a file or a process left.
  expect((await running.finished).status).toBe(130);
});

test("a cache that can't be pushed to: the builds are kept, and it is said which", async () => {
  const file = cacheDir("a-file");
  await writeFile(file, "");
  const { document, status } = await build(["--hosts", "alpha", "--push", `file://${file}/cache`]);
  expect(status).toBe(3);
  expect(document.hosts[0]?.status).toBe("ok");
  expect(document.push?.error?.message).toContain(`${file}/cache can't be made (ENOTDIR)`);
  const unmakable = await build(["--hosts", "alpha", "--push", "file:///proc/cache"]);
  expect([unmakable.status, unmakable.document.push?.error?.message]).toEqual([
    3,
    expect.stringContaining("/proc/cache can't be made (ENOENT)"),
  ]);
  // What can't be right is told before anything is built.
  for (const [wrong, said] of [
    ["file:///srv/m%79", "is no directory that can be a cache"],
    ["file://srv/cache", "must be an address as file:///srv/cache is one"],
    ["file:///srv/my cache", "must be one address without blanks in it"],
    ["nowhere", "'nowhere' is no address of a Nix store"],
    ["nonsense://user:hun@ter2@there", "'nonsense://user:…@there' is no address of a Nix store"],
    ["https://user:hun/@ter2@there", "'https://user:…@there' is no address of a Nix store"],
    ["https://hun@ter2@there:99999", "'https://…@there:99999' is no address of a Nix store"],
    ["https://me:hun@ter2@there", "'https://me:…@there' is no address of a Nix store: it must have %40 for an '@'"],
  ] as const) {
    const exit = await bento(["build", "--hosts", "alpha", "--push", wrong], { cwd: fleet.dir, env: fleet.env });
    expect([exit.status, exit.stderr]).toEqual([2, expect.stringContaining(said)]);
    expect(exit.stderr).not.toContain("hun");
  }
});

test("to a bucket, with a login: what was built is there, and who may read it takes it", async ({ skip }) => {
  if (!(await nixWithS3(await makeDir("probed"))).logsIn) skip(NO_LOGIN);
  const login = { AWS_ACCESS_KEY_ID: "AKIAEXAMPLE", AWS_SECRET_ACCESS_KEY: "wJalr/XUtn+FEMI=" };
  const logins = { [login.AWS_ACCESS_KEY_ID]: login.AWS_SECRET_ACCESS_KEY, AKIAREADER: "reader" };
  await using bucket = await Bucket.start(cacheDir("bucket"), "fleet-cache", { logins });
  bucket.readers = ["AKIAREADER"];
  const args = ["--hosts", "alpha,beta", "--push", bucket.url];
  const { document, status, stdout, stderr } = await build(args, { ...login, BENTO_CACHE_KEY: secretKey });
  expect([status, stderr]).toEqual([0, expect.any(String)]);
  expect(document.push).toMatchObject({ url: bucket.url, paths: narinfos(bucket.dir).length, error: null });
  expect(`${stdout}${stderr}`).not.toContain(login.AWS_SECRET_ACCESS_KEY);
  expect((await build(args, { ...login, BENTO_CACHE_KEY: secretKey })).document.push).toMatchObject({ paths: 0 });

  const reader = { AWS_ACCESS_KEY_ID: "AKIAREADER", AWS_SECRET_ACCESS_KEY: "reader" };
  const system = document.hosts[1]?.toplevel ?? "";
  const fetched = await fetchFrom(bucket.url, system, "of-a-bucket", publicKey, reader);
  expect([fetched.status, fetched.stderr]).toEqual([0, expect.any(String)]);
  await succeed("test", ["-e", path.join(cacheDir("of-a-bucket"), "nix/store", path.basename(system))]);
});

test("to a bucket that doesn't let it in: told before anything is built", async ({ skip }) => {
  if (!(await nixWithS3(await makeDir("probed-too"))).hasS3) skip(NO_S3);
  await using bucket = await Bucket.start(cacheDir("closed"), "closed", { logins: {} });
  await fleet.set("iota", "p.shared (p.big 70)");
  const login = { AWS_ACCESS_KEY_ID: "AKIAEXAMPLE", AWS_SECRET_ACCESS_KEY: "wJalr/XUtn+FEMI=" };
  const args = ["build", "--hosts", "iota", "--push", bucket.url];
  const exit = await bento(args, { cwd: fleet.dir, env: { ...fleet.env, ...login } });
  expect([exit.status, exit.stderr]).toEqual([
    3,
    expect.stringContaining(`${bucket.url} can't be pushed to: its server refuses `),
  ]);
  expect(exit.stderr).toContain("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or else those of [default]");
  expect(exit.stderr).not.toContain("building");
  expect(bucket.answered).toHaveLength(1);
});

test("where nothing is built, nothing is said to be signed", async () => {
  const { document, stdout } = await build(["--hosts", "gamma"], { BENTO_CACHE_KEY: secretKey });
  expect([document.hosts[0]?.status, document.signedBy]).toEqual(["failed", undefined]);
  expect(stdout).not.toContain("signed");
});

test("without a key it is said that hosts won't take it; without an address, that there is none", async () => {
  const cache = `file://${cacheDir("unsigned")}`;
  const { document } = await build(["--hosts", "alpha", "--push", cache]);
  expect(document.warnings).toEqual([expect.stringContaining("is not signed")]);
  const none = await bento(["build", "--push"], { cwd: fleet.dir, env: fleet.env });
  expect([none.status, none.stderr]).toEqual([2, expect.stringContaining("fleet.yaml has no cache.push")]);
  const malformed = await bento(["build"], { cwd: fleet.dir, env: { ...fleet.env, BENTO_CACHE_KEY: "cache-1:AAAA" } });
  expect([malformed.status, malformed.stderr]).toEqual([
    2,
    expect.stringContaining("is not a secret key of a binary cache"),
  ]);
});

test("--push without an address goes where fleet.yaml says", async () => {
  const cache = cacheDir("of-the-fleet");
  await writeFile(
    path.join(fleet.dir, "fleet.yaml"),
    `cache:\n  push: file://${cache}\nhosts: { alpha: { agent: false } }\n`,
  );
  expect((await bento(["render"], { cwd: fleet.dir })).status).toBe(0);
  fleet.git("add", "-A");
  fleet.git("commit", "-q", "-m", "a cache");
  const { document, status, stderr } = await build(["--hosts", "alpha", "--push"], { BENTO_CACHE_KEY: secretKey });
  expect([status, stderr]).toEqual([0, expect.any(String)]);
  expect(document.push).toEqual({
    url: `file://${cache}`,
    paths: narinfos(cache).length,
    bytes: expect.any(Number),
    signed: 0,
    error: null,
  });
});

test("on Actions: a push's job signs and pushes, and a pull request's can't", async () => {
  const cache = `file://${cacheDir("actions")}`;
  const inputs = { command: "build", hosts: "alpha", "cache-key": secretKey, push: cache };
  const env = { ...fleet.env, HOME: process.env.HOME };
  const head = fleet.git("rev-parse", "HEAD").trim();
  const merged = await runStep({ workspace: fleet.dir, inputs, event: pushEvent(head, head), env });
  expect(merged.status, merged.log).toBe(0);
  expect(merged.document).toMatchObject({ signedBy: publicKey, push: { url: cache, error: null } });
  expect(merged.commands.filter(({ name }) => name === "add-mask").map(({ data }) => data)).toContain(secretKey.trim());

  const asked = await runStep({ workspace: fleet.dir, inputs, event: pullRequest(head, head), env });
  expect(asked.status).toBe(1);
  expect(asked.annotations("error")[0]?.data).toContain("what a pull request builds is neither signed nor pushed");
  expect(asked.outputs).toEqual({});

  // The check's own build of a pull request has no key to ask hosts with, and nothing is said of that.
  const pruning = { command: "build", hosts: "alpha", prune: "true" };
  const said = async (event: object) => {
    const step = await runStep({ workspace: fleet.dir, inputs: pruning, event, env });
    return [step.status, step.annotations("warning").filter(({ data }) => data.startsWith("--prune"))];
  };
  expect(await said(pullRequest(head, head))).toEqual([0, []]);
  const unasked = expect.stringContaining("what hosts run is not known here");
  expect(await said(pushEvent(head, head))).toEqual([0, [expect.objectContaining({ data: unasked })]]);
});

test("on Actions: nor by way of another event, but after this repository's own push", async () => {
  const cache = cacheDir("by-another-event");
  const inputs = { command: "build", hosts: "alpha", "cache-key": secretKey, push: `file://${cache}` };
  const env = { ...fleet.env, HOME: process.env.HOME, RUNNER_ENVIRONMENT: "self-hosted" };
  const head = fleet.git("rev-parse", "HEAD").trim();
  const refused = [
    workflowRun(head),
    workflowRun(head, { of: "gone" }),
    workflowRun(head, { of: "repository" }),
    // A branch of a fork's that is called main.
    workflowRun(head, { of: "fork", event: "push" }),
    workflowRun(head, { of: "repository", event: "workflow_run" }),
    issueComment("pull request"),
  ];
  for (const event of refused) {
    const step = await runStep({ workspace: fleet.dir, inputs, event, env });
    expect([step.status, step.document], JSON.stringify(event)).toEqual([1, undefined]);
    expect(step.annotations("error")[0]?.data).toContain("what a pull request builds is neither signed nor pushed");
  }
  expect(existsSync(cache)).toBe(false);
  for (const event of [workflowRun(head, { of: "repository", event: "push" }), issueComment("issue")]) {
    const step = await runStep({ workspace: fleet.dir, inputs, event, env });
    expect([step.status, step.document.push?.error]).toEqual([0, null]);
  }
});

test.each(["BENTO_CACHE_KEY", "BENTO_CACHE_KEY_FILE"])("on Actions, with the key as %s of the step", async (name) => {
  const value = name.endsWith("_FILE") ? path.join(fleet.store.dir, "keys/cache") : secretKey;
  const cache = path.join(fleet.store.dir, "cache");
  const env = { ...fleet.env, XDG_CACHE_HOME: cache, HOME: process.env.HOME, [name]: value };
  const inputs = { command: "build", hosts: "alpha" };
  const head = fleet.git("rev-parse", "HEAD").trim();
  const asked = await runStep({ workspace: fleet.dir, inputs, event: pullRequest(head, head, "repository"), env });
  expect([asked.status, asked.document]).toEqual([1, undefined]);
  expect(asked.annotations("error")[0]?.data).toContain("what a pull request builds is neither signed nor pushed");

  const merged = await runStep({ workspace: fleet.dir, inputs, event: pushEvent(head, head), env });
  expect([merged.status, merged.document.signedBy]).toEqual([0, publicKey]);
});

/** Waits until it has come so far; what isn't there yet makes `isSo` throw. */
async function until(running: RunningBento, isSo: () => boolean): Promise<void> {
  const hasCome = () => {
    try {
      return isSo();
    } catch {
      return false;
    }
  };
  while (!hasCome() && running.child.exitCode === null) await new Promise((resolve) => setImmediate(resolve));
}

async function makeDir(name: string): Promise<string> {
  await succeed("mkdir", ["-p", cacheDir(name)]);
  return cacheDir(name);
}

test("where the daemon lets nobody sign in its store, what is uploaded is signed on the way", async () => {
  await fleet.set("eta", "p.shared (p.big 50)");
  // A Nix that refuses as a daemon does whose client it doesn't trust; everything else is the real one's.
  const bin = await makeDir("distrust");
  const real = await succeed("sh", ["-c", "command -v nix"]);
  const script = `#!/bin/sh\ncase " $* " in *" store sign "*) echo "error: you are not privileged to add signatures" >&2; exit 1 ;; esac\nexec ${real} "$@"\n`;
  await writeFile(path.join(bin, "nix"), script, { mode: 0o755 });
  const env = { BENTO_CACHE_KEY: secretKey, PATH: `${bin}:${process.env.PATH}` };
  const cache = cacheDir("signed-on-the-way");
  const { document, status } = await build(["--hosts", "eta", "--push", `file://${cache}`], env);
  expect([status, document.signedBy]).toEqual([0, publicKey]);
  const system = document.hosts[0]?.toplevel ?? "";
  expect(await fetchFrom(`file://${cache}`, system, "on-the-way", publicKey)).toMatchObject({ status: 0 });
  const none = await bento(["build", "--hosts", "eta"], { cwd: fleet.dir, env: { ...fleet.env, ...env } });
  expect([none.status, none.stderr]).toEqual([3, expect.stringContaining("lets only users that it trusts sign")]);
});

test("a key that no host trusts is told before anything is built", async () => {
  await fleet.set("theta", "p.shared (p.big 60)");
  const committed = async (key: string) => {
    const substituters = `substituters: [ { url: "https://cache.example.org", key: "${key}" } ]\n`;
    await writeFile(path.join(fleet.dir, "fleet.yaml"), `${substituters}hosts: { theta: { agent: false } }\n`);
    expect((await bento(["render"], { cwd: fleet.dir })).status).toBe(0);
    fleet.git("add", "-A");
    fleet.git("commit", "-q", "-m", "a substituter");
  };
  const args = ["--hosts", "theta"];
  const env = { BENTO_CACHE_KEY: secretKey };
  await committed(publicKey.replace(/.{4}=$/, "AAAA="));
  const other = await bento(["build", ...args], { cwd: fleet.dir, env: { ...fleet.env, ...env } });
  expect([other.status, other.stderr]).toEqual([
    2,
    expect.stringContaining("is another than the one called cache.example.org-1 under substituters"),
  ]);
  expect(other.stderr).toContain(publicKey);

  await committed(publicKey.replace("-1:", "-2:"));
  const unknown = await build(args, env);
  const said = "cache.example.org-1, the key that signs, is not under substituters in fleet.yaml";
  expect(unknown.document.warnings).toContainEqual(expect.stringContaining(said));
  expect(unknown.stderr.indexOf(said)).toBeLessThan(unknown.stderr.indexOf("building"));

  await committed(publicKey);
  expect((await build(args, env)).document.warnings).not.toContainEqual(expect.stringContaining("the key that signs"));
});
