import { mkdir, readdir, rm, stat, truncate, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { GitRemote } from "../../src/fleet/fleet.ts";
import { loadFleet } from "../../src/fleet/load.ts";
import { renderedFiles } from "../../src/fleet/rendered.ts";
import { Repository } from "../../src/platform/git.ts";
import { narDigest } from "../../src/tree/nar.ts";
import { Stager } from "../../src/tree/stage.ts";
import { type GitRepository, gitRepository } from "../platform/git.ts";
import { type Entry, writeTree } from "../platform/scratch.ts";
import { GitServer } from "../support/git-server.ts";
import { type KeyPair, makeKey } from "../support/keys.ts";
import type { Machine } from "../support/machine.ts";
import { World } from "../support/world.ts";

const HOST = "alone";
let world: World;
let server: GitServer;
let fleet: GitRepository;
let machine: Machine;
let ada: KeyPair;

beforeAll(async () => {
  world = await World.make({ hosts: [HOST] });
  server = await GitServer.make(path.join(world.dir, "git"), {
    write: [],
    read: Object.values(world.hostKeys).map(({ publicKey }) => publicKey),
  });
  ada = await makeKey(path.join(world.dir, "ada"));
  machine = await world.machine(HOST);
  const git: GitRemote = {
    remote: server.remote,
    refs: "refs/heads/bento/{host}",
    hostKeys: [server.hostKey.publicKey],
  };
  await writeFile(machine.path("etc/bento.json"), world.agentSettings({ git }));
  fleet = await gitRepository({
    "fleet.yaml": `git: { remote: "${server.remote}" }\nhosts: { ${HOST}: { } }\n`,
    [`hosts/${HOST}/configuration.nix`]: "",
    [`hosts/${HOST}/utils`]: { link: "../../utils/" },
    "utils/common.nix": "{ }",
    ".gitattributes": "* text eol=crlf ident\n",
  });
  await writeTree(fleet.dir, Object.fromEntries(renderedFiles(await loadFleet(fleet.dir))));
});

afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
  await world?.[Symbol.asyncDispose]();
});

/** The host's configuration, which is another system for each word. */
const configured = (word: string) => ({
  [`hosts/${HOST}/configuration.nix`]: `{ imports = [ ./utils/common.nix ]; networking.hostName = "${HOST}"; environment.etc."word" = "${word}"; }\n`,
});

/** Commits on top of what is checked out, and gives the commit's name. */
async function commit(files: Readonly<Record<string, Entry>>, key: KeyPair | null): Promise<string> {
  await writeTree(fleet.dir, files);
  fleet.git("add", "-A");
  const signed = key === null ? [] : ["-c", "gpg.format=ssh", "-c", `user.signingkey=${key.file}`];
  fleet.git(...signed, "commit", "-q", "--allow-empty", ...(key === null ? [] : ["-S"]), "-m", "a change");
  return fleet.head();
}

/** Makes a commit what the server's branch is at, as somebody does who can do everything there. */
async function push(what: string): Promise<void> {
  await server.git("fetch", "--quiet", fleet.dir, `+${what}:refs/heads/main`);
}

const agent = (env: Record<string, string> = {}) =>
  machine.agent({
    BENTO_FETCHER: "git",
    BENTO_REPORTER: "sftp",
    BENTO_GIT_BRANCH: "main",
    BENTO_GIT_COMMIT_SIGNERS: ada.publicKey,
    ...env,
  });

/** What the machine refuses: said, reported, and nothing is touched. */
async function refused(reason: RegExp): Promise<void> {
  const running = await machine.running();
  const { status, stderr } = await agent();
  expect(stderr).toMatch(/^refused: git: /);
  expect(stderr).toMatch(reason);
  expect(status).toBe(1);
  expect(await world.report(HOST)).toMatchObject({ outcome: "refused", reason: expect.stringMatching(reason) });
  expect(await machine.running()).toBe(running);
}

