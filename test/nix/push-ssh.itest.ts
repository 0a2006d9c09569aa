import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { UnavailableError } from "../../src/errors.ts";
import { makeCacheKey, openCacheKey } from "../../src/nix/cache-key.ts";
import { Nix } from "../../src/nix/nix.ts";
import { push } from "../../src/nix/push.ts";
import { signClosures } from "../../src/nix/sign.ts";
import { type KeyPair, makeKey } from "../support/keys.ts";
import { succeed } from "../support/programs.ts";
import { Sshd } from "../support/sshd.ts";
import { privateStore, type Store } from "./store.ts";

// A cache that is another machine's store, reached by ssh, which takes what a key that it trusts has signed.

let store: Store;
let sshd: Sshd;
let system: string;
let login: KeyPair;
let stranger: KeyPair;
const { secretKey, publicKey } = makeCacheKey("cache-1");
const remote = (place = "") => path.join(store.dir, "remote", place);
const signal = new AbortController().signal;

beforeAll(async () => {
  store = await privateStore();
  const ssh = path.join(store.dir, "ssh");
  await mkdir(ssh, { mode: 0o700 });
  await mkdir(remote(), { recursive: true });
  const [host, mine, other] = await Promise.all(["host", "mine", "other"].map((name) => makeKey(path.join(ssh, name))));
  if (!host || !mine || !other) throw new Error("no keys");
  [login, stranger] = [mine, other];
  // The other machine's Nix: the daemon's protocol on its standard input, for somebody whom it doesn't trust.
  const env = Object.entries({ ...process.env, NIX_REMOTE: `local?root=${remote()}`, NIX_STATE_DIR: "" })
    .filter(([name, value]) => name.startsWith("NIX_") && value)
    .map(([name, value]) => `export ${name}='${value}'`)
    .join("\n");
  const program = path.join(store.dir, "nix-daemon");
  const settings = `export NIX_CONFIG="$NIX_CONFIG\ntrusted-public-keys = ${publicKey}"`;
  await writeFile(program, `#!/bin/sh\n${env}\n${settings}\nexec nix-daemon --stdio\n`, { mode: 0o755 });
  const authorized = path.join(ssh, "authorized_keys");
  await writeFile(authorized, `restrict,command="${program}" ${login.publicKey}\n`, { mode: 0o600 });
  const config = path.join(ssh, "sshd_config");
  await writeFile(
    config,
    [
      "ListenAddress 127.0.0.1",
      `HostKey ${host.file}`,
      `AuthorizedKeysFile ${authorized}`,
      "PasswordAuthentication no",
      "StrictModes no",
      "PermitRootLogin prohibit-password",
      `SetEnv PATH=${process.env.PATH}`,
    ].join("\n"),
  );
  sshd = new Sshd(config, {});
  await sshd.start();
  await writeFile(path.join(ssh, "known_hosts"), `[127.0.0.1]:${sshd.port} ${host.publicKey}\n`);
  const drv = await succeed("nix-instantiate", [
    "-E",
    'derivation { name = "system"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo > $out" ]; }',
  ]);
  system = await succeed("nix-store", ["--realise", drv]);
});

afterAll(async () => {
  await sshd?.stop();
  await store?.remove();
});

async function pushAs({ file }: KeyPair) {
  const known = path.join(store.dir, "ssh/known_hosts");
  process.env.NIX_SSHOPTS = `-F none -p ${sshd.port} -i ${file} -o IdentitiesOnly=yes -o BatchMode=yes -o UserKnownHostsFile=${known}`;
  return push(await Nix.find(), "ssh-ng://root@127.0.0.1", [system], { signal, wait: 10 });
}

test("without a login, and without a signature, it is said what is missing", async () => {
  const refused = await pushAs(stranger).catch((error) => error);
  expect(refused).toBeInstanceOf(UnavailableError);
  expect(refused.message).toMatch(/Permission denied \(publickey/);
  const unsigned = await pushAs(login).catch((error) => error);
  expect(unsigned).toBeInstanceOf(UnavailableError);
  expect(unsigned.message).toMatch(/signature/);
}, 30_000);

test("what is signed arrives", async () => {
  await using key = await openCacheKey({ content: secretKey }, "the key");
  await signClosures(await Nix.find(), key, [system]);
  expect((await pushAs(login)).paths).toBe(1);
  expect(await readFile(remote(path.join("nix/store", path.basename(system))), "utf8")).toBe("\n");
}, 30_000);
