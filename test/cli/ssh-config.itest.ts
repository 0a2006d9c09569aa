import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { SshConfigDocument } from "../../src/results.ts";
import { scratch } from "../platform/scratch.ts";
import { makeKey } from "../support/keys.ts";
import { exec, succeed } from "../support/programs.ts";
import { bento, bentoJson } from "./bento.ts";

let dir: Awaited<ReturnType<typeof scratch>>;
let fleet: string;
let key: string;

beforeAll(async () => {
  dir = await scratch();
  fleet = path.join(dir.path, "a fleet");
  key = (await makeKey(path.join(dir.path, "key"))).publicKey;
  for (const host of ["router", "nas", "phone", "far"]) {
    await mkdir(path.join(fleet, "hosts", host), { recursive: true });
    await writeFile(path.join(fleet, "hosts", host, "configuration.nix"), "{ }");
  }
  await write("root@10.0.0.1");
});
afterAll(() => dir?.[Symbol.asyncDispose]());

function write(router: string): Promise<void> {
  const hosts = {
    router: { ssh: router, key: `${key} root@router` },
    nas: { ssh: "ada@nas.example.org:2222" },
    far: { ssh: "root@[fe80::1%eth0]:22" },
    phone: {},
  };
  return writeFile(path.join(fleet, "fleet.yaml"), JSON.stringify({ hosts }));
}

/** What ssh itself makes of it for a host. */
async function asSshReadsIt(file: string, host: string): Promise<string> {
  return `\n${await succeed("ssh", ["-G", "-F", file, host])}\n`;
}

test("ssh takes it: each host's name leads to its address, login and port, and the others are left alone", async () => {
  const file = path.join(dir.path, "ssh_config");
  const written = await bento(["ssh-config", "--output", file], { cwd: fleet });
  expect(written).toMatchObject({ status: 0, stdout: `✓ ${file}\n`, stderr: "" });
  expect(await asSshReadsIt(file, "router")).toMatch(/\nuser root\n(?:.*\n)*hostname 10\.0\.0\.1\nport 22\n/);
  expect(await asSshReadsIt(file, "nas")).toMatch(/\nuser ada\nhostname nas\.example\.org\nport 2222\n/);
  expect(await asSshReadsIt(file, "far")).toMatch(/\nhostname fe80::1%eth0\n/);
  expect(await asSshReadsIt(file, "phone")).toMatch(/\nhostname phone\n/);
  expect(await readFile(file, "utf8")).toContain("\n# phone: fleet.yaml has no ssh: for it\n");
  const printed = await bento(["ssh-config"], { cwd: fleet });
  expect(printed.stdout).toBe(await readFile(file, "utf8"));
  // Nothing half-written stays beside it.
  expect((await readdir(dir.path)).filter((name) => name.includes("ssh_config"))).toEqual(["ssh_config"]);
});

test("only some hosts, and as JSON", async () => {
  const { document } = await bentoJson<SshConfigDocument>(["ssh-config", "--hosts", "nas"], { cwd: fleet });
  expect(document).toEqual({
    version: 1,
    command: "ssh-config",
    hosts: [{ name: "nas", status: "ok", user: "ada", address: "nas.example.org", port: 2222, key: null }],
    text: expect.stringMatching(/\nHost nas\n/),
    files: [],
  });
});

test("--known-hosts: a host's key of fleet.yaml is the one that ssh knows it by", async () => {
  const [file, known] = [path.join(dir.path, "ssh_config"), path.join(dir.path, "known 100%")];
  const written = await bento(["ssh-config", "--output", file, "--known-hosts", known], { cwd: fleet });
  expect(written.status).toBe(0);
  expect(await asSshReadsIt(file, "router")).toContain("\nhostkeyalias router\n");
  expect(await asSshReadsIt(file, "nas")).not.toContain("\nhostkeyalias nas\n");
  expect(await readFile(known, "utf8")).toBe(`router ${key}\n`);
  expect(await succeed("ssh-keygen", ["-F", "router", "-f", known])).toContain(key);
  const refused = await bento(["ssh-config", "--known-hosts", path.join(dir.path, 'a"b')], { cwd: fleet });
  expect(refused).toMatchObject({
    status: 2,
    stdout: "",
    stderr: expect.stringContaining("can't stand in an ssh_config"),
  });
});

test.each([
  "root@10.0.0.1\n  ProxyCommand touch /tmp/x",
  "root@%h",
  "root@-oProxyCommand=x",
  "root@a b",
  'root@"x"',
  `root@\${HOME}`,
  "x #",
])("%j is no way to reach a host: an error at its place, and nothing is printed", async (ssh) => {
  await write(ssh);
  const { status, stdout, stderr } = await bento(["ssh-config"], { cwd: fleet });
  expect([status, stdout]).toEqual([2, ""]);
  expect(stderr).toMatch(/^error: fleet\.yaml:1:\d+: hosts\.router\.ssh must be /);
  await write("root@10.0.0.1");
});

test("nobody can be reached, and a place that can't be written", async () => {
  const none = await bento(["ssh-config", "--hosts", "phone"], { cwd: fleet });
  expect(none).toMatchObject({ status: 2, stdout: "", stderr: expect.stringContaining("ssh: root@ADDRESS") });
  const file = path.join(dir.path, "key", "x");
  const unwritable = await bento(["ssh-config", "--output", file], { cwd: fleet });
  expect(unwritable.status).toBe(2);
  expect(unwritable.stderr).toContain(`${file} can't be written`);
  expect((await exec("ls", [file])).status).not.toBe(0);
});
