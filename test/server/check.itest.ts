import { chmod, chown, lstat, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { packageRoot } from "../../src/platform/package.ts";
import type { ServerCheckDocument } from "../../src/results.ts";
import { bento, bentoJson } from "../cli/bento.ts";
import { exec, succeed } from "../support/programs.ts";
import { World } from "../support/world.ts";

/** A real server, broken in each way: `bento server check` and utils/server/check say what it is. */

let world: World;
const env = () => ({ BENTO_SSH_KEY_FILE: world.publisherKey.file });
const fleet = () => path.join(world.dir, "checked");
const chroots = (...parts: string[]) => path.join(world.server.root, ...parts);
const config = () => path.join(world.dir, "sshd/sshd_config");

beforeAll(async () => {
  world = await World.make({ hosts: ["nas", "router"] });
  await mkdir(fleet());
  const hosts = Object.fromEntries(["nas", "router"].map((name) => [name, { key: world.hostKeys[name]?.publicKey }]));
  for (const name of ["nas", "router"]) {
    await mkdir(path.join(fleet(), "hosts", name), { recursive: true });
    await writeFile(path.join(fleet(), "hosts", name, "configuration.nix"), "{ }\n");
  }
  const settings = { server: world.serverSettings, signers: [world.signingKey.publicKey], hosts };
  await writeFile(path.join(fleet(), "fleet.yaml"), stringify(settings, { lineWidth: 0 }));
  expect((await bento(["render", "--fleet", fleet()])).status).toBe(0);
});
afterAll(async () => world?.[Symbol.asyncDispose]());

/** From the runner's side. */
async function outside(more: Record<string, string> = {}) {
  const options = { env: { ...env(), ...more } };
  const { status, document } = await bentoJson<ServerCheckDocument>(["server", "check", "--fleet", fleet()], options);
  return { status, ...document };
}

/** On the server. */
async function inside() {
  const json = path.join(fleet(), "fleet.json");
  const exit = await exec("bash", [path.join(packageRoot(), "utils/server/check"), json, config()]);
  expect(exit.stderr).toBe("");
  return { status: exit.status, lines: exit.stdout.trimEnd().split("\n") };
}

test("a server as provision makes it has no faults", async () => {
  const { status, stdout } = await bento(["server", "check", "--fleet", fleet()], { env: env() });
  expect(stdout).toBe("✓ the server is as it should be, for 2 hosts\n");
  expect(status).toBe(0);
  expect(await outside()).toEqual({
    status: 0,
    version: 1,
    command: "server check",
    findings: [],
    hosts: [
      { name: "nas", status: "ok" },
      { name: "router", status: "ok" },
    ],
  });
  expect(await inside()).toEqual({ status: 0, lines: ["the server is as it should be; hosts: 2"] });
});

test("a server that isn't there, or refuses the key, is no finding", async () => {
  const other = { env: { BENTO_SSH_KEY_FILE: world.signingKey.file } };
  const refused = await bento(["server", "check", "--fleet", fleet()], other);
  expect(refused).toMatchObject({ status: 3, stderr: expect.stringContaining("refused the login") });
});

/** Breaks something in the directories, and what puts it right again. `path`, as both name it. */
const broken: [string, string | null, string, () => Promise<void>][] = [
  ["nas", "/nas/releases", "mode 0755", () => chmod(chroots("nas/releases"), 0o755)],
  ["nas", "/nas/releases", "mode 2770", () => chmod(chroots("nas/releases"), 0o2770)],
  ["nas", "/nas/releases", "belongs to 0:", () => chown(chroots("nas/releases"), 0, 0)],
  ["nas", "/nas/reports", "belongs to 0:", () => chown(chroots("nas/reports"), 0, 0)],
  ["nas", "/nas/reports", "mode 0700", () => chmod(chroots("nas/reports"), 0o700)],
  ["nas", "/nas/reports", "it is missing", () => rm(chroots("nas/reports"), { recursive: true })],
  ["nas", "/nas", "mode 0775", () => chmod(chroots("nas"), 0o775)],
  ["nas", "/nas", "it has no chroot", () => rm(chroots("nas"), { recursive: true })],
  ["", "/.bento", "mode 0755", () => chmod(chroots(".bento"), 0o755)],
  ["", "/.bento", "is missing", () => rm(chroots(".bento"), { recursive: true })],
  ["", "/.bento", "can't write there", () => chown(chroots(".bento"), 0, 0)],
  ["", "/old", "no host of the fleet has it", async () => void (await mkdir(chroots("old")))],
];

test.each(broken)("%s %s: %s", async (host, place, message, breakIt) => {
  await breakIt();
  const { status, findings, hosts } = await outside();
  const local = await inside();
  await rm(chroots("old"), { recursive: true, force: true });
  await reprovision();

  expect(status).toBe(1);
  expect(findings).toHaveLength(1);
  expect(findings[0]).toMatchObject({ path: place, host: host || null, message: expect.stringContaining(message) });
  expect(findings[0]?.hint).toMatch(/\S/);
  expect(hosts.map((one) => one.status)).toEqual([host ? "failed" : "ok", "ok"]);
  expect(local.status).toBe(1);
  expect(local.lines.some((line) => line.startsWith(`${world.server.root}${place}`))).toBe(true);
  expect((await outside()).findings).toEqual([]);
});

/** The same of what a server has beside it where `server.tree` is set. */
const brokenTree: [string, string, () => Promise<void>][] = [
  ["trees", "mode 0755", () => chmod(chroots("nas/trees"), 0o755)],
  ["trees", "it is missing", () => rm(chroots("nas/trees"), { recursive: true })],
  ["logs", "belongs to 0:0", () => chown(chroots("nas/logs"), 0, 0)],
  ["config", "no symlink", () => rm(chroots("nas/config"))],
  ["last_change_date", "mode 0640", () => chmod(chroots("nas/last_change_date"), 0o600)],
  ["last_change_date", "the host's group", () => chown(chroots("nas/last_change_date"), 0, 0)],
];

test("of unpacked trees, every place is looked at", async () => {
  const file = path.join(fleet(), "fleet.yaml");
  const text = await readFile(file, "utf8");
  const set = (to: string) => writeFile(file, to).then(() => bento(["render", "--fleet", fleet()]));
  await set(stringify({ ...parse(text), server: { ...world.serverSettings, tree: true } }, { lineWidth: 0 }));
  await reprovision();
  expect((await outside()).findings).toEqual([]);
  for (const [name, message, breakIt] of brokenTree) {
    await breakIt();
    const { findings } = await outside();
    const local = await inside();
    await reprovision();
    expect(findings).toEqual([
      { host: "nas", path: `/nas/${name}`, message: expect.stringContaining(message), hint: expect.any(String) },
    ]);
    expect(local.lines.map((line) => line.split(":")[0])).toEqual([chroots("nas", name)]);
  }
  await set(text);
  await reprovision();
});

test("two hosts with one login are told", async () => {
  const { uid, gid } = await lstat(chroots("router/reports"));
  const releases = await lstat(chroots("router/releases"));
  await chown(chroots("nas/reports"), uid, gid);
  await chown(chroots("nas/releases"), releases.uid, releases.gid);
  await chmod(chroots("nas/reports"), 0o2750);
  await chmod(chroots("nas/releases"), 0o2750);
  const { findings } = await outside();
  await reprovision();
  expect(findings.map(({ message }) => message)).toEqual([
    expect.stringMatching(/^nas and router have the same group/),
    expect.stringMatching(/^nas and router have the same login/),
  ]);
});

test("a full disk, and a clock that is wrong, are told", async () => {
  // A disk of its own in place of the chroots, with as good as nothing free.
  const small = path.join(world.dir, "small");
  await mkdir(small);
  await succeed("mount", ["-t", "tmpfs", "-o", "size=8m,mode=0755", "bento-test", small]);
  await succeed("cp", ["-a", `${world.server.root}/.`, small]);
  await exec("dd", ["if=/dev/zero", `of=${small}/nas/releases/fill`, "bs=1M"]);
  await succeed("mount", ["--bind", small, world.server.root]);
  const full = await outside();
  await succeed("umount", [world.server.root]);
  expect(full.findings).toContainEqual(
    expect.objectContaining({ path: "/", message: expect.stringMatching(/nearly full/) }),
  );

  // This machine's clock, an hour slow.
  const slow = "data:text/javascript,const now = Date.now; Date.now = () => now() - 3600000;";
  const { findings } = await outside({ NODE_OPTIONS: `--import ${JSON.stringify(slow)}` });
  expect(findings.map(({ message }) => message)).toEqual(["the server's clock is 60 min ahead of this machine's"]);
});

/** Lines of sshd's configuration that an administrator may have changed, each with what both say of it. */
const changed: [string, string, string, RegExp | null, RegExp][] = [
  ["a shell", "ForceCommand internal-sftp -u 0027", "", /it has a shell/, /it can run programs/],
  ["forwarding", "DisableForwarding yes", "DisableForwarding no", /connected further/, /the server's network/],
  ["a terminal", "PermitTTY no", "PermitTTY yes", null, /it gets a terminal/],
  ["passwords", "PasswordAuthentication no", "PasswordAuthentication yes", null, /a password opens it/],
  ["methods", "AuthenticationMethods publickey", "AuthenticationMethods any", null, /more than its key/],
  ["few startups", "MaxStartups 200:30:1000", "MaxStartups 1:30:100", null, /drops hosts when the fleet's 2 poll/],
];

test.each(changed)("sshd that gives %s", async (_, from, to, seenOutside, seenInside) => {
  const text = await readFile(config(), "utf8");
  expect(text).toContain(from);
  const publisher = `${world.loginPrefix}publisher`;
  const keys = path.join(world.dir, "sshd/authorized_keys", publisher);
  const restricted = await readFile(keys, "utf8");
  // It forbids forwarding too.
  if (from.startsWith("DisableForwarding")) await writeFile(keys, restricted.replace("restrict ", ""));
  if (to === "") {
    // Its own chroot has no shell in it, so it leaves that too.
    await succeed("usermod", ["--shell", "/bin/sh", publisher]);
    await writeFile(config(), text.replace(from, to).replace(/^ChrootDirectory .*$/m, ""));
  } else await writeFile(config(), text.replace(from, to));
  await restart();
  const { findings } = await outside();
  const local = await inside();
  await writeFile(config(), text);
  await writeFile(keys, restricted);
  await succeed("usermod", ["--shell", "/usr/sbin/nologin", publisher]);
  await restart();
  if (seenOutside) expect(findings.map(({ message }) => message).join("\n")).toMatch(seenOutside);
  else expect(findings).toEqual([]);
  expect(local.status).toBe(1);
  expect(local.lines.join("\n")).toMatch(seenInside);
});

test("keys, shells and numbers that a login shouldn't have are seen on the server", async () => {
  const login = `${world.loginPrefix}nas`;
  const keys = path.join(world.dir, "sshd/authorized_keys", login);
  const text = await readFile(keys, "utf8");
  await writeFile(keys, `${text}${world.signingKey.publicKey}\n`);
  await succeed("usermod", ["--shell", "/bin/sh", login]);
  const { lines } = await inside();
  await writeFile(keys, text);
  await succeed("usermod", ["--shell", "/usr/sbin/nologin", login]);
  expect(lines).toEqual([
    expect.stringMatching(new RegExp(`^${login}: its shell is /bin/sh`)),
    expect.stringMatching(new RegExp(`^${login}: a key of its isn't marked 'restrict'`)),
    expect.stringMatching(new RegExp(`^${login}: other keys open it`)),
  ]);
});

async function reprovision() {
  const options = ["--listen", world.server.address, "--port", String(world.server.port)];
  const script = path.join(packageRoot(), "utils/server/provision");
  await succeed("bash", [script, path.join(fleet(), "fleet.json"), path.join(world.dir, "sshd"), ...options]);
}

async function restart() {
  await world.server.stop();
  await world.server.start();
}

test("with a cache over ssh: each thing that lets a host reach more, or less, than that is found", async () => {
  const fleetYaml = path.join(fleet(), "fleet.yaml");
  const before = await readFile(fleetYaml, "utf8");
  const settings = {
    substituters: [{ url: "http://127.0.0.1:5000", key: `c-1:${"A".repeat(43)}=` }],
    cache: { over: "ssh" },
  };
  try {
    await writeFile(fleetYaml, stringify({ ...parse(before), ...settings }, { lineWidth: 0 }));
    expect(await bento(["render", "--fleet", fleet()])).toMatchObject({ status: 0, stderr: "" });
    // Not set up yet.
    const { lines } = await inside();
    expect(lines).toContainEqual(
      expect.stringMatching(
        /nas: sshd's disableforwarding is 'yes' for it and not 'no': it can't reach the fleet's cache/,
      ),
    );
    expect(lines).toContainEqual(
      expect.stringMatching(/router: a key of its isn't marked 'restrict,port-forwarding,permitopen=/),
    );
    expect(lines.filter((line) => line.includes("publisher"))).toEqual([]);

    await world.server.provision({ ...world.logins, cache: "127.0.0.1:5000" });
    expect(await inside()).toEqual({ status: 0, lines: ["the server is as it should be; hosts: 2"] });

    const right = await readFile(config(), "utf8");
    const changes = {
      "AllowTcpForwarding local": "AllowTcpForwarding yes",
      "PermitOpen 127.0.0.1:5000": "PermitOpen any",
      "PermitListen none": "PermitListen any",
      "AllowStreamLocalForwarding no": "AllowStreamLocalForwarding yes",
      "AllowAgentForwarding no": "AllowAgentForwarding yes",
      "X11Forwarding no": "X11Forwarding yes",
    };
    for (const [from, to] of Object.entries(changes)) {
      expect(right).toContain(from);
      await writeFile(config(), right.replace(from, to));
      const name = from.split(" ")[0]?.toLowerCase();
      const found = (await inside()).lines.map((line) => / sshd's (\w+) is/.exec(line)?.[1]);
      expect({ from, found }).toEqual({ from, found: [name, name] });
    }
    // Who leaves the fleet is let through no more, and who stays is.
    const { nas } = world.logins.hosts;
    if (nas === undefined) throw new Error("no nas");
    await world.server.provision({ ...world.logins, hosts: { nas }, cache: "127.0.0.1:5000" });
    expect(await readFile(config(), "utf8")).toContain(`Match User ${nas.login}\n  DisableForwarding no\n`);
    // Turned off again, nothing is left of it.
    await world.server.provision(world.logins);
    expect(await readFile(config(), "utf8")).not.toMatch(/PermitOpen|Forwarding (no|local)/);
  } finally {
    await writeFile(fleetYaml, before);
    expect((await bento(["render", "--fleet", fleet()])).status).toBe(0);
    await world.server.provision(world.logins);
  }
});

test("a fleet.json whose cache is something else than a number changes nothing", async () => {
  for (const cache of [
    "any",
    "localhost:5000",
    "127.0.0.1:5000 10.0.0.1:22",
    '127.0.0.1:5000"\nPermitOpen any',
    5000,
  ]) {
    await expect(world.server.provision({ ...world.logins, cache: cache as string })).rejects.toThrow(/server\.cache/);
  }
  expect(await inside()).toMatchObject({ status: 0 });
});
