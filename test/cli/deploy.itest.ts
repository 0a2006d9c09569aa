import { readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { packageVersion } from "../../src/platform/package.ts";
import type { DeployDocument } from "../../src/results.ts";
import { scratch } from "../platform/scratch.ts";
import { DEMO_HOSTS, type FleetRepository } from "../support/fleet.ts";
import { makeKey } from "../support/keys.ts";
import { kill, succeed } from "../support/programs.ts";
import { withFleet } from "../support/with-fleet.ts";
import type { World } from "../support/world.ts";
import { bento, bentoJson, hostIn, lineOf, pathWith, startBento } from "./bento.ts";
import { configuration } from "./configurations.ts";
import { deployKeys, deployWith, type Environment, serverListing } from "./deploying.ts";
import { makeFifo, reached } from "./fifo.ts";

let world: World;
let fleet: FleetRepository;
let first: string;

withFleet({ resets: true }, (made) => {
  ({ world, fleet, first } = made);
});

const keys = () => deployKeys(world);
const deploy = (args: readonly string[] = []) => deployWith(world, fleet, args);
const deployJson = (args: readonly string[] = [], env: Environment = {}) =>
  bentoJson<DeployDocument>(["deploy", ...args], { cwd: fleet.dir, env: { ...keys(), ...env } });

const statuses = (document: DeployDocument) =>
  Object.fromEntries(document.hosts.map(({ name, status }) => [name, status]));

const listing = () => serverListing(world);

/** What a host is given now. */
async function manifestOf(host: string) {
  const envelope = JSON.parse(await readFile(path.join(world.server.chroot(host), "releases/current"), "utf8"));
  return JSON.parse(Buffer.from(envelope.payload, "base64").toString());
}

/** As if nothing had ever been published. */
const nothingPublished = () => succeed("sh", ["-c", 'rm -f "$0"/*/releases/* "$0"/.bento/*', world.server.root]);

/** A change to one host, by a comment, so that each makes a release and none costs a build. */
let changes = 0;
async function change(host: string): Promise<string> {
  changes += 1;
  await fleet.edit(`hosts/${host}/configuration.nix`, "{ pkgs, ... }:", `# ${changes}\n{ pkgs, ... }:`);
  return fleet.commit(`${host}: change ${changes}`);
}

test("the first deploy publishes every host, and the next one nothing", async () => {
  await nothingPublished();
  const { status, stdout, stderr } = await deploy();
  for (const host of DEMO_HOSTS) {
    expect(lineOf(host, stdout)).toMatch(new RegExp(`^✓ .* published +release \\d{13} of ${first.slice(0, 12)}$`));
  }
  expect(stdout).toMatch(/\n4 hosts: 4 published\n$/);
  expect(stderr).toBe("");
  expect(status).toBe(0);
  const before = await listing();
  const again = await deploy();
  expect(again.stdout).toMatch(/\n4 hosts: 4 unchanged\n$/);
  expect(again.status).toBe(0);
  expect((await listing()).filter((line) => !line.includes("/.bento"))).toEqual(
    before.filter((line) => !line.includes("/.bento")),
  );
});

test("what is published is what was checked, of the commit that was deployed, and the document says so", async () => {
  await nothingPublished();
  const { status, document, stderr } = await deployJson(["--hosts", "nas,router"]);
  const manifest = await manifestOf("router");
  expect(document).toEqual({
    version: 1,
    command: "deploy",
    dryRun: false,
    warnings: [],
    hosts: [
      expect.objectContaining({ name: "nas", status: "published" }),
      {
        name: "router",
        status: "published",
        digest: manifest.digest,
        sequence: manifest.sequence,
        commit: first,
        toplevel: manifest.toplevel,
        error: null,
        reason: null,
      },
    ],
  });
  expect(manifest).toMatchObject({ host: "router", commit: first, subject: "A fleet of four", kind: "channel" });
  expect(manifest.toplevel).toMatch(/-nixos-system-router-26\.05$/);
  const { document: checked } = await bentoJson<{ hosts: { toplevel: string }[] }>(["check", "--hosts", "router"], {
    cwd: fleet.dir,
  });
  expect(checked.hosts[0]?.toplevel).toBe(manifest.toplevel);
  expect(stderr).toBe("");
  expect(status).toBe(0);
});

test("a change to one host makes exactly one release, and its sequence rises", async () => {
  await deploy(["--force"]);
  const before = await manifestOf("nas");
  const commit = await change("nas");
  const { document } = await deployJson();
  expect(statuses(document)).toEqual({
    nas: "published",
    router: "unchanged",
    "laptop-anna": "unchanged",
    "laptop-ben": "unchanged",
  });
  const after = await manifestOf("nas");
  expect(after.commit).toBe(commit);
  expect(after.sequence).toBeGreaterThan(before.sequence);
  expect(after.history[0]).toBe(before.archive.name);
  // What is unchanged keeps saying of which commit it is.
  expect(hostIn(document, "router").commit).toBe(first);
});

test("a host that doesn't evaluate is not published; the others go out", async () => {
  await deploy(["--force"]);
  const before = await manifestOf("router");
  await fleet.edit("hosts/router/configuration.nix", "pkgs.nginx", "pkgs.nginxx");
  await change("nas");
  const { status, stdout } = await deploy();
  expect(stdout).toMatch(
    /^✗ {2}router {7}failed\n {4}hosts\/router\/configuration\.nix:6:\d+: attribute 'nginxx' missing$/m,
  );
  expect(lineOf("nas", stdout)).toMatch(/^✓ .* published /);
  expect(stdout).toMatch(/\n4 hosts: 1 failed, 1 published, 2 unchanged\n$/);
  expect(status).toBe(1);
  expect(await manifestOf("router")).toEqual(before);
});

test("an older commit is not published over a newer one, unless --force says so", async () => {
  await deploy(["--force", "--hosts", "nas,router"]);
  const newer = await change("nas");
  await deploy(["--hosts", "nas"]);
  await fleet.git("checkout", "-q", "-B", "side", first);
  await change("nas");
  const refused = await deploy(["--hosts", "nas,router"]);
  expect(refused.stdout).toContain(`the published commit ${newer.slice(0, 12)} is not an ancestor of`);
  expect(refused.stdout).toContain("→ merge it first; --force publishes all the same");
  // The router has what it should have, so there is nothing to refuse.
  expect(lineOf("router", refused.stdout)).toContain("unchanged");
  expect(refused.status).toBe(1);
  expect((await manifestOf("nas")).commit).toBe(newer);
  const forced = await deploy(["--hosts", "nas", "--force"]);
  expect(forced.status).toBe(0);
  expect((await manifestOf("nas")).commit).toBe(await fleet.git("rev-parse", "HEAD"));
  await fleet.git("checkout", "-q", "main");
});

test("a published commit that this clone doesn't have: fetch the whole history", async () => {
  await deploy(["--force", "--hosts", "nas"]);
  await using dir = await scratch();
  await change("nas");
  await succeed("git", ["clone", "-q", "--depth=1", `file://${fleet.dir}`, "shallow"], { cwd: dir.path });
  const { status, stdout } = await bento(["deploy", "--hosts", "nas"], {
    cwd: path.join(dir.path, "shallow"),
    env: keys(),
  });
  expect(stdout).toContain(`the published commit ${first.slice(0, 12)} is not in this clone`);
  expect(stdout).toContain("fetch-depth: 0");
  expect(status).toBe(1);
});

test("changes that are not committed fail the hosts that would get them, and name the file", async () => {
  await deploy(["--force"]);
  await fleet.edit("hosts/nas/configuration.nix", "pkgs.postgresql", "pkgs.curl");
  const { status, stdout } = await deploy();
  expect(stdout).toMatch(
    /^✗ {2}nas {10}failed\n {4}hosts\/nas\/configuration\.nix has changes that are not committed\n {4}→ commit them, or git stash$/m,
  );
  expect(stdout).toMatch(/\n4 hosts: 1 failed, 3 unchanged\n$/);
  expect(status).toBe(1);
  expect((await manifestOf("nas")).commit).toBe(first);
});

test("hosts without an entry, or a key, are skipped, and it is said why", async () => {
  await fleet.write("hosts/printer/configuration.nix", configuration("printer"));
  await fleet.write("hosts/scanner/configuration.nix", configuration("scanner"));
  await fleet.edit("fleet.yaml", "hosts:\n", "hosts:\n  scanner:\n");
  await fleet.render();
  await fleet.commit("Two more");
  const { status, stdout } = await deploy(["--hosts", "printer,scanner"]);
  expect(lineOf("printer", stdout)).toMatch(/^- .* skipped +it has no entry in fleet\.yaml$/);
  expect(lineOf("scanner", stdout)).toMatch(/^- .* skipped +it has no key in fleet\.yaml yet$/);
  expect(status).toBe(0);
});

test("a host that the server has no place for fails alone", async () => {
  await using dir = await scratch();
  const key = await makeKey(path.join(dir.path, "printer"));
  await fleet.write("hosts/printer/configuration.nix", configuration("printer"));
  await fleet.edit("fleet.yaml", "hosts:\n", `hosts:\n  printer: { key: "${key.publicKey}" }\n`);
  await fleet.render();
  await fleet.commit("A printer");
  await change("nas");
  const { status, stdout } = await deploy(["--hosts", "printer,nas", "--force"]);
  expect(stdout).toMatch(
    /^✗ {2}printer {2}failed\n {4}the server has no place for printer yet\n {4}→ set the server up from the current fleet\.json/m,
  );
  expect(lineOf("nas", stdout)).toContain("published");
  expect(status).toBe(1);
});

test("what is of an older Bento in the fleet is deployed, and it is said how that is brought up to date", async () => {
  await fleet.write("utils/bento.nix", "{ }\n");
  const recorded = { "utils/bento.nix": `100644 ${"0".repeat(40)}` };
  await fleet.write("bento.lock", JSON.stringify({ version: 1, bento: "0.0.1", files: recorded }));
  await fleet.commit("An older Bento's");
  const args = ["--no-eval", "--hosts", "router", "--dry-run"];
  const warning = `utils/bento.nix is of Bento 0.0.1, and this is ${packageVersion()}: bento init --update brings it up to date, with --dry-run it says how`;
  const { status, stdout } = await deploy(args);
  expect([status, stdout.split("\n")]).toEqual([0, expect.arrayContaining([`warning: ${warning}`])]);
  expect((await deployJson(args)).document.warnings).toEqual([warning]);
});

test("--dry-run says what would be done and changes nothing at all on the server", async () => {
  await deploy(["--force"]);
  await change("nas");
  const before = await listing();
  const { status, stdout } = await deploy(["--dry-run"]);
  expect(lineOf("nas", stdout)).toMatch(/^✓ .* would be published /);
  expect(lineOf("router", stdout)).toContain("unchanged");
  expect(stdout).toMatch(/ \(dry run: nothing was done\)\n$/);
  expect(status).toBe(0);
  expect(await listing()).toEqual(before);
});

test("--no-eval needs no Nix, ships the same files, and leaves it to the host which system they make", async () => {
  await deploy(["--force", "--hosts", "router"]);
  const evaluated = await manifestOf("router");
  await using dir = await scratch();
  const PATH = await pathWith(path.join(dir.path, "bin"), ["git", "ssh-keygen"]);
  const { status, document } = await deployJson(["--no-eval", "--hosts", "router"], { PATH });
  expect(status).toBe(0);
  expect(hostIn(document, "router")).toMatchObject({ status: "published", toplevel: null, digest: evaluated.digest });
  expect((await manifestOf("router")).toplevel).toBeNull();
});

test("--no-eval ships what doesn't evaluate: nobody looked", async () => {
  await fleet.edit("hosts/router/configuration.nix", "pkgs.nginx", "pkgs.nginxx");
  await fleet.commit("broken");
  expect((await deploy(["--no-eval", "--hosts", "router", "--force"])).status).toBe(0);
});

const LOCK = () => path.join(world.server.root, ".bento/lock");

test("while somebody else deploys: who it is, and since when", async () => {
  const owner = { owner: "grace@laptop", host: "laptop", pid: 4711, token: "x" };
  await writeFile(LOCK(), JSON.stringify(owner));
  const before = await listing();
  const { status, stdout, stderr } = await deploy(["--no-eval"]);
  expect([status, stdout]).toEqual([3, ""]);
  expect(stderr).toMatch(
    /^error: another deploy holds the fleet's lock: grace@laptop \(process 4711 on laptop\), last seen \d+ s ago\n→ wait for it/,
  );
  expect((await listing()).filter((line) => !line.includes("/.bento "))).toEqual(
    before.filter((line) => !line.includes("/.bento ")),
  );
  await rm(LOCK());
});

test("a lock whose owner died long ago holds nobody up", async () => {
  await writeFile(LOCK(), JSON.stringify({ owner: "grace@laptop", host: "laptop", pid: 4711, token: "x" }));
  await succeed("touch", ["-d", "10 minutes ago", LOCK()]);
  expect((await deploy(["--no-eval", "--hosts", "router", "--force"])).status).toBe(0);
  await expect(readFile(LOCK())).rejects.toThrow(/ENOENT/);
});

test.each(["SIGINT", "SIGTERM"] as const)(
  "%s while it holds the lock: it gives the lock back, and nothing was published",
  async (signal) => {
    await using dir = await scratch();
    const fifo = await makeFifo(path.join(dir.path, "fifo"));
    // The real one, which waits until the test has done what it wants before it says what follows what: that is asked with the
    // lock held.
    const PATH = await pathWith(path.join(dir.path, "bin"), ["ssh-keygen", "cat", "sh"]);
    const real = await succeed("sh", ["-c", "command -v git"]);
    const script = `#!/bin/sh\ncase "$*" in *merge-base*) cat ${fifo} ;; esac\nexec ${real} "$@"\n`;
    await writeFile(path.join(PATH, "git"), script, { mode: 0o755 });
    await deploy(["--no-eval", "--force", "--hosts", "router"]);
    await change("router");
    const before = await manifestOf("router");

    const args = ["deploy", "--no-eval", "--hosts", "router"];
    const running = await startBento(args, { cwd: fleet.dir, env: { ...keys(), PATH } });
    await using asking = await reached(fifo, running);
    expect(JSON.parse(await readFile(LOCK(), "utf8"))).toMatchObject({ pid: running.pid });
    kill([running.pid], signal);
    await asking.close();
    expect(await running.finished).toEqual({ status: 130, stdout: "", stderr: "error: interrupted\n" });
    expect(await manifestOf("router")).toEqual(before);
    await expect(readFile(LOCK())).rejects.toThrow(/ENOENT/);
  },
);