test("a branch that nobody publishes: only signed commits, one after the other, and the runner's very bytes", async () => {
  // 1. Nobody has signed it, or somebody else has, and be it with the key that signs the fleet's releases.
  await push(await commit(configured("unsigned"), null));
  await refused(/is not signed: have main end with a commit that is/);
  expect((await agent()).stderr).toMatch(/^refused as before: .* is not signed/);
  await push(await commit({}, world.signingKey));
  await refused(/not signed by one of the commit signers/);

  // 2. One who may.
  const first = await commit(configured("first"), ada);
  await push(first);
  const upgraded = await agent();
  expect(upgraded.stderr).toMatch(/: a change\nfetching\nbuilding\n(.*\n)*success\n$/);
  expect(upgraded.status).toBe(0);
  const system = await machine.running();
  expect(system).not.toBe(machine.factory);
  expect(await world.report(HOST)).toMatchObject({ outcome: "success", commit: first });
  const { digest, sequence } = (await machine.state("applied.json")) as { digest: string; sequence: number };
  const stager = await Stager.open(await Repository.open(fleet.dir), fleet, path.join(world.dir, "staged"));
  const [host] = (await loadFleet(fleet.dir)).hosts;
  if (host === undefined) throw new Error("the fleet has a host");
  expect(await narDigest((await stager.stage(host)).dir)).toBe(digest);
  expect(await narDigest(machine.path("state/release"))).toBe(digest);

  // 3. What doesn't change this host is no release for it; what comes before it, or beside it, is refused.
  const unrelated = await commit({ "hosts/other/configuration.nix": "{ }" }, ada);
  await push(unrelated);
  expect((await agent()).stderr).toBe(`up to date with release ${sequence}\n`);
  expect(await machine.state("branch.json")).toMatchObject({
    commit: unrelated,
    manifest: { sequence, commit: first },
  });
  await push(first);
  await refused(/main of .* was rewound or forced: its commit \w+ does not come after/);
  // Also by a machine whose repository is gone.
  await rm(machine.path("state/git"), { recursive: true });
  fleet.git("checkout", "-q", "-B", "fork", first);
  await push(await commit(configured("forked"), ada));
  await refused(/was rewound or forced/);
  fleet.git("checkout", "-q", "-B", "main", unrelated);

  // 4. Several commits later, of which only the last is signed; and one without signature where that is allowed.
  await commit(configured("between"), null);
  await push(await commit(configured("second"), ada));
  expect((await agent()).stderr).toMatch(/\nsuccess\n$/);
  expect(await machine.running()).not.toBe(system);
  const applied = (await machine.state("applied.json")) as { sequence: number };
  expect(applied.sequence).toBeGreaterThan(sequence);
  // The machine keeps one commit, not the history.
  const kept = await server.git("--git-dir", machine.path("state/git"), "rev-list", "--count", "refs/release");
  expect(kept).toBe("1");
  await push(await commit(configured("third"), null));
  expect((await agent({ BENTO_GIT_ALLOW_UNSIGNED: "1" })).stderr).toMatch(/\nsuccess\n$/);

  // 5. What the runner wouldn't have shipped.
  await push(await commit({ [`hosts/${HOST}/out`]: { link: "../../../etc/passwd" } }, ada));
  await refused(/hosts\/alone\/out -> \.\.\/\.\.\/\.\.\/etc\/passwd: it leaves the repository/);
  await rm(path.join(fleet.dir, "hosts", HOST, "out"));
  await push(await commit(configured("third"), ada));
  expect((await agent()).stderr).toMatch(/^up to date with release/);
});

test("a repository that a power cut has damaged is got anew, and the release is the same", async () => {
  const { sequence } = (await machine.state("applied.json")) as { sequence: number };
  const packs = machine.path("state/git/objects/pack");
  for (const pack of (await readdir(packs)).filter((name) => name.endsWith(".pack"))) {
    const file = path.join(packs, pack);
    await truncate(file, Math.floor((await stat(file)).size / 2));
  }
  // Another setting makes it look at the commit once more.
  const env = { BENTO_GIT_COMMIT_SIGNERS: `${ada.publicKey} again` };
  const attempts = [await agent(env), await agent(env)];
  expect(attempts.map(({ stderr }) => stderr)).toContain(`up to date with release ${sequence}\n`);
  expect(await machine.state("branch.json")).toMatchObject({ manifest: { sequence } });
});

test("what a branch's fetcher gives is nothing that another fetcher could give", async () => {
  const bin = machine.path("bin");
  await mkdir(bin, { recursive: true });
  const fetcher = path.join(bin, "git");
  await writeFile(
    fetcher,
    `#!/bin/sh\n[ "$1" != poll ] || jq -c '{ payload: (.manifest | .sequence += 1 | tojson | @base64), signature: "" }' '${machine.path("state/branch.json")}'\n`,
    { mode: 0o755 },
  );
  const { status, stderr } = await agent({ BENTO_FETCHER: fetcher });
  expect(stderr).toBe("refused: it is not signed by one of this fleet's signers\n");
  expect(status).toBe(1);
  expect(await readdir(machine.path("state"))).not.toContain("branch.new");
});
