import { execFileSync } from "node:child_process";
import { mkdir, rm, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { UnavailableError, UnreachableError } from "../../src/errors.ts";
import { GitPublisher } from "../../src/publish/git.ts";
import type { Upload } from "../../src/publish/publisher.ts";
import { archivesOf, nextManifest } from "../../src/release/plan.ts";
import { archiveInto, narDigest } from "../../src/tree/nar.ts";
import { type GitRepository, gitRepository } from "../platform/git.ts";
import { type Entry, scratch, writeTree } from "../platform/scratch.ts";
import { manifest as manifestWith } from "../release/manifest.ts";
import { GitServer } from "../support/git-server.ts";
import { believesAnybody } from "../support/hostile-ssh-config.ts";
import { type KeyPair, makeKey } from "../support/keys.ts";
import { sealWith } from "../support/release.ts";

let dir: Awaited<ReturnType<typeof scratch>>;
let server: GitServer;
let fleet: GitRepository;
let keys: { publisher: KeyPair; reader: KeyPair; stranger: KeyPair; signing: KeyPair };
const REFS = "refs/heads/bento/{host}";

beforeAll(async () => {
  dir = await scratch();
  const [publisher, reader, stranger, signing] = await Promise.all(
    ["publisher", "reader", "stranger", "signing"].map((name) => makeKey(path.join(dir.path, name))),
  );
  if (!publisher || !reader || !stranger || !signing) throw new Error("no keys");
  keys = { publisher, reader, stranger, signing };
  server = await GitServer.make(path.join(dir.path, "server"), {
    write: [publisher.publicKey],
    read: [reader.publicKey],
  });
  fleet = await gitRepository({ "fleet.yaml": "hosts: {}\n" });
});

afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
  await fleet?.[Symbol.asyncDispose]();
  await dir?.[Symbol.asyncDispose]();
});

beforeEach(async () => {
  vi.unstubAllEnvs();
  await server.hook("update", null);
});

interface Where {
  remote?: string;
  hostKeys?: string[];
  key?: string | null;
  repository?: string;
}

function open({ remote, hostKeys, key, repository }: Where = {}): Promise<GitPublisher> {
  return GitPublisher.open({
    settings: {
      remote: remote ?? `file://${server.repository}`,
      refs: REFS,
      hostKeys: hostKeys ?? [server.hostKey.publicKey],
    },
    repository: repository ?? fleet.dir,
    key: key === undefined ? keys.publisher.file : key,
    signal: new AbortController().signal,
  });
}

let sequence = 1000;

/** Something to publish: a release directory with these files, and its digest. */
async function upload(host: string, files: Readonly<Record<string, Entry>>): Promise<Upload & { digest: string }> {
  await using release = await scratch();
  await writeTree(release.path, files);
  const packed = await archiveInto(dir.path, release.path);
  sequence += 1;
  const { digest, name, size, sha256, file } = packed;
  const candidate = { ...manifestWith({ host, digest }), archive: { name, size, sha256 } };
  const manifest = nextManifest(candidate, null, sequence);
  const envelope = await sealWith(manifest, keys.signing);
  return { host, envelope, archive: { name, size, file }, keep: archivesOf(manifest), digest };
}

async function publish(uploads: readonly Upload[], where: Where = {}) {
  await using publisher = await open(where);
  await publisher.readCurrent(uploads.map(({ host }) => host));
  return await publisher.publish(uploads);
}

/** The digest of what a host's ref has beside its envelope, looked at as git has it: no work tree comes in between. */
async function publishedDigest(host: string): Promise<string> {
  await using out = await scratch();
  const git = (args: string[], input = "") =>
    execFileSync("git", [`--git-dir=${server.repository}`, ...args], { input, maxBuffer: 2 ** 26 });
  const lines = git(["ls-tree", "-r", "-z", "--full-tree", `refs/heads/bento/${host}`])
    .toString()
    .split("\0");
  const entries = lines.flatMap((line) => {
    const [mode = "", , id = ""] = line.split("\t")[0]?.split(" ") ?? [];
    const file = line.slice(line.indexOf("\t") + 1);
    return line === "" || file === "envelope" ? [] : [{ mode, id, file }];
  });
  const all = git(["cat-file", "--batch"], entries.map(({ id }) => `${id}\n`).join(""));
  let offset = 0;
  for (const { mode, file } of entries) {
    const start = all.indexOf("\n", offset) + 1;
    const end = start + Number(all.toString("latin1", offset, start).split(" ")[2]);
    offset = end + 1;
    const bytes = all.subarray(start, end);
    const target = path.join(out.path, file);
    await mkdir(path.dirname(target), { recursive: true });
    if (mode === "120000") await symlink(bytes, target);
    else await writeFile(target, bytes, { mode: mode === "100755" ? 0o755 : 0o644 });
  }
  return await narDigest(out.path);
}

