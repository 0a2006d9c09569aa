import { lutimes, mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { CheckDocument, DeployDocument, StatusDocument } from "../../src/results.ts";
import { scratch } from "../platform/scratch.ts";
import type { FleetRepository } from "../support/fleet.ts";
import { GitServer } from "../support/git-server.ts";
import { long } from "../support/long.ts";
import { kill, succeed } from "../support/programs.ts";
import { World } from "../support/world.ts";
import { bento, bentoJson, lineOf, pathWith, startBento } from "./bento.ts";
import { makeFifo, reached } from "./fifo.ts";

let world: World;
let server: GitServer;
let fleet: FleetRepository;
let first: string;

beforeAll(async () => {
  world = await World.make();
  const keys = { write: [world.publisherKey.publicKey], read: [world.signingKey.publicKey] };
  server = await GitServer.make(path.join(world.dir, "git"), keys);
  fleet = await world.makeFleet();
  await remoteIs(server.remote);
  first = await fleet.commit("Releases go to git, too");
});

beforeEach(async () => {
  await fleet.git("reset", "-q", "--hard", first);
});

afterEach(() => server.hook("update", null));

afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
  await world?.[Symbol.asyncDispose]();
});

/** fleet.yaml with this git remote, rendered, and not committed. */
async function remoteIs(remote: string): Promise<void> {
  const text = (await fleet.read("fleet.yaml")).replace(/^git:.*\n(?: .*\n)*/m, "");
  const git = { remote, hostKeys: [server.hostKey.publicKey] };
  await fleet.write("fleet.yaml", `${text}git: ${JSON.stringify(git)}\n`);
  await fleet.render();
}

const keys = () => ({
  BENTO_SSH_KEY_FILE: world.publisherKey.file,
  BENTO_SIGNING_KEY_FILE: world.signingKey.file,
  BENTO_GIT_SSH_KEY_FILE: world.publisherKey.file,
});
type Environment = Record<string, string | undefined>;
const options = (env: Environment = {}) => ({ cwd: fleet.dir, env: { ...keys(), ...env } });
const deploy = (args: readonly string[], env: Environment = {}) =>
  bento(["deploy", "--no-eval", ...args], options(env));
const deployJson = (args: readonly string[], env: Environment = {}) =>
  bentoJson<DeployDocument>(["deploy", "--no-eval", ...args], options(env));

const inGit = (host: string) => server.git("show", `refs/heads/bento/${host}:envelope`).then((text) => `${text}\n`);
const released = async (host: string) =>
  JSON.parse(Buffer.from(JSON.parse(await inGit(host)).payload, "base64").toString()).toplevel as string;
const onServer = (host: string) => readFile(path.join(world.server.chroot(host), "releases/current"), "utf8");
const refs = () => server.git("for-each-ref");
const name = () => server.remote.replace("root@", "");

function sequenceOf(envelope: string): number {
  return JSON.parse(Buffer.from(JSON.parse(envelope).payload, "base64").toString()).sequence;
}

let changes = 0;
async function change(host: string): Promise<string> {
  changes += 1;
  await fleet.edit(`hosts/${host}/configuration.nix`, "{ pkgs, ... }:", `# ${changes}\n{ pkgs, ... }:`);
  return fleet.commit(`${host}: change ${changes}`);
}

test("a release goes to both, the same, and the next deploy finds nothing to do", async () => {
  const { status, stdout, stderr } = await deploy([]);
  expect([status, stderr]).toEqual([0, ""]);
  expect(stdout).toMatch(/\n4 hosts: 4 published\n$/);
  for (const host of world.hosts) expect(await inGit(host)).toBe(await onServer(host));
  const before = await refs();
  expect((await deploy([])).stdout).toMatch(/\n4 hosts: 4 unchanged\n$/);
  expect(await refs()).toBe(before);
});

test("--dry-run moves no ref", async () => {
  await change("nas");
  const before = await refs();
  const { stdout } = await deploy(["--dry-run"]);
  expect(lineOf("nas", stdout)).toContain("would be published");
  expect(await refs()).toBe(before);
});

