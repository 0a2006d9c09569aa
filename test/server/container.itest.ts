import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { PassThrough } from "node:stream";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { packageRoot } from "../../src/platform/package.ts";
import { CLI, onlyEnvironment } from "../cli/bento.ts";
import { buildServerImage, Container } from "../support/container.ts";
import { type KeyPair, makeKey } from "../support/keys.ts";
import { sshOptions } from "../support/logins.ts";
import { exec, kill, start, succeed } from "../support/programs.ts";
import { type WorldDirectory, worldDirectory } from "../support/world-directory.ts";

/**
 * utils/server/Containerfile, built and run. Takes a minute or two, so only with --all; and podman, crun, and in BENTO_TEST_ROOT
 * a directory with a Debian's files (debootstrap --variant=minbase stable DIR), since not every machine can pull an image.
 */
const root = process.env.BENTO_TEST_ROOT ?? "";
const missing = [
  ...(process.env.BENTO_TEST_ALL === "1" ? [] : ["--all"]),
  ...(existsSync(path.join(root, "etc/debian_version")) ? [] : ["BENTO_TEST_ROOT=/path/to/a/Debian's/root"]),
  ...["podman", "crun"].filter(
    (program) => !(process.env.PATH ?? "").split(":").some((dir) => existsSync(path.join(dir, program))),
  ),
];

