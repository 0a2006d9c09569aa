import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import type { TriggerDocument } from "../../src/results.ts";
import { Hold } from "../support/hold.ts";
import { long } from "../support/long.ts";
import type { Machine } from "../support/machine.ts";
import { type Content, channelHost } from "../support/release.ts";
import { ShellAccess } from "../support/shell-access.ts";
import { World } from "../support/world.ts";
import { bento, bentoJson, startBento } from "./bento.ts";

let world: World;
let fleet: string;
let nas: Machine;
let shell: ShellAccess;
let other: ShellAccess;

beforeAll(async () => {
  world = await World.make({ hosts: ["nas", "web"] });
  nas = await world.machine("nas");
  shell = await ShellAccess.make(nas);
  other = await ShellAccess.make(await world.machine("web"));
  fleet = path.join(world.dir, "fleet");
  for (const host of ["nas", "web", "phone"]) {
    await mkdir(path.join(fleet, "hosts", host), { recursive: true });
    await writeFile(path.join(fleet, "hosts", host, "configuration.nix"), "{ }");
  }
  await reachedBy(shell.target);
});
afterAll(async () => {
  await shell?.[Symbol.asyncDispose]();
  await other?.[Symbol.asyncDispose]();
  await world?.[Symbol.asyncDispose]();
});

function reachedBy(ssh: string): Promise<void> {
  const hosts = { nas: { ssh }, web: { ssh: other.target }, phone: {} };
  return writeFile(path.join(fleet, "fleet.yaml"), JSON.stringify({ hosts }));
}

const args = (...hosts: string[]) => ["trigger", ...hosts, "--ssh-config", shell.config];
const options = () => ({ cwd: fleet });
const trigger = (...hosts: string[]) => bento(args(...hosts), options());

test("an upgrade starts now, its log comes as it is written, and its outcome is the exit status", async () => {
  await using hold = await Hold.make(nas, "check");
  await nas.healthCheck("hold", hold.script);
  const { manifest } = await world.publish("nas", channelHost("nas", 'environment.etc."a" = "1";'));
  const running = await startBento([...args("nas"), "--json"], options());
  let shown = "";
  running.child.stderr?.on("data", (data) => {
    shown += data;
  });
  await hold.reached();
  await vi.waitFor(() => expect(shown).toMatch(new RegExp(`activating ${manifest.toplevel}\n`)), { timeout: 30_000 });
  expect(shown).not.toContain("success");
  await hold.letGo();
  const { status, stdout, stderr } = await running.finished;
  expect(stderr).toMatch(/ success\n$/);
  expect(JSON.parse(stdout)).toEqual({
    version: 1,
    command: "trigger",
    hosts: [
      {
        name: "nas",
        status: "ok",
        outcome: "success",
        reason: null,
        sequence: manifest.sequence,
        running: manifest.toplevel,
        joined: false,
        error: null,
      },
    ],
  });
  expect(status).toBe(0);
  expect(await nas.running()).toBe(manifest.toplevel);
});

test("nothing new is no failure", async () => {
  const { status, stdout } = await trigger("nas");
  expect(stdout).toMatch(/^✓ {2}nas {2}unchanged {2}up to date with release \d+\n\n1 host: 1 ok\n$/);
  expect(status).toBe(0);
});

test("a connection that breaks on the way is made again, and the upgrade was none the worse for it", async () => {
  await using hold = await Hold.make(nas, "check");
  await nas.healthCheck("hold", hold.script);
  const { manifest } = await world.publish("nas", channelHost("nas", 'environment.etc."a" = "2";'));
  const running = await startBento(args("nas"), options());
  let shown = "";
  running.child.stderr?.on("data", (data) => {
    shown += data;
  });
  await hold.reached();
  await vi.waitFor(() => expect(shown).toContain("activating"), { timeout: 30_000 });
  await shell.cut();
  await vi.waitFor(() => expect(shown).toMatch(/: the upgrade goes on there\n/), { timeout: 30_000 });
  await hold.letGo();
  await vi.waitFor(async () => expect(await nas.state("last.json")).toMatchObject({ sequence: manifest.sequence }), {
    timeout: 30_000,
  });
  await shell.start();
  const { status, stdout, stderr } = await running.finished;
  expect(stdout).toMatch(/^✓ {2}nas {2}success\n/);
  expect(status).toBe(0);
  // Each line once, whichever connection it came over.
  expect(stderr.match(/activating/g)).toHaveLength(1);
  expect(stderr).toMatch(/ success\n$/);
});