test("while git can't be reached, releases go to the server; git gets the same ones later", async () => {
  await deploy(["--force"]);
  const commit = await change("nas");
  await server.stop();
  try {
    const { status, document } = await deployJson(["--hosts", "nas,router"]);
    expect(status).toBe(1);
    // The router is as it should be where that is known; where it isn't, that is no success.
    for (const host of document.hosts) {
      expect(host).toMatchObject({
        status: "failed",
        error: { message: expect.stringContaining(`can't reach ${name()}: `) },
      });
    }
  } finally {
    await server.start();
  }
  const published = await onServer("nas");
  expect(await inGit("nas")).not.toBe(published);
  const { status, document } = await deployJson(["--hosts", "nas,router"]);
  expect(status).toBe(0);
  expect(document.hosts.map((host) => [host.name, host.status])).toEqual([
    ["nas", "published"],
    ["router", "unchanged"],
  ]);
  expect(document.hosts[0]).toMatchObject({ sequence: sequenceOf(published), commit });
  expect(await inGit("nas")).toBe(published);
  expect(await onServer("nas")).toBe(published);
});

test("a ref that may not be written is that host's failure, and says where; the server's copy is right", async () => {
  await deploy(["--force", "--hosts", "nas,router"]);
  await change("nas");
  await change("router");
  await server.hook("update", "case $1 in */nas) exit 1;; esac");
  const { status, stdout } = await deploy(["--hosts", "nas,router"]);
  expect(stdout).toContain(`    ${name()}: refs/heads/bento/nas was not updated: hook declined\n`);
  expect(lineOf("router", stdout)).toContain("published");
  expect(status).toBe(1);
  expect(await inGit("router")).toBe(await onServer("router"));
  await server.hook("update", null);
  const before = await onServer("nas");
  expect((await deploy(["--hosts", "nas,router"])).stdout).toMatch(/\n2 hosts: 1 published, 1 unchanged\n$/);
  expect(await inGit("nas")).toBe(before);
});

test("a ref that somebody else has moved since it was read stays theirs", async () => {
  await deploy(["--force", "--hosts", "nas,router"]);
  const theirs = await server.git("rev-parse", "refs/heads/bento/router");
  await change("nas");
  await using dir = await scratch();
  const PATH = await pathWith(path.join(dir.path, "bin"), ["sh", "ssh", "ssh-keygen"]);
  const git = await succeed("sh", ["-c", "command -v git"]);
  const moved = `${git} --git-dir=${server.repository} update-ref refs/heads/bento/nas ${theirs}`;
  const script = `#!/bin/sh\ncase " $* " in *' push '*) (unset GIT_DIR; ${moved});; esac\nexec ${git} "$@"\n`;
  await writeFile(path.join(PATH, "git"), script, { mode: 0o755 });
  const { status, stdout } = await deploy(["--hosts", "nas"], { PATH });
  expect(stdout).toContain(
    "refs/heads/bento/nas was not updated: somebody else has published in the meantime\n    → deploy again",
  );
  expect(status).toBe(1);
  expect(await server.git("rev-parse", "refs/heads/bento/nas")).toBe(theirs);
});

long("another host key, or a login that is refused, stops everything before anything is done", async () => {
  await deploy(["--force", "--hosts", "nas"]);
  await change("nas");
  const before = [await refs(), await onServer("nas")];
  const refused = await deploy(["--hosts", "nas"], { BENTO_GIT_SSH_KEY_FILE: world.hostKeys.nas?.file });
  expect(refused).toMatchObject({ status: 3, stdout: "" });
  expect(refused.stderr).toMatch(`error: ${name()} refused the ssh key\n→ `);
  await fleet.edit("fleet.yaml", server.hostKey.publicKey, world.signingKey.publicKey);
  await fleet.render();
  const other = await deploy(["--hosts", "nas"]);
  expect(other).toMatchObject({ status: 3, stdout: "" });
  expect(other.stderr).toContain(`${name()} showed an ssh host key that is not the pinned or known one`);
  expect([await refs(), await onServer("nas")]).toEqual(before);
});

