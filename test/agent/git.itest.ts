import { mkdir, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { GitRemote } from "../../src/fleet/fleet.ts";
import { packageRoot } from "../../src/platform/package.ts";
import { GitPublisher } from "../../src/publish/git.ts";
import { archivesOf } from "../../src/release/plan.ts";
import { archiveInto, narDigest } from "../../src/tree/nar.ts";
import { type GitRepository, gitRepository } from "../platform/git.ts";
import { scratch, writeTree } from "../platform/scratch.ts";
import { GitServer } from "../support/git-server.ts";
import { makeKey } from "../support/keys.ts";
import { long } from "../support/long.ts";
import type { Machine } from "../support/machine.ts";
import { exec, succeed } from "../support/programs.ts";
import { channelHost, type Release } from "../support/release.ts";
import { World } from "../support/world.ts";

const FETCHER = path.join(packageRoot(), "utils/agent/fetchers/git");
const REFS = "refs/heads/bento/{host}";
const hosts = ["alone", "rewound", "both", "exact", "lost", "damaged", "large", "foreign", "endless"];
let world: World;
let server: GitServer;
let fleet: GitRepository;

beforeAll(async () => {
  world = await World.make({ hosts });
  server = await GitServer.make(path.join(world.dir, "git"), {
    write: [world.publisherKey.publicKey],
    read: Object.values(world.hostKeys).map(({ publicKey }) => publicKey),
  });
  fleet = await gitRepository({ "fleet.yaml": "" });
});

afterAll(async () => {
  await fleet?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
  await world?.[Symbol.asyncDispose]();
});

const settings = (changes: Partial<GitRemote> = {}): GitRemote => ({
  remote: server.remote,
  refs: REFS,
  hostKeys: [server.hostKey.publicKey],
  ...changes,
});

/** A machine whose fleet has this git remote, and no server unless it is told otherwise. */
async function machineOf(host: string, { git = settings(), sftp = false } = {}): Promise<Machine> {
  const machine = await world.machine(host);
  await writeFile(machine.path("etc/bento.json"), world.agentSettings({ git, ...(sftp ? {} : { server: null }) }));
  return machine;
}

/** Publishes a release to the host's ref. */
async function put(host: string, { manifest, envelope, archive }: Release): Promise<void> {
  const file = path.join(world.dir, archive.name);
  await writeFile(file, archive.bytes);
  await using publisher = await GitPublisher.open({
    settings: settings(),
    repository: fleet.dir,
    key: world.publisherKey.file,
    signal: new AbortController().signal,
  });
  await publisher.readCurrent([host]);
  const upload = {
    host,
    envelope,
    archive: { name: archive.name, size: archive.size, file },
    keep: archivesOf(manifest),
  };
  const failures = await publisher.publish([upload]);
  expect(failures.get(host)).toBeNull();
}

async function publish(host: string, definitions: string, published: Release | null = null): Promise<Release> {
  const release = await world.release(host, channelHost(host, definitions), { published: published?.manifest ?? null });
  await put(host, release);
  return release;
}

/** One call of the fetcher, as the agent makes it. */
async function fetcher(machine: Machine, args: readonly string[], env: Record<string, string | undefined> = {}) {
  await mkdir(machine.path("run/bento"), { recursive: true });
  return exec("bash", [FETCHER, ...args], { env: { ...machine.env, ...env } });
}

test("a fleet on git alone: the host takes its release from its ref", async () => {
  const machine = await machineOf("alone");
  expect(await machine.agent()).toMatchObject({ status: 0, stderr: "nothing has been published for alone yet\n" });

  const first = await publish("alone", "environment.systemPackages = [ pkgs.nginx ];");
  const upgraded = await machine.agent();
  expect(upgraded.stderr).toMatch(/\nconfirmation 1 of 1\nsuccess\n$/);
  expect(upgraded.status).toBe(0);
  expect(await machine.running()).toBe(first.manifest.toplevel);
  expect(await machine.profile()).toBe(first.manifest.toplevel);
  // Reports have nowhere to go, and don't pile up.
  expect(await readdir(machine.path("state/spool"))).toEqual([]);
  expect((await machine.agent()).stderr).toBe(`up to date with release ${first.manifest.sequence}\n`);
});

long("a ref that was rewound is refused, and one that was made anew is not", async () => {
  const machine = await machineOf("rewound");
  const old = await publish("rewound", "# old");
  const tip = await server.git("rev-parse", "refs/heads/bento/rewound");
  const current = await publish("rewound", "# current", old);
  expect((await machine.agent()).status).toBe(0);
  expect(await machine.running()).toBe(current.manifest.toplevel);

  await server.git("update-ref", "refs/heads/bento/rewound", tip);
  const { status, stderr } = await machine.agent();
  const [older, seen] = [old.manifest.sequence, current.manifest.sequence];
  expect(stderr).toBe(`refused: it is older (${older}) than a release seen before (${seen})\n`);
  expect(status).toBe(1);
  expect(await machine.running()).toBe(current.manifest.toplevel);

  // Another history, as after the ref was deleted: what counts is what was signed.
  await server.git("update-ref", "-d", "refs/heads/bento/rewound");
  const next = await publish("rewound", "# current, again", current);
  expect(await server.git("rev-list", "--count", "refs/heads/bento/rewound")).toBe("1");
  expect((await machine.agent()).stderr).toContain(`release ${next.manifest.sequence}: `);
  expect(await machine.state("applied.json")).toMatchObject({ sequence: next.manifest.sequence });
});

test("releases by git, and reports by sftp", async () => {
  const machine = await machineOf("both", { sftp: true });
  const { manifest } = await publish("both", "environment.systemPackages = [ pkgs.curl ];");
  const { status } = await machine.agent({ BENTO_FETCHER: "git", BENTO_REPORTER: "sftp" });
  expect(status).toBe(0);
  expect(await world.report("both")).toMatchObject({ outcome: "success", sequence: manifest.sequence });
  expect(await world.heartbeat("both")).toMatchObject({ running: manifest.toplevel, sequence: manifest.sequence });
});

test("what the host gets is what was published, byte for byte, whatever its git and the release say", async () => {
  const machine = await machineOf("exact");
  await using home = await scratch();
  await writeTree(home.path, {
    ".gitconfig": `[core]\n\tautocrlf = true\n\teol = crlf\n\tsymlinks = false\n\tattributesFile = ${home.path}/attributes\n[filter "shout"]\n\tsmudge = tr a-z A-Z\n`,
    attributes: "* text eol=crlf ident filter=shout\n",
    "hooks/post-checkout": { executable: "#!/bin/sh\nexit 1\n" },
  });
  await using release = await scratch();
  const attributes =
    "* text=auto eol=crlf ident export-subst export-ignore working-tree-encoding=UTF-16 filter=shout\n";
  await writeTree(release.path, {
    "tree/.gitattributes": attributes,
    "tree/deep/.gitattributes": "* -text ident\n[attr]binary text\n",
    "tree/.gitmodules": '[submodule "x"]\n\tpath = deep\n\turl = ../x\n',
    "tree/.gitignore": "*\n",
    "tree/envelope": "not the envelope\n",
    "tree/lf": "a\nb\n",
    "tree/crlf": "a\r\nb\r\n",
    "tree/deep/ident": "$Id$ $Format:%H$\n",
    "tree/binary": "\0\u0001\n",
    "tree/empty": "",
    "tree/run": { executable: "#!/bin/sh\n" },
    "tree/new\nline": "x",
    'tree/"quoted" \\ name': "x",
    "tree/git~1": "x",
    "tree/-x": "x",
    "tree/ünïcode": "ü",
    "tree/link": { link: "deep/ident" },
    "tree/dangling": { link: "../secrets/nothing" },
    "secrets/wifi.age": "age\r\n",
    "nixpkgs.json": "{}\n",
  });
  const signed = await world.release("exact", { dir: release.path }, { evaluate: false });
  await put("exact", signed);

  const hostile = {
    HOME: home.path,
    GIT_DIR: "/nonexistent",
    GIT_INDEX_FILE: "/nonexistent",
    GIT_CONFIG_COUNT: "1",
    GIT_CONFIG_KEY_0: "core.autocrlf",
    GIT_CONFIG_VALUE_0: "true",
    GIT_SSH_COMMAND: "/nonexistent",
  };
  const polled = await fetcher(machine, ["poll"], hostile);
  expect(polled).toEqual({ status: 0, stdout: signed.envelope, stderr: "" });
  const into = machine.path("state/release.new");
  expect(await fetcher(machine, ["fetch", "/dev/null", into], hostile)).toEqual({ status: 0, stdout: "", stderr: "" });
  expect(await narDigest(into)).toBe(signed.manifest.digest);
  // What sftp hosts get of it is the archive, which has the same.
  const packed = await archiveInto(world.dir, into);
  expect(packed.name).toBe(signed.archive.name);
});

test("a poll asks once, and gets a commit only when it is news", async () => {
  const machine = await world.machine("exact");
  const log = machine.path("connections");
  const config = machine.path("count");
  await writeFile(config, `PermitLocalCommand yes\nLocalCommand echo >> ${log}\n`);
  const env = { BENTO_SSH_CONFIG: config };
  const connections = async () => (await readFile(log, "utf8").catch(() => "")).length;
  await rm(machine.path("state/git"), { recursive: true, force: true });
  expect((await fetcher(machine, ["poll"], { ...env, BENTO_PROBE: "1" })).status).toBe(0);
  expect(await connections()).toBe(1);
  expect((await fetcher(machine, ["poll"], env)).stdout).toMatch(/^\{"payload"/);
  expect(await connections()).toBe(3);
  expect((await fetcher(machine, ["poll"], env)).stdout).toMatch(/^\{"payload"/);
  expect(await connections()).toBe(4);
});

test("reports have no place in git", async () => {
  const machine = await machineOf("lost");
  expect(await fetcher(machine, ["report", "/dev/null"])).toEqual({
    status: 69,
    stdout: "",
    stderr: "git: git has no place for reports\n",
  });
});

test("the remote is told apart from one that isn't it, one that doesn't know us, and one that isn't there", async () => {
  const shown = server.remote.replace("root@", "");
  const expectPoll = async (git: GitRemote, status: number, message: string | RegExp, env = {}) => {
    const machine = await machineOf("lost", { git });
    const polled = await fetcher(machine, ["poll"], env);
    expect(polled.stderr).toMatch(message);
    expect(polled.stderr.trimEnd().split("\n")).toHaveLength(1);
    expect([polled.status, polled.stdout]).toEqual([status, ""]);
  };
  const stranger = await makeKey(path.join(world.dir, "keys/stranger"));
  await expectPoll(settings({ hostKeys: [stranger.publicKey] }), 76, `git: ${shown} showed another host key than`);
  await expectPoll(settings({ hostKeys: [] }), 2, `git: ${shown} has no pinned host key: put it into git.hostKeys`);
  await expectPoll(settings(), 77, `git: ${shown} refused the key ${stranger.file}\n`, {
    BENTO_GIT_KEY: stranger.file,
  });
  await expectPoll(settings(), 77, /refused the key \/none, which does not exist\n$/, { BENTO_GIT_KEY: "/none" });
  await expectPoll(settings({ remote: `${server.remote}x` }), 1, `${shown}x is no git repository, or is not shown to`);
  await expectPoll(
    settings({ remote: "http://a:secret@127.0.0.1:1/x" }),
    75,
    /^git: http:\/\/127\.0\.0\.1:1\/x can't be/,
  );
  await expectPoll(settings({ remote: "ext::sh -c true" }), 2, "git: this is no address of a git repository: ext::sh");
  await server.stop();
  try {
    await expectPoll(settings(), 75, /^git: ssh:.* can't be reached: ssh: connect to host .*: Connection refused\n$/);
    const machine = await machineOf("lost");
    expect((await machine.agent()).status).toBe(75);
  } finally {
    await server.start();
  }
});

test("a ref that isn't Bento's is a failure, and no silence", async () => {
  const machine = await machineOf("foreign");
  const tree = await succeed("git", [`--git-dir=${server.repository}`, "mktree"], { input: "" });
  const author = ["-c", "user.name=x", "-c", "user.email=x@example.org"];
  const commit = await succeed("git", [`--git-dir=${server.repository}`, ...author, "commit-tree", "-m", "x", tree]);
  await server.git("update-ref", "refs/heads/bento/foreign", commit);
  expect(await fetcher(machine, ["poll"])).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/^git: refs\/heads\/bento\/foreign of .* is there, and has no envelope: /),
  });
});

test("a repository that a power cut has damaged is made anew", async () => {
  const machine = await machineOf("damaged", { git: settings({ remote: `file://${server.repository}` }) });
  const release = await publish("damaged", "# 1");
  expect((await fetcher(machine, ["poll"])).stdout).toBe(release.envelope);
  const repository = machine.path("state/git");
  const damages: ((file: string) => Promise<void>)[] = [
    async () => writeFile(path.join(repository, "refs/release"), ""),
    async () => writeFile(path.join(repository, "config"), "\0\0\0"),
    async () => writeFile(path.join(repository, "config"), ""),
    async () => writeFile(path.join(repository, "info/attributes"), ""),
    async () => writeFile(path.join(repository, "HEAD"), ""),
    async () => rm(path.join(repository, "objects"), { recursive: true }),
    async () => {
      const packs = path.join(repository, "objects/pack");
      for (const name of await readdir(packs)) {
        await rm(path.join(packs, name));
        await writeFile(path.join(packs, name), "");
      }
    },
    async () => {
      await rm(repository, { recursive: true });
      await symlink("/nonexistent", repository);
    },
  ];
  for (const [index, damage] of damages.entries()) {
    await damage(repository);
    const polled = await fetcher(machine, ["poll"]);
    expect([index, polled]).toEqual([index, { status: 0, stdout: release.envelope, stderr: "" }]);
    expect(await readFile(path.join(repository, "info/attributes"), "utf8")).toContain("!text");
    expect(await readFile(path.join(repository, "config"), "utf8")).toContain("fsync = all");
    const into = machine.path(`run/release-${index}`);
    expect((await fetcher(machine, ["fetch", "/dev/null", into])).status).toBe(0);
    expect(await narDigest(into)).toBe(release.manifest.digest);
  }
});

test("a small commit that stands for more files than any disk has room for is not unpacked", async () => {
  const machine = await machineOf("endless");
  const release = await publish("endless", "");
  const git = async (command: string) => (await succeed("sh", ["-c", `cd ${server.repository} && ${command}`])).trim();
  let tree = await git("printf x | git hash-object -w --stdin | sed 's/.*/100644 blob &\\tx/' | git mktree");
  for (let deep = 0; deep < 9; deep++) {
    tree = await git(`for n in 0 1 2 3 4 5 6 7 8 9; do printf '040000 tree ${tree}\\t%s\\n' $n; done | git mktree`);
  }
  const envelope = await git("git rev-parse refs/heads/bento/endless:envelope");
  const all = await git(`printf '100644 blob ${envelope}\\tenvelope\\n040000 tree ${tree}\\ttree\\n' | git mktree`);
  await git(`git update-ref refs/heads/bento/endless $(git -c user.name=x -c user.email=x commit-tree -m x ${all})`);
  expect((await fetcher(machine, ["poll"])).stdout).toBe(release.envelope);
  const { status, stderr } = await machine.agent();
  expect(stderr).toMatch(
    /\nfailed: it could not be fetched: git: \S+ of \S+ has more files in it, or larger ones, than any release\n$/,
  );
  expect(status).toBe(1);
});

long("more than a release may have is not taken in", async () => {
  const machine = await machineOf("large");
  await using release = await scratch();
  const noise = Array.from({ length: 60_000 }, (_, index) => ((index * 2654435761) % 4294967296).toString(36)).join("");
  await writeTree(release.path, { "tree/noise": noise });
  await put("large", await world.release("large", { dir: release.path }, { evaluate: false }));
  const polled = await fetcher(machine, ["poll"], { BENTO_MAX_RELEASE: "65536" });
  expect(polled.stderr).toMatch(
    /^git: refs\/heads\/bento\/large of .* is larger than the 64 KiB that there is room for\n$/,
  );
  expect([polled.status, polled.stdout]).toEqual([1, ""]);
  expect((await fetcher(machine, ["poll"])).status).toBe(0);
});