test("a connection that doesn't come back: what is not known isn't told as a success", async () => {
  await using hold = await Hold.make(nas, "check");
  await nas.healthCheck("hold", hold.script);
  const { manifest } = await world.publish("nas", channelHost("nas", 'environment.etc."a" = "3";'));
  const running = await startBento([...args("nas"), "--patience", "1s"], options());
  await hold.reached();
  await shell.cut();
  const { status, stdout } = await running.finished;
  expect(stdout).toMatch(
    /✗ {2}nas {2}failed\n {4}it can't be reached any more: ssh: .*isn't known\n {4}→ bento status/,
  );
  expect(status).toBe(1);
  await hold.letGo();
  await shell.start();
  // To its very end: the next one can't begin before.
  await vi.waitFor(
    async () => {
      expect(JSON.parse((await nas.agent({}, ["status", "--json"])).stdout)).toMatchObject({
        upgrading: false,
        last: { outcome: "success" },
        sequence: manifest.sequence,
      });
    },
    { timeout: 30_000 },
  );
});

/** A host with a package whose build says so much: lines of 4,000 characters, each with its number. */
function talkative(lines: number): Content {
  const script = `PATH=/usr/bin:/bin; awk 'BEGIN { for (i = 1; i <= ${lines}; i++) printf "line %d %03989d\\n", i, 0 }'; mkdir $out`;
  return channelHost(
    "nas",
    `environment.systemPackages = [ (derivation {
      name = "talkative-${lines}"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" ''${script}'' ];
    }) ];`,
  );
}

long(
  "a log is followed to its end, however long; what is more than anybody reads isn't sent",
  async () => {
    const { manifest } = await world.publish("nas", talkative(3_000));
    const long = await trigger("nas");
    expect(long.stderr).toMatch(/line 1 0/);
    // Beyond 8 MiB.
    expect(long.stderr).toMatch(/line 2999 0/);
    expect(long.stderr).toMatch(/ success\n$/);
    expect([long.status, await nas.running()]).toEqual([0, manifest.toplevel]);

    await world.publish("nas", talkative(12_000));
    const endless = await bentoJson<TriggerDocument>(args("nas"), options());
    expect(endless.stderr).toMatch(/line 1 0/);
    expect(endless.stderr).not.toMatch(/line 11999 0/);
    expect(endless.stderr).toMatch(/ it says more than is followed here; .*\n(.*\n)*.* success\n$/);
    expect(endless.document.hosts).toMatchObject([{ status: "ok", outcome: "success" }]);
    expect(endless.status).toBe(0);
  },
  180_000,
);

test("an upgrade that is running already is joined", async () => {
  await using hold = await Hold.make(nas, "check");
  await nas.healthCheck("hold", hold.script);
  await world.publish("nas", channelHost("nas", 'environment.etc."a" = "4";'));
  const timer = nas.startAgent();
  await hold.reached();
  const running = await startBento([...args("nas"), "--json"], options());
  let shown = "";
  running.child.stderr?.on("data", (data) => {
    shown += data;
  });
  await vi.waitFor(() => expect(shown).toContain("activating"), { timeout: 30_000 });
  await hold.letGo();
  const { stdout, status } = await running.finished;
  expect((await timer.done).status).toBe(0);
  expect(JSON.parse(stdout).hosts).toMatchObject([{ status: "ok", outcome: "success", joined: true }]);
  expect(status).toBe(0);
});

test("one that is undone there is a failure here; and the other hosts are upgraded", async () => {
  await nas.healthCheck("says-no", "printf 'it \\033[31mhurts\\n'; exit 1");
  await world.publish("nas", channelHost("nas", 'environment.etc."a" = "5";'));
  const { manifest } = await world.publish("web", channelHost("web", 'environment.etc."a" = "1";'));
  await using quick = await ShellAccess.make(nas, "export BENTO_CONFIRM_TIMEOUT=3");
  await reachedBy(quick.target);
  // Their keys differ, as do their host keys.
  const both = path.join(world.dir, "both");
  const identities = [quick, other].map(({ identity }) => `IdentityFile ${identity}\n`).join("");
  await writeFile(both, `${identities}UserKnownHostsFile ${quick.knownHosts} ${other.knownHosts}\n`);
  const { status, stdout, stderr } = await bento(["trigger", "nas,web", "--ssh-config", both], options());
  expect(stdout).toMatch(/^✗ {2}nas {2}rolled back {2}the health check says-no failed: .*hurts\n✓ {2}web {2}success\n/);
  expect(stdout).toMatch(/\n2 hosts: 1 failed, 1 ok\n$/);
  expect(status).toBe(1);
  expect(stderr).toMatch(/^web: .* success$/m);
  expect(stderr).not.toContain("\u001b");
  expect(await (await world.machine("web")).running()).toBe(manifest.toplevel);
  await reachedBy(shell.target);
  const again = await trigger("nas");
  expect(again.stdout).toMatch(
    /^✗ {2}nas {2}failed {2}release \d+ cut this machine off before, and is not tried again\n/,
  );
  expect(again.status).toBe(1);
}, 120_000);

