import { readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import type { DeployDocument, HostDeploy } from "../../src/results.ts";
import type { FleetRepository } from "../support/fleet.ts";
import { long } from "../support/long.ts";
import { succeed } from "../support/programs.ts";
import { withFleet } from "../support/with-fleet.ts";
import type { World } from "../support/world.ts";
import { bento, bentoJson, lineOf } from "./bento.ts";

// The nas had three releases; the fourth commit never was one, since nobody deployed it. The tests go on where the one before
// them stopped.

let world: World;
let fleet: FleetRepository;
const commits: string[] = [];
const releases: HostDeploy[] = [];

withFleet({}, async (made) => {
  ({ world, fleet } = made);
  commits.push(await fleet.git("rev-parse", "HEAD"));
  releases.push(await deployed());
  await change("pkgs.postgresql", "pkgs.curl");
  releases.push(await deployed());
  await change("pkgs.curl", "pkgs.git");
  await change("pkgs.git", "pkgs.nginx");
  releases.push(await deployed());
});

const env = () => ({ BENTO_SSH_KEY_FILE: world.publisherKey.file, BENTO_SIGNING_KEY_FILE: world.signingKey.file });
const rollback = (args: readonly string[], cwd = fleet.dir) => bento(["rollback", ...args], { cwd, env: env() });

async function change(from: string, to: string): Promise<void> {
  await fleet.edit("hosts/nas/configuration.nix", from, to);
  commits.push(await fleet.commit(`nas: ${to}`));
}

async function run(args: readonly string[], cwd = fleet.dir) {
  const { status, document } = await bentoJson<DeployDocument>(args, { cwd, env: env() });
  const host = document.hosts.find(({ name }) => name === "nas");
  if (host === undefined) throw new Error("the document has no nas");
  return { status, host, document };
}

async function deployed(): Promise<HostDeploy> {
  const { status, host } = await run(["deploy", "--hosts", "nas"]);
  expect([status, host.status]).toEqual([0, "published"]);
  return host;
}

/** What the machine runs after its next upgrade. */
async function upgraded(): Promise<string> {
  const machine = await world.machine("nas");
  const { status, stderr } = await machine.agent();
  expect(status, stderr).toBe(0);
  return machine.running();
}

const files = () => readdir(path.join(world.server.chroot("nas"), "releases"));
const at = (index: number) => releases[index] ?? { sequence: null, toplevel: null, digest: null };

test("a dry run says what it would be, and does nothing", async () => {
  const before = await files();
  const { status, stdout, stderr } = await rollback(["nas", "--dry-run"]);
  expect(stdout).toMatch(
    new RegExp(
      `^✓ {2}nas {2}would be published {2}release \\d+ of ${commits[1]?.slice(0, 12)}\nwarning: the next deploy`,
    ),
  );
  expect([status, stderr]).toEqual([0, ""]);
  expect(await files()).toEqual(before);
});

test("the release before, as a new one: the machine goes back to the very system", async () => {
  expect(await upgraded()).toBe(at(2).toplevel);
  const { status, host, document } = await run(["rollback", "nas"]);
  expect(document.command).toBe("rollback");
  expect(host).toMatchObject({
    status: "published",
    digest: at(1).digest,
    toplevel: at(1).toplevel,
    commit: commits[1],
  });
  expect(host.sequence).toBeGreaterThan(at(2).sequence ?? Number.NaN);
  expect(status).toBe(0);
  expect(await upgraded()).toBe(at(1).toplevel);
  const { stdout } = await bento(["status", "--hosts", "nas"], { cwd: fleet.dir, env: env() });
  expect(lineOf("nas", stdout)).toMatch(/^✓ +nas +up to date /);
});

test("and forward again, to a release by its sequence", async () => {
  const { host } = await run(["rollback", "nas", "--to", String(at(2).sequence)]);
  expect(host).toMatchObject({ status: "published", toplevel: at(2).toplevel, commit: commits[3] });
});

test("to what it has already: nothing is published", async () => {
  const { status, host } = await run(["rollback", "nas", "--to", commits[3] ?? ""]);
  expect([status, host.status]).toEqual([0, "unchanged"]);
});

long("to a commit, by the beginning of its name", async () => {
  const { host } = await run(["rollback", "nas", "--to", commits[0]?.slice(0, 9) ?? ""]);
  expect(host).toMatchObject({ status: "published", toplevel: at(0).toplevel, commit: commits[0] });
});

test("to a commit of which it never had a release: what the repository had then is evaluated", async () => {
  const { host } = await run(["rollback", "nas", "--to", commits[2] ?? ""]);
  expect(host).toMatchObject({ status: "published", commit: commits[2] });
  expect([at(0).toplevel, at(1).toplevel, at(2).toplevel]).not.toContain(host.toplevel);
});

test("from a clone without the old commits the archive on the server is taken", async () => {
  const clone = path.join(world.dir, "shallow");
  await fleet.edit("hosts/router/configuration.nix", "{ pkgs, ... }:", "# Elsewhere.\n{ pkgs, ... }:");
  await fleet.commit("router: a comment");
  await succeed("git", ["clone", "-q", "--depth", "1", `file://${fleet.dir}`, clone]);
  const { host } = await run(["rollback", "nas", "--to", String(at(2).sequence)], clone);
  expect(host).toMatchObject({ status: "published", toplevel: at(2).toplevel, commit: commits[3] });
  expect(await upgraded()).toBe(at(2).toplevel);

  // Somebody who holds the server has put something else there.
  const manifest = await manifestOf();
  const { host: back } = await run(["rollback", "nas", "--to", commits[2] ?? ""]);
  expect(back.status).toBe("published");
  const archive = path.join(world.server.chroot("nas"), "releases", manifest.archive.name);
  await writeFile(archive, Buffer.alloc(manifest.archive.size));
  const damaged = await rollback(["nas", "--to", String(manifest.sequence)], clone);
  expect(damaged.stdout).toMatch(/^ {4}the archive of release \d+ is damaged on the server$/m);
  await writeFile(archive, "");
  const gone = await rollback(["nas", "--to", String(manifest.sequence)], clone);
  expect(gone.stdout).toMatch(/^ {4}release \d+ can't be had any more: commit [0-9a-f]{12} is not in this clone/m);
  expect([damaged.status, gone.status]).toEqual([1, 1]);
});

async function manifestOf() {
  const envelope = JSON.parse(await readFile(path.join(world.server.chroot("nas"), "releases/current"), "utf8"));
  return JSON.parse(Buffer.from(envelope.payload, "base64").toString());
}

test("four earlier envelopes stay, and those of others or of nobody count for nothing", async () => {
  const past = (await files()).filter((name) => name.endsWith(".json"));
  expect(past).toHaveLength(4);
  const newest = `${Number.parseInt(past.sort().at(-1) ?? "", 10) + 1}.json`;
  const place = path.join(world.server.chroot("nas"), "releases", newest);
  await writeFile(place, '{"payload":"e30=","signature":"-----BEGIN SSH SIGNATURE-----"}\n');
  const { host } = await run(["rollback", "nas", "--dry-run"]);
  expect(host.status).toBe("published");
});

long("the next deploy publishes what the repository has", async () => {
  const { host } = await run(["deploy", "--hosts", "nas"]);
  const head = await fleet.git("rev-parse", "HEAD");
  expect(host).toMatchObject({ status: "published", toplevel: at(2).toplevel, commit: head });
});

test.each([
  [["nass"], 2, /^error: no host is called 'nass'\n→ did you mean 'nas'\?\n$/],
  [["*"], 2, /^error: '\*' names 4 hosts, and has to be one\n$/],
  [
    ["router"],
    2,
    /^error: nothing that can be trusted is published for router: there is nothing to go back from\n→ bento deploy/,
  ],
  [["nas", "--to", "1795000000000"], 2, /^error: no release 1795000000000 of nas is known any more\n→ --to COMMIT/],
  [["nas", "--to", "no-such-branch"], 2, /^error: git knows no commit 'no-such-branch' here\n/],
])("bento rollback %j", async (args, status, message) => {
  const result = await rollback(args);
  expect(result.stderr).toMatch(message);
  expect([result.status, result.stdout]).toEqual([status, ""]);
});

test("over git refs alone: their history is the host's", async () => {
  const remote = path.join(world.dir, "releases.git");
  await succeed("git", ["init", "-q", "--bare", remote]);
  await fleet.edit(
    "fleet.yaml",
    /server:[\s\S]*?(?=signers:)/.exec(await fleet.read("fleet.yaml"))?.[0] ?? "",
    `git:\n  remote: file://${remote}\n`,
  );
  await fleet.render();
  const last = await fleet.commit("No server");
  const first = await run(["deploy", "--hosts", "nas"]);
  expect(first.host).toMatchObject({ status: "published", commit: last });
  await change("pkgs.nginx", "pkgs.curl");
  await run(["deploy", "--hosts", "nas"]);
  const { host } = await run(["rollback", "nas"]);
  expect(host).toMatchObject({ status: "published", toplevel: first.host.toplevel, commit: last });
  const log = await succeed("git", ["-C", remote, "log", "--format=%s", "bento/nas"]);
  expect(log.split("\n")).toEqual(["No server", "nas: pkgs.curl", "No server"]);
});
