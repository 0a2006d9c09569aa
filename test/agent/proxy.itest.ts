import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeKey } from "../support/keys.ts";
import { channelHost } from "../support/release.ts";
import { Sshd } from "../support/sshd.ts";
import { World } from "../support/world.ts";

/** Servers that only something in between leads to. What is pinned stays pinned. */
let world: World;
const hosts = ["proxied", "jumping"];
beforeAll(async () => {
  world = await World.make({ hosts });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

test("through a command: the name is the proxy's to know, and the port is any", async () => {
  const machine = await world.machine("proxied");
  const server = { address: "abcdefghijklmnop.onion", port: 2 };
  await writeFile(machine.path("etc/bento.json"), world.agentSettings({ server }));
  const [config, asked] = [machine.path("etc/proxy"), machine.path("asked")];
  const proxy = (to: number) => `echo %h:%p >> ${asked}; exec socat - TCP4:127.0.0.1:${to}`;
  await writeFile(config, `ProxyCommand sh -c '${proxy(world.server.port)}'\n`);
  const { manifest } = await world.publish(
    "proxied",
    channelHost("proxied", "environment.systemPackages = [ pkgs.curl ];"),
  );
  const { status, stderr } = await machine.agent({ BENTO_SSH_CONFIG: config });
  expect(stderr).toMatch(/\nsuccess\n$/);
  expect(status).toBe(0);
  expect(await machine.running()).toBe(manifest.toplevel);
  expect(await world.report("proxied")).toMatchObject({ outcome: "success" });
  expect(new Set((await readFile(asked, "utf8")).trim().split("\n"))).toEqual(new Set(["abcdefghijklmnop.onion:2"]));

  // Somebody else at the proxy's other end.
  const stranger = await otherSshd("stranger");
  await writeFile(config, `ProxyCommand sh -c '${proxy(stranger.port)}'\nStrictHostKeyChecking no\n`);
  const wrong = await machine.agent({ BENTO_SSH_CONFIG: config });
  await stranger.stop();
  expect(wrong.stderr).toMatch(/^no contact: sftp: \S+onion:2 showed another host key than the pinned one; /);
  expect(wrong.status).toBe(1);

  // None at all.
  await writeFile(config, "ProxyCommand sh -c 'echo the proxy is down >&2; exit 1'\n");
  const down = await machine.agent({ BENTO_SSH_CONFIG: config });
  expect(down.stderr).toMatch(/^no contact: sftp: \S+onion:2 can't be reached: /);
  expect(down.status).toBe(75);
});

test("through a jump host, as docs/tor.md has it", async () => {
  const machine = await world.machine("jumping");
  const jump = await otherSshd("jump", machine.key.publicKey);
  const text = await readFile(path.join(import.meta.dirname, "../../docs/tor.md"), "utf8");
  const [, documented = ""] = /sshConfig = ''\n([\s\S]*?)^'';/m.exec(text) ?? [];
  const known = path.join(world.dir, "jump/known_hosts");
  const key = (await readFile(path.join(world.dir, "jump/host_key.pub"), "utf8")).split(" ").slice(0, 2).join(" ");
  await writeFile(known, `jump.example.org ${key}\n`);
  // What this world has elsewhere.
  const lines = documented
    .replace("/etc/ssh/ssh_host_ed25519_key", machine.key.file)
    .replace(
      "  User bento\n",
      `  User root\n  HostName 127.0.0.1\n  Port ${jump.port}\n  UserKnownHostsFile ${known}\n  HostKeyAlias jump.example.org\n`,
    );
  expect(lines).toContain(`Port ${jump.port}`);
  const config = machine.path("etc/jump");
  await writeFile(config, lines);
  const { manifest } = await world.publish(
    "jumping",
    channelHost("jumping", "environment.systemPackages = [ pkgs.curl ];"),
  );
  const { status, stderr } = await machine.agent({ BENTO_SSH_CONFIG: config });
  expect(stderr).toMatch(/\nsuccess\n$/);
  expect(status).toBe(0);
  expect(await machine.running()).toBe(manifest.toplevel);
  await jump.stop();
  expect((await machine.agent({ BENTO_SSH_CONFIG: config })).status).toBe(75);
});

/** An sshd that isn't the fleet's; `key` may go on from there, and nothing else. */
async function otherSshd(name: string, key = ""): Promise<Sshd> {
  const dir = path.join(world.dir, name);
  await mkdir(dir);
  const hostKey = await makeKey(path.join(dir, "host_key"));
  await writeFile(path.join(dir, "authorized_keys"), `restrict,port-forwarding ${key}\n`);
  const config = [
    ...["ListenAddress 127.0.0.1", `HostKey ${hostKey.file}`, "PermitRootLogin yes", "UsePAM no", "PidFile none"],
    ...["PasswordAuthentication no", "StrictModes no", `AuthorizedKeysFile ${dir}/authorized_keys`],
  ];
  await writeFile(path.join(dir, "config"), `${config.join("\n")}\n`);
  const sshd = new Sshd(path.join(dir, "config"), { BENTO_TEST_WORLD: world.dir });
  await sshd.start();
  return sshd;
}