test("suspended there, nothing is started, and it says until when and why", async () => {
  expect((await nas.agent({}, ["suspend", "--for", "3d", "--reason", "a fair"])).status).toBe(0);
  const { status, stdout, stderr } = await trigger("nas");
  expect(stdout).toMatch(
    /✗ {2}nas {2}failed\n {4}upgrades are suspended there until \S+Z: a fair\n {4}→ bento-agent resume/,
  );
  expect([status, stderr]).toEqual([1, ""]);
  expect((await nas.agent({}, ["resume"])).status).toBe(0);
});

test("nobody answers, another machine answers, or one without an agent", async () => {
  await reachedBy(other.target);
  const wrong = await bento(["trigger", "nas", "--ssh-config", other.config], options());
  expect(wrong.stdout).toContain("the machine that ssh: leads to is 'web'");
  expect(wrong.status).toBe(1);
  await reachedBy("root@127.0.0.1:1");
  const nobody = await bentoJson<TriggerDocument>(args("nas"), options());
  expect(nobody.document.hosts).toMatchObject([{ status: "failed", error: { message: /refused/ } }]);
  expect(nobody.document.hosts[0]?.error?.message).toMatch(/^ssh: .*Connection refused/);
  await reachedBy(shell.target);
  const unknown = path.join(world.dir, "unknown");
  await writeFile(unknown, "UserKnownHostsFile /dev/null\nGlobalKnownHostsFile /dev/null\n");
  const unpinned = await bento(["trigger", "nas", "--ssh-config", unknown], options());
  expect(unpinned.stdout).toContain("ssh doesn't know its host key, or knows another one");
  await using bare = await ShellAccess.make(await world.machine("web"), "PATH=/usr/bin:/bin");
  await reachedBy(bare.target);
  const agentless = await bento(["trigger", "nas", "--ssh-config", bare.config], options());
  expect(agentless.stdout).toContain("there is no bento-agent");
  await reachedBy(shell.target);
});

test("what a host prints is inert, whatever it is, and however much", async () => {
  const hostile = `bento-agent() {
  case $1 in
    version) ;;
    status) printf '{ "version": 1,\\n  "host": "nas",\\n  "suspended": null, "last": null, "x": "\\033" }\\n' ;;
    serve) printf '\\033]0;x\\007\\033[2J::error::x\\r\\n\\342\\200\\256exit 0\\n'; yes | head -n 30000; head -c 2000000 /dev/zero | tr '\\0' x; echo; yes ;;
  esac
}`;
  const script = hostile.split("\n").slice(1, -1).join("\n");
  const bin = path.join(world.dir, "hostile");
  await mkdir(bin);
  await writeFile(path.join(bin, "bento-agent"), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  await using evil = await ShellAccess.make(await world.machine("web"), `PATH=${bin}:$PATH`);
  await reachedBy(evil.target);
  const { status, stdout, stderr } = await bento(
    ["trigger", "nas", "--ssh-config", evil.config, "--patience", "0"],
    options(),
  );
  // biome-ignore lint/suspicious/noControlCharactersInRegex: there must be none.
  expect(stdout + stderr).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e]/);
  expect(stderr.length).toBeLessThan(100_000);
  expect(stdout).toContain("it said more than anybody would read");
  expect(status).toBe(1);
  await reachedBy(shell.target);
});

test("a host that fleet.yaml doesn't know, or doesn't say how to reach: nothing is done", async () => {
  const unreachable = await trigger("nas,phone");
  expect(unreachable).toMatchObject({ status: 2, stdout: "" });
  expect(unreachable.stderr).toMatch(/^error: fleet\.yaml doesn't say how phone is reached\n→ ssh: root@ADDRESS/);
  const unknown = await trigger("nasa");
  expect(unknown).toMatchObject({ status: 2, stderr: expect.stringContaining("did you mean 'nas'?") });
  expect((await bento(["trigger"], options())).status).toBe(2);
});
