import { existsSync } from "node:fs";
import { chmod, cp, mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import type { BootstrapDocument } from "../../src/results.ts";
import { scratch } from "../platform/scratch.ts";
import type { FleetRepository } from "../support/fleet.ts";
import { Hold } from "../support/hold.ts";
import { makeKey } from "../support/keys.ts";
import { long } from "../support/long.ts";
import type { Machine } from "../support/machine.ts";
import { exec, start } from "../support/programs.ts";
import { withFleet } from "../support/with-fleet.ts";
import type { World } from "../support/world.ts";
import { bento, bentoJson, CLI, pathWith } from "./bento.ts";
import { configuration } from "./configurations.ts";

// bento bootstrap: a machine that isn't in the fleet yet, and how it gets there.

let world: World;
let fleet: FleetRepository;

withFleet({ resets: true }, (made) => {
  ({ world, fleet } = made);
});

const inFleet = (...args: string[]) => bento(args, { cwd: fleet.dir });

async function deploy(host: string): Promise<void> {
  const env = { BENTO_SSH_KEY_FILE: world.publisherKey.file, BENTO_SIGNING_KEY_FILE: world.signingKey.file };
  const { status, stdout, stderr } = await bento(["deploy", "--force", "--hosts", host], { cwd: fleet.dir, env });
  expect(status, stdout + stderr).toBe(0);
}

/** Sets the server up with these keys instead of those that the world has made. */
async function provision(keys: Record<string, string>): Promise<void> {
  const { user, publishers } = world.serverSettings;
  const hosts = world.hosts.map((host) => {
    return [
      host,
      { login: world.loginPrefix + host, key: keys[host] ?? world.hostKeys[host]?.publicKey ?? "" },
    ] as const;
  });
  await world.server.provision({ user, publishers, hosts: Object.fromEntries(hosts) });
}

/** The script for a host, in a file, and what is needed to run it on its machine, which knows nothing of the fleet. */
async function bootstrapOf(host: string, ...args: string[]) {
  const { status, stdout, stderr } = await inFleet("bootstrap", host, ...args);
  expect(status, stderr).toBe(0);
  const machine = await world.machine(host);
  const { BENTO_CONFIG: _, ...env } = machine.env;
  const script = path.join(world.dir, `bootstrap-${host}`);
  await writeFile(script, stdout);
  const run = (more: Record<string, string> = {}) => exec("sh", [script], { env: { ...env, ...more } });
  return { machine, env, script, run };
}

test("bootstrap: its script, run on a machine that knows nothing, brings it to its release", async () => {
  await deploy("router");
  const { machine, env, script, run } = await bootstrapOf("router");
  const { status, stdout, stderr } = await exec("sh", [], { env, input: await readFile(script, "utf8") });
  expect(status, stdout + stderr).toBe(0);
  expect(await machine.running()).not.toBe(machine.factory);
  expect(await machine.running()).toMatch(/-nixos-system-router-26\.05$/);
  expect(await machine.bootDefault()).toBe(await machine.running());
  // Again, it finds nothing to do.
  expect((await run()).status).toBe(0);
});

test("bootstrap on a machine with another key: the line that fleet.yaml must have", async () => {
  const { machine, script } = await bootstrapOf("nas");
  const other = await makeKey(path.join(world.dir, "keys/other"));
  const { status, stdout, stderr } = await exec("sh", [script], { env: { ...machine.env, BENTO_KEY: other.file } });
  expect([status, stdout]).toEqual([2, ""]);
  expect(stderr).toBe(
    `bootstrap: this machine's key is not the one that fleet.yaml has for nas. Its line there must be:\n  key: "${other.publicKey} root@nas"\n`,
  );
  expect(await machine.running()).toBe(machine.factory);
});

test("bootstrap needs root, and Nix, and says so before it does anything", async () => {
  const { machine, script } = await bootstrapOf("nas");
  await using dir = await scratch();
  await chmod(dir.path, 0o755);
  const PATH = await pathWith(path.join(dir.path, "bin"), ["id", "cut"]);
  const noNix = await exec("/bin/sh", [script], { env: { ...machine.env, PATH } });
  expect(noNix).toEqual({ status: 2, stdout: "", stderr: "bootstrap: this machine has no Nix\n" });
  await chmod(script, 0o644);
  const nobody = await exec("setpriv", ["--reuid=65534", "--clear-groups", "--regid=65534", "sh", script]);
  expect(nobody).toEqual({ status: 2, stdout: "", stderr: "bootstrap: run it as root\n" });
});

test("bootstrap's script, cut off anywhere on its way through a pipe, does nothing", async () => {
  const { machine, script } = await bootstrapOf("nas");
  const text = await readFile(script, "utf8");
  const end = text.lastIndexOf("main < /dev/null");
  for (const length of [text.indexOf("ARCHIVE") + 200, text.indexOf("have()") - 1, end - 1, end + 3]) {
    await exec("sh", [], { env: machine.env, input: text.slice(0, length) });
    expect(await machine.running()).toBe(machine.factory);
    expect(existsSync(machine.path("state/lock"))).toBe(false);
  }
});

test("bootstrap holds no secret, and is one text whatever the host's key has for a comment", async () => {
  const { document } = await bentoJson<BootstrapDocument>(["bootstrap", "router"], { cwd: fleet.dir });
  expect(document).toEqual({
    version: 1,
    command: "bootstrap",
    hosts: [{ name: "router", status: "ok", script: expect.stringMatching(/^#!\/bin\/sh\n/) }],
  });
  const script = document.hosts[0]?.script ?? "";
  expect(script).toContain(`pinned='${world.hostKeys.router?.publicKey}'`);
  expect(script).not.toContain("PRIVATE");
  expect(script).not.toMatch(/@(?:host|key|archive)@/);
});

test("bootstrap of a host that isn't there, or has no key, or when something is stale", async () => {
  const unknown = await inFleet("bootstrap", "ruoter");
  expect(unknown).toEqual({
    status: 2,
    stdout: "",
    stderr: "error: no host is called 'ruoter'\n→ did you mean 'router'?\n",
  });
  await fleet.write("hosts/printer/configuration.nix", configuration("printer"));
  await fleet.edit("fleet.yaml", "hosts:\n", "hosts:\n  printer:\n");
  const keyless = await inFleet("bootstrap", "printer");
  expect([keyless.status, keyless.stdout]).toEqual([2, ""]);
  expect(keyless.stderr).toMatch(
    /^error: printer has no key in fleet\.yaml yet\n→ bento bootstrap printer --new \| ssh /,
  );
  await fleet.edit("utils/bento.json", '"version": 1', '"version": 2');
  const stale = await inFleet("bootstrap", "router");
  expect([stale.status, stale.stdout]).toEqual([2, ""]);
  expect(stale.stderr).toContain("run 'bento render' and commit the result");
});

test("bootstrap --new: a machine without a key makes one, says how it gets into the fleet, and then gets its release", async () => {
  expect((await inFleet("host", "remove", "nas")).status).toBe(0);
  await fleet.git("rm", "-rq", "hosts/nas");
  const { machine, run } = await bootstrapOf("nas", "--new");
  const key = machine.path("etc/ssh/ssh_host_ed25519_key");
  const env = { BENTO_KEY: key };

  const unknown = await run(env);
  const made = (await readFile(`${key}.pub`, "utf8")).trim();
  expect(made).toMatch(/^ssh-ed25519 \S+ root@nas$/);
  expect((await stat(key)).mode & 0o777).toBe(0o600);
  expect(unknown).toEqual({
    status: 2,
    stdout: `bento host add nas --key '${made}'\n`,
    stderr: `bootstrap: made this machine's key, ${key}
bootstrap: the server does not know this machine yet.
bootstrap: bring this machine's configuration to hosts/nas in the fleet's repository, and there run:
bootstrap: then commit and deploy, see to it that the server has the new fleet.json, and run this again.
`,
  });
  expect(await machine.state("seen.json")).toBeUndefined();
  // Again, it says the same of the same key.
  expect((await run(env)).stdout).toBe(unknown.stdout);

  await fleet.write("hosts/nas/configuration.nix", configuration("nas"));
  const added = await exec("sh", ["-c", `bento() { exec "${process.execPath}" "${CLI}" "$@"; }; ${unknown.stdout}`], {
    cwd: fleet.dir,
  });
  expect(added.status, added.stderr).toBe(0);
  await fleet.commit("The NAS");
  await provision({ nas: made });
  // The script that it was first brought in with still does.
  const early = await run(env);
  expect(early.status, early.stderr).toBe(0);
  expect(early.stderr).toContain("nothing has been published for nas yet");
  await deploy("nas");
  const known = await run(env);
  expect(known.status, known.stderr).toBe(0);
  expect(known.stdout).toBe("");
  expect(await machine.running()).toMatch(/-nixos-system-nas-/);
  expect(await machine.bootDefault()).toBe(await machine.running());

  const declared = await inFleet("bootstrap", "nas", "--new");
  expect(declared).toEqual({
    status: 2,
    stdout: "",
    stderr: "error: nas has a key in fleet.yaml already\n→ bento bootstrap nas, without --new\n",
  });
  const named = await inFleet("bootstrap", "Anna's", "--new");
  expect([named.status, named.stderr]).toEqual([2, expect.stringMatching(/^error: 'Anna's' must be a host name: /)]);
});

test("whether the server lets a machine in: contact says it in one word, and bootstrap what to do about it", async () => {
  const { machine, run } = await bootstrapOf("laptop-ben");
  const contact = async (env: Record<string, string> = {}) => {
    const { status, stdout, stderr } = await machine.agent(env, ["contact"]);
    expect(stderr.trimEnd().split("\n").length).toBe(1);
    return [stdout.trimEnd(), status, stderr] as const;
  };
  const { address, port } = world.serverSettings;
  expect(await contact()).toEqual(["known", 0, ""]);

  const stranger = await makeKey(path.join(world.dir, "keys/stranger"));
  expect(await contact({ BENTO_KEY: stranger.file })).toEqual([
    "unknown",
    1,
    expect.stringMatching(/ refused the login /),
  ]);
  await provision({ "laptop-ben": stranger.publicKey });
  const refused = await run();
  await provision({});
  expect([refused.status, refused.stdout]).toEqual([2, ""]);
  expect(refused.stderr).toMatch(
    /^bootstrap: the server does not let this machine in yet, although fleet\.yaml has its key: sftp: .* refused the login .*\.\nSet the server up with the fleet\.json that has laptop-ben /,
  );

  const other = path.join(world.dir, "other.json");
  await writeFile(other, world.agentSettings({ server: { hostKeys: [stranger.publicKey] } }));
  expect(await contact({ BENTO_CONFIG: other })).toEqual([
    "wrong-host-key",
    1,
    expect.stringContaining("showed another host key than the pinned one"),
  ]);
  const impostor = await run({ BENTO_CONFIG: other });
  expect([impostor.status, impostor.stdout]).toEqual([1, ""]);
  expect(impostor.stderr).toMatch(
    /^bootstrap: what answers is not the fleet's server, or has another key than fleet\.yaml says: /,
  );

  await world.server.stop();
  expect(await contact()).toEqual([
    "unreachable",
    75,
    expect.stringContaining(`${address}:${port} can't be reached: `),
  ]);
  const away = await run();
  await world.server.start();
  expect([away.status, away.stdout]).toEqual([75, ""]);
  expect(away.stderr).toMatch(/^bootstrap: the server can't be reached from this machine: sftp: /);
  expect(await contact({ BENTO_FETCHER: "/bin/false" })).toEqual(["failed", 1, "nothing was said\n"]);

  // Nothing of all that has left anything.
  expect(await machine.running()).toBe(machine.factory);
  expect(await readdir(machine.path("state"))).toEqual([]);
  expect(await readdir(machine.path("run/bento"))).toEqual(["bootstrap"]);
});

long(
  "bootstrap's connection breaks during the activation: the upgrade goes on by itself, and the next run shows it",
  async () => {
    await deploy("laptop-anna");
    const { machine, env, script, run } = await bootstrapOf("laptop-anna");
    await using hold = await Hold.make(machine, "confirm");
    await machine.healthCheck("confirm", hold.script);
    const input = await readFile(script, "utf8");
    const connection = start("setsid", ["bash", "-c", "sh 2>&1 | { read -r _; }"], { env, input });
    await hold.reached();
    expect(await machine.running()).not.toBe(machine.factory);
    expect(await machine.bootDefault()).toBe(machine.factory);
    await connection.done;

    const again = start("sh", [script], { env });
    // Somebody else looks at it, until the modem hangs up.
    const seen = machine.path("seen");
    const watching = start("setsid", ["bash", "-c", 'sh "$0" 2>&1 | tee "$1"', script, seen], { env });
    await exec("bash", ["-c", 'until grep -qs "^activating " "$0"; do sleep 0.05; done', seen]);
    process.kill(-watching.pid, "SIGHUP");
    await watching.done;
    await hold.letGo();
    const { status, stderr } = await again.done;
    expect(stderr).toMatch(
      /^bootstrap: an upgrade that was started before is still going on:\nrelease \d+: .*\n(?:.*\n)*success\n$/,
    );
    expect(status).toBe(0);
    expect(await machine.bootDefault()).toBe(await machine.running());
    expect(await machine.running()).not.toBe(machine.factory);
    expect((await run()).stderr).toMatch(/^up to date with release /);
  },
);

// From the 2022 Bento.

/** What the 2022 Bento has on a machine; its update.sh says when it ran. */
const OLD_FILES = {
  "configuration.nix": "{ }\n",
  ".state": "-rw-r--r-- 1 0 0 0 last_change_date\n",
  // Names that the agent has as well.
  "release/tree.nix": "{ }\n",
  "applied.json": "not the agent's\n",
  "update.sh": '#!/bin/sh\necho ran >> "$MACHINE/old.log"\n',
};

/** Makes a machine one that the 2022 Bento looks after: its files, and root's key, which the fleet has. */
async function makeOld(machine: Machine): Promise<{ HOME: string; BENTO_KEY: string }> {
  await rm(machine.path("state"), { recursive: true });
  for (const [name, text] of Object.entries(OLD_FILES)) {
    await mkdir(path.dirname(machine.path(`state/${name}`)), { recursive: true });
    await writeFile(machine.path(`state/${name}`), text);
  }
  await mkdir(machine.path("root/.ssh"), { recursive: true });
  await cp(machine.key.file, machine.path("root/.ssh/id_ed25519"));
  return { HOME: machine.path("root"), BENTO_KEY: machine.path("etc/ssh/ssh_host_ed25519_key") };
}

/** Expects all of the old files, and nothing else, in a directory of the machine. */
async function expectOld(machine: Machine, place: string): Promise<void> {
  for (const [name, text] of Object.entries(OLD_FILES)) {
    expect(await readFile(machine.path(`${place}/${name}`), "utf8"), name).toBe(text);
  }
  expect((await readdir(machine.path(place))).length).toBe(Object.keys(OLD_FILES).length);
}

/** As the old timer does; gives what was said, and how often the old Bento has run until now. */
async function oldTimer(machine: Machine, env: Record<string, string>) {
  const { status, stdout, stderr } = await exec("sh", ["update.sh"], { cwd: machine.path("state"), env });
  expect(status, stdout + stderr).toBe(0);
  const log = await readFile(machine.path("old.log"), "utf8").catch(() => "");
  return { stdout, runs: log.split("\n").length - 1 };
}

test("a machine that the 2022 Bento looks after is taken over, and whatever goes wrong, that finds its way back", async () => {
  const { machine, env, run } = await bootstrapOf("laptop-ben");
  const old = await makeOld(machine);

  // Without a release nothing is changed but for the key.
  const early = await run(old);
  expect(early.status, early.stderr).toBe(0);
  expect(
    early.stderr,
  ).toBe(`bootstrap: copied the key that the fleet knows, ${old.HOME}/.ssh/id_ed25519, to ${old.BENTO_KEY}
takeover: the Bento of 2022 looks after this machine
takeover: what was in ${machine.path("state")} is in ${machine.path("state.2022")} now
nothing has been published for laptop-ben yet
takeover: undone, the Bento of 2022 goes on; what the agent knows is in ${machine.path("state.agent")}
`);
  await expectOld(machine, "state");
  expect(await readFile(old.BENTO_KEY)).toEqual(await readFile(machine.key.file));
  expect((await stat(old.BENTO_KEY)).mode & 0o777).toBe(0o600);
  expect(existsSync(machine.path("root/.ssh/id_ed25519"))).toBe(true);

  // A machine's own host key is left alone.
  const own = await makeKey(path.join(world.dir, "keys/own"));
  const inPlace = await run({ ...old, BENTO_KEY: own.file });
  expect(inPlace.stderr).toContain(
    `bootstrap: it logs in with ${old.HOME}/.ssh/id_ed25519, so its configuration must have services.bento.key = "${old.HOME}/.ssh/id_ed25519";\ntakeover: `,
  );
  expect([inPlace.status, await readFile(`${own.file}.pub`, "utf8")]).toEqual([
    0,
    expect.stringContaining(own.publicKey),
  ]);

  // Power is lost while the new system proves itself: the old one boots, and its timer puts its files back.
  await deploy("laptop-ben");
  await using hold = await Hold.make(machine, "confirm");
  await machine.healthCheck("confirm", hold.script);
  const cutOff = run(old);
  await hold.reached();
  expect((await oldTimer(machine, env)).stdout).toBe("takeover: it is going on\n");
  await machine.restart();
  await cutOff;
  await hold.forget();
  const back = await oldTimer(machine, env);
  expect(back).toEqual({ stdout: expect.stringMatching(/^takeover: undone/), runs: 1 });
  await expectOld(machine, "state");

  // Again, and through. The agent's own state of before is there.
  const through = await run(old);
  expect(through.status, through.stderr).toBe(0);
  expect(through.stderr).toMatch(
    /\nsuccess\ntakeover: done\. The old things are in .*\/state\.2022, which may be removed; /,
  );
  expect(await machine.bootDefault()).toBe(await machine.running());
  expect(await machine.running()).not.toBe(machine.factory);
  await expectOld(machine, "state.2022");
  expect(await world.outcomes("laptop-ben")).toEqual(["inconclusive", "success"]);
  expect(await oldTimer(machine, env)).toEqual({ stdout: expect.stringMatching(/^takeover: done/), runs: 1 });
  expect((await run(old)).stderr).toMatch(/^up to date with release \d+\ntakeover: done\. /);

  // A restart into the old system, by hand.
  await exec("ln", ["-sfn", machine.factory, machine.path("run/current-system")]);
  expect((await oldTimer(machine, env)).runs).toBe(2);
  await expectOld(machine, "state");
});

/** An mv that, the nth time, kills what has called it instead. */
const KILLING_MV = `#!/bin/bash
n=$(($(cat "$MACHINE/moves" 2> /dev/null || echo 0) + 1))
echo "$n" > "$MACHINE/moves"
if [ "$n" = "$KILL_AT" ]; then kill -KILL "$PPID"; exit 1; fi
exec /bin/mv "$@"
`;

long("a takeover cut off before any of its steps loses nothing, and the next run takes it on", async () => {
  const { machine, run } = await bootstrapOf("nas");
  await provision({});
  const old = await makeOld(machine);
  await mkdir(machine.path("killing"), { recursive: true });
  await writeFile(machine.path("killing/mv"), KILLING_MV, { mode: 0o755 });
  const PATH = `${machine.path("killing")}:${process.env.PATH}`;
  let moves = 0;
  for (let at = 1; moves >= at - 1; at++) {
    await rm(machine.path("moves"), { force: true });
    const cut = await run({ ...old, PATH, KILL_AT: String(at) });
    moves = Number(await readFile(machine.path("moves"), "utf8"));
    // All of it is in one of the two places.
    const place = existsSync(machine.path("state.2022")) ? "state.2022" : "state";
    await expectOld(machine, place);
    const next = await run(old);
    expect(next.stderr, `${at}: ${cut.stderr}`).toMatch(/^takeover: undone, the Bento of 2022 goes on; /m);
    expect(next.status).toBe(0);
    await expectOld(machine, "state");
  }
  expect(moves).toBeGreaterThan(5);
});
