import { existsSync } from "node:fs";
import { chmod, readdir, readFile, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import type { BootstrapDocument } from "../../src/results.ts";
import { scratch } from "../platform/scratch.ts";
import type { FleetRepository } from "../support/fleet.ts";
import { Hold } from "../support/hold.ts";
import { makeKey } from "../support/keys.ts";
import { long } from "../support/long.ts";
import { exec, start } from "../support/programs.ts";
import { withFleet } from "../support/with-fleet.ts";
import type { World } from "../support/world.ts";
import { bento, bentoJson, CLI, pathWith } from "./bento.ts";
import { deployAnew, prepareBootstrap, provisionWith } from "./bootstrapping.ts";
import { configuration } from "./configurations.ts";

// bento bootstrap: a machine that isn't in the fleet yet, and how it gets there.

let world: World;
let fleet: FleetRepository;

withFleet({ resets: true }, (made) => {
  ({ world, fleet } = made);
});

const inFleet = (...args: string[]) => bento(args, { cwd: fleet.dir });

const deploy = (host: string) => deployAnew(world, fleet, host);
const provision = (keys: Record<string, string>) => provisionWith(world, keys);
const bootstrapOf = (host: string, ...args: string[]) => prepareBootstrap(world, fleet, host, args);

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