describe.skipIf(missing.length > 0)(`the container${missing.length ? ` (needs ${missing.join(", ")})` : ""}`, () => {
  const cleanup = new AsyncDisposableStack();
  const keys: Record<string, KeyPair> = {};
  const at = (...parts: string[]) => path.join(world.path, ...parts);
  const volumes = () => ({ "/fleet": at("fleet"), "/srv/bento": at("chroots"), "/var/lib/bento-server": at("state") });
  let world: WorldDirectory;
  let image: { mount: string };
  let server: Container;
  let hostKey = "";

  beforeAll(async () => {
    world = cleanup.use(await worldDirectory());
    image = cleanup.use(await buildServerImage(`bento-test-${process.pid}`, root));
    for (const name of ["publisher", "signing", "nas", "router"]) keys[name] = await makeKey(at(`key-${name}`));
    for (const dir of ["chroots", "state", "fleet"]) await mkdir(at(dir));
    for (const host of ["nas", "router"]) {
      await mkdir(at("fleet/hosts", host), { recursive: true });
      await writeFile(at("fleet/hosts", host, "configuration.nix"), `{ services.bento.enable = true; } # ${host}\n`);
    }
    await git("init", "-q", "-b", "main");
    server = await Container.run(at("container"), `bento-test-${process.pid}`, image, volumes());
  }, 400_000);

  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
    await cleanup.disposeAsync();
  });

  async function git(...args: string[]) {
    return succeed("git", ["-C", at("fleet"), "-c", "user.name=Ada", "-c", "user.email=ada@example.org", ...args]);
  }

  async function bento(...args: string[]) {
    const [program = "", ...before] = await server.inNetwork();
    const env = onlyEnvironment({
      BENTO_SSH_KEY_FILE: keys.publisher?.file,
      BENTO_SIGNING_KEY_FILE: keys.signing?.file,
    });
    return exec(program, [...before, process.execPath, CLI, ...args, "--fleet", at("fleet")], { env });
  }

  /** The administrator's edit of fleet.yaml, and `bento render`, which replaces fleet.json by a new file. */
  async function setHosts(...names: string[]) {
    await setFleet(names);
  }

  async function setFleet(names: string[], more: object = {}) {
    const hosts = Object.fromEntries(names.map((name) => [name, { key: keys[name]?.publicKey }]));
    const publishers = [keys.publisher?.publicKey];
    const settings = { address: "127.0.0.1", hostKeys: [hostKey], publishers };
    await writeFile(
      at("fleet/fleet.yaml"),
      stringify({ server: settings, signers: [keys.signing?.publicKey], hosts, ...more }),
    );
    await succeed(process.execPath, [CLI, "render", "--fleet", at("fleet")]);
    await git("add", "-A");
    await git("commit", "-q", "-m", `the hosts ${names}, ${Object.keys(more)}`);
  }

  /** How the agent's own fetcher is called. */
  async function fetcher(host: string, ...args: string[]) {
    const [program = "", ...before] = await server.inNetwork();
    await mkdir(at("run"), { recursive: true });
    const env = {
      BENTO_HOST: host,
      BENTO_RUN: at("run"),
      BENTO_CONFIG: at("fleet/utils/bento.json"),
      BENTO_KEY: keys[host]?.file,
    };
    const words = [...before, "bash", path.join(packageRoot(), "utils/agent/fetchers/sftp"), ...args];
    return [program, words, { env }] as const;
  }

  async function poll(host: string) {
    return exec(...(await fetcher(host, "poll")));
  }

  /** What a host is given of the cache at an address, as the server sees that, through the server; and what ssh said of it. */
  async function throughServer(host: string, target: string): Promise<{ stdout: string; said: string }> {
    const [program = "", ...before] = await server.inNetwork();
    const log = at("run/forward.log");
    const [sftp, words, options] = await fetcher(host, "forward", target, log);
    // It ends with its input.
    const input = new PassThrough();
    const forwarding = start(sftp, words, { ...options, input });
    const ended = forwarding.done.then(({ stderr }) => {
      throw new Error(`no way to ${target}: ${stderr}`);
    });
    const [port] = await Promise.race([once(forwarding.child.stdout ?? forwarding.child, "data"), ended]);
    ended.catch(() => {});
    const url = `http://127.0.0.1:${String(port).trim()}/nix-cache-info`;
    const { stdout } = await exec(program, [...before, "curl", "-qsS", "--max-time", "20", url]);
    input.end();
    await forwarding.done;
    return { stdout, said: await readFile(log, "utf8") };
  }

  async function client(name: "ssh" | "sftp" | "scp", who: string, args: string[], input = "") {
    const [program = "", ...before] = await server.inNetwork();
    const options = await sshOptions({ address: "127.0.0.1", port: 22, hostKey, dir: world.path }, keys[who]);
    return exec("timeout", ["20", program, ...before, name, ...options, ...args], { input });
  }

  test("waits for a fleet.json, sets itself up, and prints the host key to pin", async () => {
    await server.says(/there is no \/fleet\/fleet\.json/);
    expect((await server.exec("/usr/local/lib/bento/healthcheck")).status).toBe(1);
    // Any key will do to render with; the server's own isn't known before its first start.
    hostKey = keys.nas?.publicKey ?? "";
    await setHosts("nas");
    await server.says(/^Server listening on 0\.0\.0\.0 port 22/);
    hostKey = /its host key, .*: (ssh-ed25519 \S+)/.exec(server.log)?.[1] ?? "";
    await setHosts("nas");
    expect((await server.exec("/usr/local/lib/bento/healthcheck")).status).toBe(0);
    const checked = await server.exec("bento-server-check");
    expect(checked.stdout).toBe("the server is as it should be; hosts: 1\n");
  });

  test("a deploy goes in, and the host gets it", async () => {
    const deployed = await bento("deploy", "--no-eval");
    expect(deployed.stderr + deployed.stdout).toMatch(/nas/);
    expect(deployed.status).toBe(0);
    const polled = await poll("nas");
    expect(polled).toMatchObject({ status: 0, stderr: "" });
    expect(JSON.parse(polled.stdout)).toMatchObject({ payload: expect.any(String), signature: expect.any(String) });
  });

  test("a host that is added can poll within seconds, one that leaves is refused, and a session stays", async () => {
    expect((await poll("router")).status).toBe(77);
    const [program = "", ...before] = await server.inNetwork();
    const options = await sshOptions({ address: "127.0.0.1", port: 22, hostKey, dir: world.path }, keys.nas);
    const session = spawn(program, [...before, "sftp", "-q", "-b", "-", ...options, "nas@127.0.0.1"]);
    session.stdin.write("ls\n");
    await once(session.stdout, "data");

    const from = server.logged;
    await setHosts("nas", "router");
    await server.says(/set up; hosts: 2/, from);
    await server.says(/Server listening/, from);
    expect(await poll("router")).toMatchObject({ status: 0, stdout: "" });
    expect((await bento("deploy", "--no-eval")).status).toBe(0);
    expect(JSON.parse((await poll("router")).stdout)).toHaveProperty("payload");

    const removed = server.logged;
    await setHosts("nas");
    await server.says(/removed the login router; its chroot is left/, removed);
    await server.says(/set up; hosts: 1/, removed);
    expect((await poll("router")).status).toBe(77);
    expect((await poll("nas")).status).toBe(0);
    const ended = once(session, "exit");
    session.stdin.end("ls\n");
    expect(await ended).toEqual([0, null]);
    expect((await stat(at("chroots/router/releases/current"))).size).toBeGreaterThan(0);
  });

  test("a fleet.json that is cut off, or gone, leaves everything as it was, and is said", async () => {
    const whole = await readFile(at("fleet/fleet.json"), "utf8");
    let from = server.logged;
    await writeFile(at("fleet/fleet.json"), whole.slice(0, 100));
    from = await server.says(/fleet\.json can't be used/, from);
    await server.says(/what was set up stays/, from);
    expect((await poll("nas")).status).toBe(0);
    await writeFile(at("fleet/fleet.json"), whole);
    await server.says(/set up; hosts: 1/, from);
  });

  test("nobody gets a shell, a command or a tunnel, and no host sees another's", async () => {
    const from = server.logged;
    await setHosts("nas", "router");
    await server.says(/set up; hosts: 2/, from);
    for (const who of ["nas", "publisher"]) {
      const login = `${who === "publisher" ? "bento" : who}@127.0.0.1`;
      const shell = await client("ssh", who, [login], "echo shell-$((6*7))\n");
      expect(shell.stdout).not.toContain("shell-42");
      const command = await client("ssh", who, [login, "echo command-$((6*7)); cat /etc/passwd"]);
      expect(command.stdout).not.toMatch(/command-42|root:/);
      const copied = await client("scp", who, ["-O", at("key-nas.pub"), `${login}:/copied`]);
      expect(copied.status).not.toBe(0);
      const through = await client("ssh", who, ["-W", "127.0.0.1:22", login]);
      expect(through.stdout).not.toContain("SSH-2.0");
      expect(through.stderr).toMatch(/administratively prohibited|forwarding failed/);
      const remote = await client("ssh", who, [
        "-o",
        "ExitOnForwardFailure=yes",
        "-N",
        "-R",
        "2022:127.0.0.1:22",
        login,
      ]);
      expect(remote.stderr).toMatch(/remote port forwarding failed/);
      const tunnel = await client("ssh", who, ["-o", "ExitOnForwardFailure=yes", "-N", "-w", "any", login]);
      expect(tunnel.status).not.toBe(0);
    }
    const seen = await client("sftp", "nas", ["-q", "-b", "-", "nas@127.0.0.1"], "ls -1a /\n");
    expect(seen.stdout).not.toMatch(/router|\.bento|etc/);
    const other = await client("sftp", "nas", ["-q", "-b", "-", "nas@127.0.0.1"], "ls /../router/releases\n");
    expect(other.status).toBe(1);
    const asRouter = await client("sftp", "nas", ["-q", "-b", "-", "router@127.0.0.1"], "ls\n");
    expect(asRouter.status).toBe(255);
    const write = await client(
      "sftp",
      "nas",
      ["-q", "-b", "-", "nas@127.0.0.1"],
      `put ${at("key-nas.pub")} /releases/x\n`,
    );
    expect(write.status).toBe(1);
  });

  test("cache: { over: ssh }: hosts get the cache that the container reaches, and nothing else through it", async () => {
    const [program = "", ...before] = await server.inNetwork();
    const info = "StoreDir: /nix/store\n";
    const script = `require("node:http").createServer((_, response) => response.end(${JSON.stringify(info)})).listen(5000, "127.0.0.1", () => console.log("listens"))`;
    const cache = start(program, [...before, process.execPath, "-e", script]);
    try {
      await once(cache.child.stdout ?? cache.child, "data");
      const from = server.logged;
      await setFleet(["nas", "router"], {
        substituters: [{ url: "http://127.0.0.1:5000", key: `cache-1:${"A".repeat(43)}=` }],
        cache: { over: "ssh" },
      });
      await server.says(/set up; hosts: 2/, from);
      await server.says(/Server listening/, from);
      for (const host of ["nas", "router"]) {
        expect(await throughServer(host, "127.0.0.1:5000")).toMatchObject({ stdout: info });
      }
      for (const target of ["127.0.0.1:22", "127.0.0.1:5001", "localhost:5000"]) {
        const { stdout, said } = await throughServer("nas", target);
        expect([stdout, said]).toEqual(["", expect.stringContaining("administratively prohibited")]);
      }
      const publisher = await client("ssh", "publisher", ["-W", "127.0.0.1:5000", "bento@127.0.0.1"]);
      expect(publisher.stderr).toMatch(/administratively prohibited|forwarding failed/);
      expect((await server.exec("bento-server-check")).stdout).toBe("the server is as it should be; hosts: 2\n");

      // Without it, as before.
      const without = server.logged;
      await setHosts("nas", "router");
      await server.says(/set up; hosts: 2/, without);
      await server.says(/Server listening/, without);
      const { stdout, said } = await throughServer("nas", "127.0.0.1:5000");
      expect([stdout, said]).toEqual(["", expect.stringContaining("administratively prohibited")]);
    } finally {
      kill([cache.pid], "SIGTERM");
      await cache.done;
    }
  });

  test("ends at once, and a new container goes on with the same key and the same chroots", async () => {
    const began = Date.now();
    expect(await server.stop()).toBe(0);
    expect(Date.now() - began).toBeLessThan(10_000);
    await server[Symbol.asyncDispose]();
    server = await Container.run(at("container-2"), `bento-test-${process.pid}-2`, image, volumes());
    await server.says(/^Server listening/);
    expect(server.log).toContain(hostKey);
    expect(JSON.parse((await poll("nas")).stdout)).toHaveProperty("payload");
    expect((await server.exec("bento-server-check")).stdout).toContain("the server is as it should be");
  });
});
