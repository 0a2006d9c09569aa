import { readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Hold } from "../support/hold.ts";
import { long } from "../support/long.ts";
import { succeed } from "../support/programs.ts";
import { channelHost, flakeHost } from "../support/release.ts";
import { World } from "../support/world.ts";

let world: World;
const hosts = ["plain", "flaky", "same", "early", "twice", "custom", "quiet", "wrong", "lost", "big"];
beforeAll(async () => {
  world = await World.make({ hosts });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

test("a host without flakes takes its release, boots it, and says so", async () => {
  const machine = await world.machine("plain");
  const { manifest } = await world.publish(
    "plain",
    channelHost("plain", "environment.systemPackages = [ pkgs.nginx ];"),
  );

  const { status, stderr } = await machine.agent({ BENTO_CONFIRM_PASSES: undefined });
  expect(stderr.split("\n")).toEqual([
    `release ${manifest.sequence}: ${manifest.subject}`,
    "fetching",
    "building",
    `activating ${manifest.toplevel}`,
    "confirmation 1 of 3",
    "confirmation 2 of 3",
    "confirmation 3 of 3",
    "success",
    "",
  ]);
  expect(status).toBe(0);
  expect(await machine.running()).toBe(manifest.toplevel);
  expect(await machine.profile()).toBe(manifest.toplevel);
  expect(await machine.bootDefault()).toBe(manifest.toplevel);
  expect(await succeed(`${manifest.toplevel}/sw/bin/nginx`, [])).toContain("nginx");

  const report = await world.report("plain");
  expect(report).toEqual({
    version: 1,
    host: "plain",
    sequence: manifest.sequence,
    digest: manifest.digest,
    commit: manifest.commit,
    outcome: "success",
    reason: null,
    from: machine.factory,
    to: manifest.toplevel,
    expected: manifest.toplevel,
    started: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    finished: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    bootId: (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim(),
    agent: "0.1.0",
  });
  expect(await world.heartbeat("plain")).toEqual({
    version: 1,
    host: "plain",
    time: expect.stringMatching(/Z$/),
    agent: "0.1.0",
    running: manifest.toplevel,
    booted: machine.factory,
    profile: manifest.toplevel,
    sequence: manifest.sequence,
    suspended: false,
    reboot: false,
    bootId: report.bootId,
  });

  const again = await machine.agent();
  expect(again.stderr).toBe(`up to date with release ${manifest.sequence}\n`);
  expect(again.status).toBe(0);
  expect(await world.outcomes("plain")).toEqual(["success"]);
});

test("the log of an attempt lies beside its report, for the publisher to read", async () => {
  const reports = path.join(world.server.chroot("plain"), "reports");
  const names = await readdir(reports);
  const log = names.find((name) => name.endsWith(".log.gz"));
  expect(names.sort()).toEqual(["heartbeat.json", "latest.json", log, log?.replace(/log\.gz$/, "json")].sort());
  expect(await succeed("zcat", [path.join(reports, log ?? "")])).toMatch(/^\d\d:\d\d:\d\d confirmation 3 of 3$/m);
  const modes = await Promise.all(names.map(async (name) => (await stat(path.join(reports, name))).mode & 0o777));
  expect(new Set(modes)).toEqual(new Set([0o640]));
});

test("a flake host comes to the very system that was checked", async () => {
  const machine = await world.machine("flaky");
  const { manifest } = await world.publish(
    "flaky",
    flakeHost("flaky", world.store, "environment.systemPackages = [ pkgs.git ];"),
  );
  expect(manifest.kind).toBe("flake");
  const { status, stderr } = await machine.agent();
  expect(stderr).toMatch(/success\n$/);
  expect(status).toBe(0);
  expect(await machine.running()).toBe(manifest.toplevel);
  expect(await machine.bootDefault()).toBe(manifest.toplevel);
  expect((await world.report("flaky")).outcome).toBe("success");
});

long("a flake that comes to another system than the one checked is not activated", async () => {
  const machine = await world.machine("flaky");
  const before = await machine.running();
  const changed = flakeHost("flaky", world.store, 'networking.gateway = "127.0.0.1";\nboot.kernelVersion = "7.0";');
  const { manifest } = await world.publish("flaky", changed, { manifest: { toplevel: before } });
  const { status, stderr } = await machine.agent({ BENTO_BUILD: "source" });
  expect(stderr).toMatch(/failed: it built \S+-nixos-system-flaky-26\.05, where the fleet expects /);
  expect(stderr).toContain(manifest.toplevel);
  expect(status).toBe(1);
  expect(await machine.running()).toBe(before);
});

test("a new commit that changes nothing about the system makes no new generation", async () => {
  const machine = await world.machine("same");
  await world.publish("same", channelHost("same"));
  expect((await machine.agent()).status).toBe(0);
  const generations = await machine.generations();
  const running = await machine.running();

  const { manifest } = await world.publish("same", channelHost("same", "# only a comment"));
  const { status, stderr } = await machine.agent();
  expect(stderr).toMatch(/\nunchanged\n$/);
  expect(status).toBe(0);
  expect(await machine.generations()).toBe(generations);
  expect(await machine.running()).toBe(running);
  expect(await world.report("same")).toMatchObject({ outcome: "unchanged", sequence: manifest.sequence });
  expect((await machine.agent()).stderr).toBe(`up to date with release ${manifest.sequence}\n`);
});

long("of its reports on the server as many stay as are wanted, and the log of each", async () => {
  const machine = await world.machine("same");
  const names = async () =>
    (await readdir(path.join(world.server.chroot("same"), "reports"))).filter((name) => /^\d/.test(name)).sort();
  const before = await names();
  for (const comment of ["one", "two", "three"]) {
    await world.publish("same", channelHost("same", `# ${comment}`));
    expect((await machine.agent({ BENTO_KEEP_REPORTS: "2" })).status).toBe(0);
  }
  // What is delivered comes on top of what stays.
  const after = await names();
  expect(after.filter((name) => name.endsWith(".json"))).toHaveLength(3);
  expect(after.filter((name) => name.endsWith(".log.gz"))).toHaveLength(3);
  expect(after.filter((name) => before.includes(name))).toEqual([]);
});

test("another kernel waits for a restart, and the heartbeat says so", async () => {
  const machine = await world.machine("same");
  await world.publish("same", channelHost("same", 'boot.kernelVersion = "7.0";'));
  expect((await machine.agent()).status).toBe(0);
  expect(await world.heartbeat("same")).toMatchObject({ running: await machine.running(), reboot: true });
});

long("a manifest without a system, from a runner without Nix, is built all the same", async () => {
  const machine = await world.machine("early");
  const { manifest } = await world.publish("early", channelHost("early", 'environment.etc."motd" = "hi";'), {
    evaluate: false,
  });
  expect(manifest.toplevel).toBeNull();
  expect((await machine.agent()).status).toBe(0);
  expect(await readFile(machine.path("etc/motd"), "utf8")).toBe("hi");
  expect(await world.report("early")).toMatchObject({
    outcome: "success",
    expected: null,
    to: await machine.running(),
  });
});

test("a host that has no release yet waits for one, and is known to be alive", async () => {
  const machine = await world.machine("quiet");
  const { status, stderr } = await machine.agent();
  expect(stderr).toBe("nothing has been published for quiet yet\n");
  expect(status).toBe(0);
  expect(await world.said("quiet")).toMatchObject({ state: "read", report: null });
  expect(await world.heartbeat("quiet")).toMatchObject({ sequence: null, running: machine.factory });
  expect(await world.heartbeat("quiet")).not.toHaveProperty("interval");
  for (const [interval, seconds] of [
    ["*:02/15:31", 900],
    ["hourly", 3600],
    ["Mon..Fri 02:00", 3 * 86_400],
  ] as const) {
    // Twice, since it is remembered.
    await machine.agent({ BENTO_INTERVAL: interval });
    await machine.agent({ BENTO_INTERVAL: interval });
    expect(await world.heartbeat("quiet")).toMatchObject({ interval: seconds });
  }
  await machine.agent({ BENTO_INTERVAL: "whenever" });
  expect(await world.heartbeat("quiet")).not.toHaveProperty("interval");
  const shown = await machine.agent({}, ["status"]);
  expect(shown.stdout).toMatch(/^release +none yet$/m);
  expect(shown.stdout).toMatch(/^last +no attempt yet$/m);
});

test("a second agent leaves the first one alone", async () => {
  const machine = await world.machine("twice");
  await using hold = await Hold.make(machine, "check");
  await machine.healthCheck("wait", hold.script);
  await world.publish("twice", channelHost("twice", "environment.systemPackages = [ pkgs.curl ];"));
  const first = machine.startAgent({ BENTO_CONFIRM_TIMEOUT: "60" });
  await hold.reached();
  const second = await machine.agent();
  expect(second.stderr).toBe("another upgrade is running\n");
  expect(second.status).toBe(75);
  await hold.letGo();
  expect((await first.done).status).toBe(0);
  expect(await world.outcomes("twice")).toEqual(["success"]);
});

test("an executable of one's own can bring releases and take reports", async () => {
  const machine = await world.machine("custom");
  const { manifest, envelope, archive } = await world.release(
    "custom",
    channelHost(
      "custom",
      "environment.systemPackages = [ pkgs.git ]; system.activationScript = ''cat /proc/self/oom_score_adj > $MACHINE/etc/own'';",
    ),
  );
  const place = machine.path("place");
  await succeed("mkdir", ["-p", `${place}/reports`]);
  await writeFile(`${place}/envelope`, envelope);
  await writeFile(`${place}/archive`, archive.bytes);
  const fetcher = machine.path("fetcher");
  const script = `#!/bin/sh
set -eu
case $1 in
  poll) cat ${place}/envelope ;;
  fetch) cat /proc/self/oom_score_adj > ${place}/expendable; test "$(jq -r .host "$2")" = "$BENTO_HOST"; gzip -dc ${place}/archive | nix-store --restore "$3" ;;
  report) shift; cp "$@" ${place}/reports/ ;;
esac
`;
  await writeFile(fetcher, script, { mode: 0o755 });

  const { status, stderr } = await machine.agent({ BENTO_FETCHER: fetcher });
  expect(stderr).toMatch(/success\n$/);
  expect(status).toBe(0);
  expect(await machine.running()).toBe(manifest.toplevel);
  // Where memory runs out the kernel ends what is fetched and built first, and what is activated as anything else.
  expect(await readFile(`${place}/expendable`, "utf8")).toBe("500\n");
  expect(await readFile(machine.path("etc/own"), "utf8")).toBe(await readFile("/proc/self/oom_score_adj", "utf8"));
  const latest = JSON.parse(await readFile(`${place}/reports/latest.json`, "utf8"));
  expect(latest).toMatchObject({ outcome: "success", sequence: manifest.sequence });
  const heartbeat = JSON.parse(await readFile(`${place}/reports/heartbeat.json`, "utf8"));
  expect(heartbeat).toMatchObject({ running: manifest.toplevel, sequence: manifest.sequence });

  // One that has nowhere to deliver reports to: they don't pile up.
  await writeFile(fetcher, script.replace(/report\).*;;/, "report) exit 69 ;;"), { mode: 0o755 });
  const next = await world.release("custom", channelHost("custom", "# by hand again"), { published: manifest });
  await writeFile(`${place}/envelope`, next.envelope);
  await writeFile(`${place}/archive`, next.archive.bytes);
  expect((await machine.agent({ BENTO_FETCHER: fetcher })).status).toBe(0);
  expect(await readdir(machine.path("state/spool"))).toEqual([]);

  // One that is not there now: the same exit status as the server's.
  await writeFile(fetcher, "#!/bin/sh\necho 'the mule is ill' >&2\nexit 75\n", { mode: 0o755 });
  const gone = await machine.agent({ BENTO_FETCHER: fetcher });
  expect(gone.stderr).toBe("no contact: the mule is ill\n");
  expect(gone.status).toBe(75);

  // One that never answers is not waited for without end.
  await writeFile(fetcher, "#!/bin/sh\nexec sleep 1000\n", { mode: 0o755 });
  const hanging = await machine.agent({ BENTO_FETCHER: fetcher, BENTO_POLL_TIMEOUT: "1" });
  expect(hanging.stderr).toBe("no contact: no answer within 1 s\n");
  expect(hanging.status).toBe(75);
});

test("wrong settings are one line, exit with 2, and touch nothing", async () => {
  const machine = await world.machine("wrong");
  const config = machine.path("etc/bento.json");
  const settings = await readFile(config, "utf8");
  const refused = async (env: Record<string, string>, message: string | RegExp) => {
    const { status, stderr } = await machine.agent(env);
    expect(stderr).toMatch(message);
    expect(stderr.trimEnd().split("\n")).toHaveLength(1);
    expect(status).toBe(2);
  };
  await writeFile(config, "{ this is not JSON");
  await refused({}, `bento-agent: ${config} is not what 'bento render' makes\n`);
  await writeFile(config, '{ "version": 2, "signers": [] }');
  await refused({}, `${config} is not what 'bento render' makes\n`);
  await rm(config);
  await refused({}, `${config} is missing; it is utils/bento.json of the fleet\n`);
  await writeFile(config, settings);
  await refused(
    { BENTO_FETCHER: "pigeon" },
    "there is no fetcher 'pigeon': use sftp, git, or the path of an executable",
  );
  await refused({ BENTO_CONFIRM_TIMEOUT: "5m" }, "BENTO_CONFIRM_TIMEOUT must be a whole number");
  await refused({ BENTO_HOST: "../etc" }, "BENTO_HOST is no host name: '../etc'");
  await refused({ BENTO_HEALTH_CHECKS: "/nonexistent" }, "BENTO_HEALTH_CHECKS is no directory: /nonexistent");
  await refused({ BENTO_STATE: "/proc/bento" }, "bento-agent: mkdir: cannot create directory");
  expect(await machine.state("seen.json")).toBeUndefined();
});

test("a program that is missing is named", async () => {
  const machine = await world.machine("wrong");
  const bin = machine.path("bin");
  await succeed("mkdir", [bin]);
  for (const dir of ["/usr/bin", "/bin"]) {
    for (const name of await readdir(dir)) {
      if (name !== "jq") await symlink(path.join(dir, name), path.join(bin, name)).catch(() => {});
    }
  }
  const { status, stderr } = await machine.agent({ PATH: bin });
  expect(stderr).toBe("bento-agent: not in PATH: jq\n");
  expect(status).toBe(2);
});

test("the server is told apart from one that isn't it, one that doesn't know us, and one that isn't there", async () => {
  const machine = await world.machine("lost");
  const config = machine.path("etc/bento.json");
  const where = `${world.server.address}:${world.server.port}`;

  await writeFile(config, world.agentSettings({ server: { hostKeys: [world.signingKey.publicKey] } }));
  const other = await machine.agent();
  expect(other.stderr).toBe(
    `no contact: sftp: ${where} showed another host key than the pinned one; if that was changed on purpose, ` +
      "pin the new one in fleet.yaml\n",
  );
  expect(other.status).toBe(1);

  await writeFile(config, world.agentSettings());
  const refused = await machine.agent({ BENTO_KEY: world.signingKey.file });
  expect(refused.stderr).toBe(
    `no contact: sftp: ${where} refused the login ${world.loginPrefix}lost with the key ${world.signingKey.file}\n`,
  );
  expect(refused.status).toBe(1);

  const missing = await machine.agent({ BENTO_KEY: "/nonexistent/key" });
  expect(missing.stderr).toMatch(/refused the login \S+ with the key \/nonexistent\/key, which does not exist\n$/);
  expect(missing.status).toBe(1);

  await succeed("install", ["-m", "644", machine.key.file, machine.path("open-key")]);
  const open = await machine.agent({ BENTO_KEY: machine.path("open-key") });
  expect(open.stderr).toMatch(/, which others may read, so ssh ignores it: chmod 600 it\n$/);

  await writeFile(config, world.agentSettings({ server: { port: 1 } }));
  const gone = await machine.agent();
  expect(gone.stderr).toMatch(/^no contact: sftp: 127\.0\.0\.1:1 can't be reached: .*Connection refused\n$/);
  expect(gone.status).toBe(75);
});