test("the first release of two hosts, over ssh, and what a reader then finds", async () => {
  const first = await upload("first", {
    "tree/configuration.nix": "{ }\n",
    "tree/bin/run": { executable: "#!/bin/sh\n" },
  });
  const second = await upload("second", { "tree/a": "a", "secrets/key.age": "age\n", "nixpkgs.json": "{}\n" });
  {
    await using publisher = await open({ remote: server.remote });
    expect(publisher.name).toBe(server.remote.replace("root@", ""));
    const before = await publisher.readCurrent(["first", "second"]);
    expect([...before]).toEqual([
      ["first", { state: "missing" }],
      ["second", { state: "missing" }],
    ]);
    expect([...(await publisher.publish([first, second]))]).toEqual([
      ["first", null],
      ["second", null],
    ]);
  }
  await using reader = await open({ remote: server.remote, key: keys.reader.file });
  const current = await reader.readCurrent(["first", "second", "third"]);
  expect(current.get("first")).toEqual({ state: "present", envelope: first.envelope });
  expect(current.get("second")).toEqual({ state: "present", envelope: second.envelope });
  expect(current.get("third")).toEqual({ state: "missing" });
  expect(await server.git("ls-tree", "--name-only", "refs/heads/bento/second")).toBe(
    "envelope\nnixpkgs.json\nsecrets\ntree",
  );
  expect(await publishedDigest("first")).toBe(first.digest);
  expect(await publishedDigest("second")).toBe(second.digest);
  expect(`${await server.git("show", "refs/heads/bento/first:envelope")}\n`).toBe(first.envelope);
});

test("git log of a host's ref is its history", async () => {
  for (const text of ["one", "two", "three"]) {
    expect((await publish([await upload("log", { "tree/file": text })])).get("log")).toBeNull();
  }
  const log = await server.git(
    "log",
    "--format=%s|%(trailers:key=Bento-Sequence,valueonly,separator=%x20)|%an",
    "refs/heads/bento/log",
  );
  expect(log.split("\n")).toEqual(
    [sequence, sequence - 1, sequence - 2].map((each) => `Give the web a server|${each}|Bento`),
  );
  expect(
    await server.git("log", "-1", "--format=%(trailers:key=Bento-Digest,valueonly)", "refs/heads/bento/log"),
  ).toMatch(/^sha256-/);
  expect(await server.git("show", "refs/heads/bento/log~2:tree/file")).toBe("one");
  await server.git("fsck", "--strict");
});

