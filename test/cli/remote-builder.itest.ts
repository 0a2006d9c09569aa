import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { CheckDocument } from "../../src/results.ts";
import { makeKey } from "../support/keys.ts";
import { startRootSshd } from "../support/root-sshd.ts";
import type { Sshd } from "../support/sshd.ts";
import { bentoJson } from "./bento.ts";
import { type BuildFleet, buildFleet } from "./build-fleet.ts";

// A machine of another architecture that builds for this one: a real sshd, and behind it Nix with a store of its own, in a mount
// namespace where that lies at the same place. What it builds are scripts, so that it needs no other processor.

let fleet: BuildFleet;
let sshd: Sshd;
let key: string;
let log: string;
let ssh: Record<string, string>;

beforeAll(async () => {
  fleet = await buildFleet({ phone: "p.shared p.foreign", nas: "p.shared" });
  const dir = path.join(fleet.store.dir, "builder");
  await mkdir(path.join(dir, "nix/store"), { recursive: true });
  const [hostKey, builderKey] = await Promise.all(["host_key", "key"].map((name) => makeKey(path.join(dir, name))));
  if (!hostKey || !builderKey) throw new Error("no keys");
  key = builderKey.file;
  log = path.join(dir, "log");
  const variables = ["PATH", "HOME", "NIX_STORE_DIR", "NIX_STATE_DIR", "NIX_LOG_DIR", "NIX_CONF_DIR", "NIX_REMOTE"];
  const login = [
    "#!/bin/sh",
    `echo "$SSH_ORIGINAL_COMMAND" >> ${log}`,
    ...variables.map((name) => `export ${name}='${process.env[name]}'`),
    `export NIX_CONFIG='${process.env.NIX_CONFIG}\nsystem = riscv64-linux'`,
    `exec unshare --mount sh -c 'mount --bind ${dir}/nix ${fleet.store.dir}/nix && exec sh -c "$SSH_ORIGINAL_COMMAND"'`,
  ];
  sshd = await startRootSshd(dir, { hostKey, key: builderKey, script: `${login.join("\n")}\n` });
  await mkdir(path.join(dir, "tmp"));
  await writeFile(path.join(dir, "known_hosts"), `[127.0.0.1]:${sshd.port} ${hostKey.publicKey}\n`);
  ssh = {
    // Nix's hook leaves a directory behind where the builder is gone.
    TMPDIR: path.join(dir, "tmp"),
    NIX_SSHOPTS: `-p ${sshd.port} -o UserKnownHostsFile=${path.join(dir, "known_hosts")} -o IdentitiesOnly=yes`,
  };
});
afterAll(async () => {
  await sshd?.stop();
  await fleet?.[Symbol.asyncDispose]();
});

const build = (settings: string) =>
  bentoJson<CheckDocument>(["build"], {
    cwd: fleet.dir,
    env: { ...fleet.env, ...ssh, NIX_CONFIG: `${process.env.NIX_CONFIG}\n${settings}` },
  });

test("a host of another architecture is built by the remote builder that nix.conf names, and by nobody without one", async () => {
  const alone = await build("builders =");
  expect(alone.document.hosts.map(({ name, status }) => [name, status])).toEqual([
    ["nas", "ok"],
    ["phone", "skipped"],
  ]);
  expect(alone.document.warnings).toEqual([
    expect.stringMatching(/^phone: not built, as neither this machine nor a remote builder .* builds riscv64-linux \(/),
  ]);

  const { status, document } = await build(`builders = ssh://root@127.0.0.1 riscv64-linux ${key} 1 1`);
  expect(document.warnings).toEqual([]);
  expect(document.hosts.map(({ name, status }) => [name, status])).toEqual([
    ["nas", "ok"],
    ["phone", "ok"],
  ]);
  expect(status).toBe(0);
  expect(await readFile(log, "utf8")).toMatch(/^nix-store --serve/m);
  // The other one built that one thing; the rest was made here.
  const there = await readdir(path.join(fleet.store.dir, "builder/nix/store"));
  expect(there.filter((name) => /-foreign-1\.0$/.test(name))).toHaveLength(1);
  expect(there.filter((name) => /nixos-system/.test(name) && !name.endsWith(".drv"))).toEqual([]);
});

test("a builder that can't be reached is a host that can't be built here, and says so; the others are built", async () => {
  await rm(fleet.state, { recursive: true });
  await fleet.gc();
  await sshd.stop();
  const { document } = await build(`builders = ssh://root@127.0.0.1 riscv64-linux ${key} 1 1`);
  const outcome = Object.fromEntries(document.hosts.map(({ name, status }) => [name, status]));
  expect(outcome).toEqual({ nas: "ok", phone: "skipped" });
  expect(document.warnings).toEqual([
    expect.stringMatching(
      /^phone: not built, .* builds riscv64-linux \(ssh:\/\/root@127\.0\.0\.1 can't be used now: .*ssh/i,
    ),
  ]);
});