long(
  "SIGTERM in the middle of the push: the ref is the old one or the new one, and the next deploy completes it",
  async () => {
    await deploy(["--force", "--hosts", "nas"]);
    await change("nas");
    const old = await inGit("nas");
    await using dir = await scratch();
    const fifo = await makeFifo(path.join(dir.path, "fifo"));
    await server.hook("update", `cat ${fifo}`);
    const running = await startBento(["deploy", "--no-eval", "--hosts", "nas"], options());
    const pushing = await reached(fifo, running);
    kill([running.pid], "SIGTERM");
    const { status, stderr } = await running.finished;
    await pushing.close();
    expect([status, stderr]).toEqual([130, "error: interrupted\n"]);
    await server.hook("update", null);
    const current = await onServer("nas");
    expect([old, current]).toContain(await inGit("nas"));
    expect((await deploy(["--hosts", "nas"])).status).toBe(0);
    expect(await inGit("nas")).toBe(await onServer("nas"));
  },
);

test("a fleet on git alone needs no server and no key for one; status says that there are no reports", async () => {
  const text = await fleet.read("fleet.yaml");
  await fleet.write("fleet.yaml", text.replace(/^server:\n(?: .*\n)*/m, ""));
  await fleet.render();
  await fleet.commit("No server");
  const env = { BENTO_SSH_KEY_FILE: undefined };
  const { status, stdout, stderr } = await deploy(["--force", "--hosts", "nas"], env);
  expect([status, stderr]).toEqual([0, ""]);
  expect(stdout).toMatch(/\n1 host: 1 published\n$/);
  const { document, ...shown } = await bentoJson<StatusDocument>(["status", "--hosts", "nas"], options(env));
  expect(document.hosts).toEqual([
    expect.objectContaining({
      name: "nas",
      state: "unreported",
      reason: expect.stringContaining("git has no reports"),
      published: expect.objectContaining({ sequence: sequenceOf(await inGit("nas")) }),
    }),
  ]);
  // Nobody can say how it is, which is neither well nor trouble.
  expect(shown.status).toBe(0);
  expect((await bento(["status", "--fail-on", "unreported"], options(env))).status).toBe(1);
  // What is published counts as in use, however old it is.
  const roots = path.join(world.dir, "roots");
  expect((await bento(["deploy", "--hosts", "nas"], options(env))).status).toBe(0);
  const toplevel = await released("nas");
  await fleet.edit(
    "hosts/nas/configuration.nix",
    "networking.hostName",
    'environment.etc.newer = "";\n  networking.hostName',
  );
  await fleet.commit("Not published yet");
  const prune = () =>
    bentoJson<CheckDocument>(
      ["build", "--hosts", "nas", "--roots", roots, "--prune"],
      options({ ...env, XDG_STATE_HOME: path.join(world.dir, "state") }),
    );
  await mkdir(path.join(roots, "nas"), { recursive: true });
  for (const [age, name] of [toplevel, "1", "2", "3", "4"].entries()) {
    const root = path.join(roots, "nas", `root-${age}`);
    await symlink(name.startsWith("/") ? name : `${world.store.dir}/${name}`, root);
    await lutimes(root, 1000 + age, 1000 + age);
  }
  await server.stop();
  try {
    const unasked = await prune();
    expect(unasked.document.warnings).toContainEqual(
      expect.stringMatching(/^--prune: nothing was removed, as what is published can't be read now/),
    );
    expect(await readdir(path.join(roots, "nas"))).toHaveLength(6);
    const down = await deploy(["--hosts", "nas"], env);
    expect(down).toMatchObject({ status: 3, stdout: "" });
    expect(down.stderr).toMatch(`error: can't reach ${name()}: `);
  } finally {
    await server.start();
  }
  const asked = await prune();
  expect([
    asked.document.warnings,
    asked.document.pruned?.map(({ toplevel }) => path.basename(toplevel)).sort(),
  ]).toEqual([[], ["1", "2"]]);
});