test("any tree is published byte for byte, whatever it or this user's git says of line ends and filters", async () => {
  await using home = await scratch();
  vi.stubEnv("HOME", home.path);
  await writeFile(path.join(home.path, "attributes"), "* text eol=crlf ident filter=shout\n");
  await writeFile(
    path.join(home.path, ".gitconfig"),
    `[core]\n\tautocrlf = true\n\tattributesFile = ${home.path}/attributes\n\thooksPath = ${home.path}/hooks\n[filter "shout"]\n\tclean = tr a-z A-Z\n[push]\n\tfollowTags = true\n\tgpgSign = true\n[safe]\n\tbareRepository = explicit\n`,
  );
  await writeTree(path.join(home.path, "hooks"), { "pre-push": { executable: "#!/bin/sh\nexit 1\n" } });
  const attributes =
    "* text=auto eol=crlf ident export-subst working-tree-encoding=UTF-16\n*.x filter=lfs -text export-ignore\n";
  const content = fc.oneof(
    fc.constantFrom("", "\r\n", "a\r\nb\n", "$Id$ $Format:%H$", "\u0000\u0001\n", attributes, "ä".repeat(9000)),
    fc.string({ unit: "binary", maxLength: 40 }),
  );
  const name = fc
    .oneof(
      fc.constantFrom(
        ".gitattributes",
        ".gitignore",
        ".gitmodules",
        "a b",
        '"q"',
        "back\\slash",
        "new\nline",
        "ü",
        "-x",
        "git~1",
      ),
      fc.string({ minLength: 1, maxLength: 8 }),
    )
    .filter((text) => !/[/\0\ufffd]/.test(text) && !/^(\.|\.\.|\.git)$/i.test(text) && text.isWellFormed());
  const entry: fc.Arbitrary<Entry> = fc.oneof(
    content,
    content.map((executable) => ({ executable })),
    fc.constantFrom("a", "../x", "/nix/store", "ü\n").map((link) => ({ link })),
  );
  const trees = fc.dictionary(name, entry, { minKeys: 1, maxKeys: 12 });
  const releases = fc.array(fc.tuple(trees, trees), { minLength: 8, maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(releases, async (all) => {
      const uploads = await Promise.all(
        all.map(([top, deep], index) => {
          const files = [
            ...Object.entries(top).map(([key, value]) => [`tree/${key}`, value] as const),
            ...Object.entries(deep).map(([key, value]) => [`tree/a directory of it/${key}`, value] as const),
          ];
          return upload(`exact-${index}`, Object.fromEntries(files));
        }),
      );
      expect(new Set((await publish(uploads)).values())).toEqual(new Set([null]));
      for (const { host, digest } of uploads) expect(await publishedDigest(host)).toBe(digest);
    }),
    { numRuns: 4 },
  );
});

test("a ref that somebody moved in the meantime is that host's failure, and the others go out", async () => {
  await publish([await upload("raced", { "tree/a": "0" }), await upload("calm", { "tree/a": "0" })]);
  await using publisher = await open();
  await publisher.readCurrent(["raced", "calm", "fresh"]);
  const other = await upload("raced", { "tree/a": "theirs" });
  const fresh = await upload("fresh", { "tree/a": "theirs" });
  await publish([other, fresh]);
  const failures = await publisher.publish([
    await upload("raced", { "tree/a": "mine" }),
    await upload("calm", { "tree/a": "mine" }),
    await upload("fresh", { "tree/a": "mine" }),
  ]);
  expect(failures.get("raced")).toEqual({
    message: "refs/heads/bento/raced was not updated: somebody else has published in the meantime",
    hint: "deploy again",
  });
  expect(failures.get("fresh")?.message).toMatch(/was not updated: somebody else has published in the meantime$/);
  expect(failures.get("calm")).toBeNull();
  expect(await server.git("show", "refs/heads/bento/raced:tree/a")).toBe("theirs");
  expect(await server.git("show", "refs/heads/bento/calm:tree/a")).toBe("mine");
});

test("a ref that the server's rules protect is that host's failure, with what the server says", async () => {
  await server.hook("update", 'case $1 in */ruled) echo "only on weekdays" >&2; exit 1;; esac');
  const failures = await publish([await upload("ruled", { "tree/a": "1" }), await upload("free", { "tree/a": "1" })]);
  expect(failures.get("ruled")).toMatchObject({ message: "refs/heads/bento/ruled was not updated: hook declined" });
  expect(failures.get("free")).toBeNull();
  await using publisher = await open();
  expect((await publisher.readCurrent(["ruled"])).get("ruled")).toEqual({ state: "missing" });
});

test("what git can't hold is that host's failure", async () => {
  await using release = await scratch();
  await mkdir(path.join(release.path, "tree/empty"), { recursive: true });
  const hollow = await archiveInto(dir.path, release.path);
  const whole = await upload("whole", { "tree/a": "1" });
  const failures = await publish([{ ...(await upload("hollow", { "tree/a": "1" })), archive: hollow }, whole]);
  expect(failures.get("hollow")).toEqual({
    message: "git can't hold the empty directory tree/empty",
    hint: "put a file into it",
  });
  expect(failures.get("whole")).toBeNull();
});

test("a branch of that name that isn't Bento's is neither a release nor a first publish", async () => {
  await using other = await gitRepository({ "README.md": "mine" });
  execFileSync("git", ["-C", other.dir, "push", "-q", server.repository, "HEAD:refs/heads/bento/foreign"]);
  await using publisher = await open();
  expect((await publisher.readCurrent(["foreign"])).get("foreign")).toMatchObject({
    state: "failed",
    error: {
      message: "refs/heads/bento/foreign is there, and its newest commit has no envelope: it is not one of Bento's",
    },
  });
});

/** What is thrown when the refs are read. */
async function readError(where: Where): Promise<UnavailableError> {
  await using publisher = await open(where);
  const error = await publisher.readCurrent(["first"]).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(UnavailableError);
  return error as UnavailableError;
}

test("a remote that can't be read is never taken for one without releases, and it is said why", async () => {
  const name = server.remote.replace("root@", "");
  const stranger = await readError({ remote: server.remote, key: keys.stranger.file });
  expect(stranger.message).toBe(`${name} refused the ssh key`);
  expect(stranger).not.toBeInstanceOf(UnreachableError);

  const other = await readError({ remote: server.remote, hostKeys: [keys.stranger.publicKey] });
  expect(other.message).toBe(`${name} showed an ssh host key that is not the pinned or known one`);
  expect(other).not.toBeInstanceOf(UnreachableError);

  const nowhere = `${server.remote}x`;
  expect((await readError({ remote: nowhere })).message).toBe(
    `${nowhere.replace("root@", "")} is no git repository, or is not shown to this login`,
  );
  expect((await readError({ remote: `file://${dir.path}/nothing` })).message).toMatch(/is no git repository/);

  await using publisher = await open({ remote: server.remote, key: keys.reader.file });
  await publisher.readCurrent(["first"]);
  await expect(publisher.publish([await upload("first", { "tree/a": "x" })])).rejects.toThrow(UnavailableError);

  await server.stop();
  try {
    const down = await readError({ remote: server.remote });
    expect(down.message).toMatch(
      /^can't reach ssh:\/\/127\.0\.0\.1:\d+\/.*: ssh: connect to host .* Connection refused$/,
    );
    expect(down).toBeInstanceOf(UnreachableError);
  } finally {
    await server.start();
  }
});

test("a password in an address is not shown", async () => {
  const error = await readError({ remote: "http://ada:secret@127.0.0.1:1/fleet.git" });
  expect(error.message).toMatch(/^can't reach http:\/\/127\.0\.0\.1:1\/fleet\.git: /);
  expect(JSON.stringify([error.message, error.hint, String((error.cause as Error).message)])).not.toContain("secret");
});

test("settings for remotes of the fleet's own repository count, as actions/checkout leaves them, and it stays as it is", async () => {
  await using own = await gitRepository({ file: "x" });
  const extra = path.join(own.dir, "../credentials.config");
  await writeFile(extra, `[url "${server.remote}"]\n\tinsteadOf = "https://forge.example/a \\"b\\" \\\\c"\n`);
  own.git("config", `includeIf.gitdir:${own.dir}/.git.path`, extra);
  const ssh = `ssh -i ${keys.publisher.file} -o IdentitiesOnly=yes`;
  own.git("config", "core.sshCommand", ssh);
  const before = own.git("for-each-ref") + own.git("count-objects", "-v") + own.git("config", "--local", "--list");
  const remote = 'https://forge.example/a "b" \\c';
  const one = await upload("configured", { "tree/a": "1" });
  expect((await publish([one], { remote, key: null, repository: own.dir })).get("configured")).toBeNull();
  expect(own.git("for-each-ref") + own.git("count-objects", "-v") + own.git("config", "--local", "--list")).toBe(
    before,
  );
});

test("GIT_SSH_COMMAND of the environment is used, and GIT_DIR of a hook is not", async () => {
  vi.stubEnv("GIT_SSH_COMMAND", `ssh -i ${keys.publisher.file} -o IdentitiesOnly=yes`);
  vi.stubEnv("GIT_DIR", path.join(dir.path, "nowhere"));
  const where = { remote: server.remote, key: null };
  expect((await publish([await upload("hooked", { "tree/a": "1" })], where)).get("hooked")).toBeNull();
});

test("whatever this user's ssh is told to believe changes nothing about the pinned host key", async () => {
  const [program, config] = [path.join(dir.path, "known_hosts_command"), path.join(dir.path, "ssh_config")];
  await writeFile(config, await believesAnybody(program, server.hostKey.publicKey));
  vi.stubEnv("GIT_SSH_COMMAND", `ssh -F ${config}`);
  const other = await readError({ remote: server.remote, hostKeys: [keys.stranger.publicKey] });
  expect(other.message).toMatch(/ showed an ssh host key that is not the pinned or known one$/);
  await using publisher = await open({ remote: server.remote });
  await publisher.readCurrent(["first"]);
});

test("reading a hundred hosts is two connections, and publishing them one", async () => {
  const hosts = Array.from({ length: 100 }, (_, index) => `many-${index}`);
  const uploads = await Promise.all(
    hosts.map((host) => upload(host, { "tree/shared": "s".repeat(1000), "tree/own": host })),
  );
  const log = path.join(dir.path, "connections");
  await rm(log, { force: true });
  vi.stubEnv("GIT_SSH_COMMAND", `sh -c 'echo "$*" >> ${log}; exec ssh "$@"' ssh`);
  const failures = await publish(uploads, { remote: server.remote });
  expect([...failures.values()].filter((failure) => failure !== null)).toEqual([]);
  {
    await using publisher = await open({ remote: server.remote });
    const current = await publisher.readCurrent(hosts);
    expect([...current.values()].filter(({ state }) => state !== "present")).toEqual([]);
  }
  const asked = execFileSync("grep", ["-oE", "git-(upload|receive)-pack", log], { encoding: "utf8" });
  expect(asked).toBe("git-upload-pack\ngit-receive-pack\ngit-upload-pack\ngit-upload-pack\n");
});
