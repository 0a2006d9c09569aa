import { execFileSync } from "node:child_process";
import { mkdir, readdir, readFile, readlink, rename, rm, stat, symlink, unlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { HostError } from "../../src/errors.ts";
import type { Host } from "../../src/fleet/fleet.ts";
import { Repository } from "../../src/platform/git.ts";
import { narDigest } from "../../src/tree/nar.ts";
import { type StagedRelease, Stager } from "../../src/tree/stage.ts";
import { hostNamed } from "../fleet/host.ts";
import { type GitRepository, gitRepository } from "../platform/git.ts";
import type { Entry } from "../platform/scratch.ts";

const web = hostNamed("web");

/** A stager of a repository as it is now; what it makes goes with the repository. */
async function stagerOf(repo: GitRepository, fleet = "."): Promise<Stager> {
  const into = path.join(repo.dir, "..", `staged-${Math.random()}`);
  return Stager.open(await Repository.open(repo.dir), { dir: path.join(repo.dir, fleet) }, into);
}

const stage = async (repo: GitRepository, host: Host = web, fleet?: string) =>
  (await stagerOf(repo, fleet)).stage(host);

/** Everything below a directory: what `writeTree` would be given to make it. */
async function read(dir: string): Promise<Record<string, Entry>> {
  const found: Record<string, Entry> = {};
  for (const entry of await readdir(dir, { withFileTypes: true, recursive: true })) {
    const file = path.join(entry.parentPath, entry.name);
    const name = path.relative(dir, file);
    if (entry.isSymbolicLink()) found[name] = { link: await readlink(file) };
    else if (entry.isFile()) {
      const text = await readFile(file, "utf8");
      found[name] = ((await stat(file)).mode & 0o100) === 0 ? text : { executable: text };
    } else if (!entry.isDirectory()) throw new Error(`${file} is neither a file, a directory nor a symlink`);
  }
  return found;
}

const tree = async (release: StagedRelease) => read(release.treeDir);

/** What staging says when it can't be done. */
async function refusal(
  staging: Promise<unknown>,
): Promise<{ message: string; file: string | undefined; hint: string | undefined }> {
  const error = await staging.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(HostError);
  const { message, at, hint } = error as HostError;
  return { message, file: at?.file, hint };
}

test("the link to utils is replaced by its content, as the Bento of 2022 shipped it", async () => {
  await using repo = await gitRepository({
    "hosts/web/configuration.nix": "{ }",
    "hosts/web/utils": { link: "../../utils/" },
    "utils/common.nix": "{ common = 1; }",
    "utils/bin/tool": { executable: "#!/bin/sh\n" },
    "hosts/other/configuration.nix": "{ }",
  });
  const release = await stage(repo);
  expect(await tree(release)).toEqual({
    "configuration.nix": "{ }",
    "utils/common.nix": "{ common = 1; }",
    "utils/bin/tool": { executable: "#!/bin/sh\n" },
  });
  expect(release.origin("utils/common.nix")).toBe("utils/common.nix");
  expect(release.origin("utils/bin/tool")).toBe("utils/bin/tool");
  expect(release.origin("configuration.nix")).toBe("hosts/web/configuration.nix");
  expect(release.origin(".")).toBe("hosts/web");
  expect([...release.sources].sort()).toEqual([
    "hosts/web/configuration.nix",
    "hosts/web/utils",
    "utils/bin/tool",
    "utils/common.nix",
  ]);
});

test("what git doesn't track isn't there: untracked, ignored, and taken out of the index", async () => {
  await using repo = await gitRepository({
    ".gitignore": "*.qcow2\n",
    "hosts/web/configuration.nix": "{ }",
    "hosts/web/removed.nix": "{ }",
    "utils/common.nix": "{ }",
    "hosts/web/utils": { link: "../../utils" },
  });
  await writeFile(path.join(repo.dir, "hosts/web/untracked.nix"), "x");
  await writeFile(path.join(repo.dir, "utils/untracked.nix"), "x");
  await writeFile(path.join(repo.dir, "hosts/web/disk.qcow2"), "x");
  repo.git("rm", "-q", "--cached", "hosts/web/removed.nix");
  expect(Object.keys(await tree(await stage(repo))).sort()).toEqual(["configuration.nix", "utils/common.nix"]);
});

test("what is changed and not committed is staged as it is on disk, and what was added is there", async () => {
  await using repo = await gitRepository({ "hosts/web/configuration.nix": "old" });
  await writeFile(path.join(repo.dir, "hosts/web/configuration.nix"), "new");
  await writeFile(path.join(repo.dir, "hosts/web/added.nix"), "added");
  repo.git("add", "hosts/web/added.nix");
  expect(await tree(await stage(repo))).toEqual({ "configuration.nix": "new", "added.nix": "added" });
});

test("the executable bit is git's, whatever the disk says and the umask takes", async () => {
  await using repo = await gitRepository({ "hosts/web/a": "1", "hosts/web/b": { executable: "2" } });
  repo.git("config", "core.fileMode", "false");
  repo.git("update-index", "--chmod=+x", "hosts/web/a");
  repo.git("update-index", "--chmod=-x", "hosts/web/b");
  const umask = process.umask(0o077);
  try {
    expect(await tree(await stage(repo))).toEqual({ a: { executable: "1" }, b: "2" });
  } finally {
    process.umask(umask);
  }
});

test("names of every kind that is UTF-8", async () => {
  const names = ["with space.nix", "émile.nix", "new\nline", 'quo"te', "-dash", "雪/#?.nix", "back\\slash"];
  await using repo = await gitRepository(Object.fromEntries(names.map((name) => [`hosts/web/${name}`, name])));
  const release = await stage(repo);
  expect(await tree(release)).toEqual(Object.fromEntries(names.map((name) => [name, name])));
  expect(release.origin("雪/#?.nix")).toBe("hosts/web/雪/#?.nix");
});

test("a name that isn't UTF-8 is that host's error alone", async () => {
  await using repo = await gitRepository({
    "hosts/web/configuration.nix": "{ }",
    "hosts/nas/configuration.nix": "{ }",
  });
  await writeFile(Buffer.concat([Buffer.from(`${repo.dir}/hosts/web/`), Buffer.from([0xff, 0x2e])]), "x");
  repo.git("add", "-A");
  const stager = await stagerOf(repo);
  const error = await refusal(stager.stage(web));
  expect(error.message).toMatch(/^hosts\/web\/\ufffd\.: its name is not valid UTF-8$/);
  expect(await tree(await stager.stage(hostNamed("nas")))).toEqual({ "configuration.nix": "{ }" });
});

// ---- Symlinks

test("links that stay inside are kept as they are, also broken up ones into themselves", async () => {
  const links = {
    "hosts/web/file": { link: "modules/a.nix" },
    "hosts/web/directory": { link: "modules/" },
    "hosts/web/modules/up": { link: "../configuration.nix" },
    "hosts/web/modules/here": { link: "." },
    "hosts/web/modules/around": { link: "./../modules/./a.nix" },
    "hosts/web/chain": { link: "file" },
    "hosts/web/through": { link: "directory/a.nix" },
  } as const;
  await using repo = await gitRepository({
    "hosts/web/configuration.nix": "{ }",
    "hosts/web/modules/a.nix": "a",
    ...links,
  });
  expect(await tree(await stage(repo))).toEqual({
    "configuration.nix": "{ }",
    "modules/a.nix": "a",
    ...Object.fromEntries(Object.entries(links).map(([name, link]) => [name.slice("hosts/web/".length), link])),
  });
});

test("a place behind a kept link is called in the fleet what it really is", async () => {
  await using repo = await gitRepository({
    "hosts/web/configuration.nix": "{ }",
    "hosts/web/modules/a.nix": "a",
    "hosts/web/mine": { link: "modules" },
    "hosts/web/a.nix": { link: "mine/a.nix" },
    "hosts/web/utils": { link: "../../utils" },
    "utils/real.nix": "{ }",
    "utils/alias.nix": { link: "real.nix" },
  });
  const release = await stage(repo);
  expect(release.origin("mine/a.nix")).toBe("hosts/web/modules/a.nix");
  expect(release.origin("a.nix")).toBe("hosts/web/modules/a.nix");
  expect(release.origin("utils/alias.nix")).toBe("utils/real.nix");
});

test("a link out of the host to one file becomes that file", async () => {
  await using repo = await gitRepository({
    "hosts/web/configuration.nix": "{ }",
    "hosts/web/common.nix": { link: "../../utils/common.nix" },
    "hosts/web/tool": { link: "../../utils/tool" },
    "utils/common.nix": "{ common = 1; }",
    "utils/tool": { executable: "#!/bin/sh\n" },
  });
  const release = await stage(repo);
  expect(await tree(release)).toEqual({
    "configuration.nix": "{ }",
    "common.nix": "{ common = 1; }",
    tool: { executable: "#!/bin/sh\n" },
  });
  expect(release.origin("common.nix")).toBe("utils/common.nix");
});

test("a chain of links that ends outside becomes what is at its end", async () => {
  await using repo = await gitRepository({
    "hosts/web/a": { link: "b" },
    "hosts/web/b": { link: "c" },
    "hosts/web/c": { link: "../../shared/d" },
    "shared/d": { link: "e/f" },
    "shared/e/f": "the end",
  });
  const release = await stage(repo);
  // The first two still mean the same beside the third, which is a file now.
  expect(await tree(release)).toEqual({ a: { link: "b" }, b: { link: "c" }, c: "the end" });
  expect(release.origin("c")).toBe("shared/e/f");
});

test("links inside what a link was replaced by: kept, replaced, and back into another host's shared parts", async () => {
  await using repo = await gitRepository({
    "hosts/web/utils": { link: "../../utils" },
    "utils/inside": { link: "deep/file" },
    "utils/deep/file": "file",
    "utils/deep/outside": { link: "../../keys/key" },
    "utils/keys": { link: "../keys" },
    "keys/key": "key",
    "keys/host": { link: "../hosts/nas/only.nix" },
    "hosts/nas/only.nix": "nas",
  });
  const release = await stage(repo);
  expect(await tree(release)).toEqual({
    "utils/inside": { link: "deep/file" },
    "utils/deep/file": "file",
    "utils/deep/outside": "key",
    "utils/keys/key": "key",
    "utils/keys/host": "nas",
  });
  expect(release.origin("utils/keys/key")).toBe("keys/key");
  expect(release.origin("utils/keys/host")).toBe("hosts/nas/only.nix");
  expect(release.origin("utils/deep/outside")).toBe("keys/key");
});

test("`..` behind another link leads from where that one leads, as on disk", async () => {
  await using repo = await gitRepository({
    "hosts/web/utils": { link: "../../shared/utils" },
    "hosts/web/key": { link: "utils/../keys/web" },
    "shared/utils/a": "a",
    "shared/keys/web": "the key",
    // What it would be if `..` were taken off the text.
    "hosts/web/keys/web": "another",
  });
  expect(await readFile(path.join(repo.dir, "hosts/web/key"), "utf8")).toBe("the key");
  expect(await tree(await stage(repo))).toEqual({ "utils/a": "a", "keys/web": "another", key: "the key" });
});

test("a link that goes out and comes back in is content, since the directory has another name on the host", async () => {
  await using repo = await gitRepository({
    "hosts/web/real": "content",
    "hosts/web/link": { link: "../web/real" },
  });
  expect(await tree(await stage(repo))).toEqual({ real: "content", link: "content" });
});

test.each([
  [
    "absolute",
    { link: "/etc/passwd" },
    "hosts/web/link -> /etc/passwd: an absolute symlink means another place on the host",
  ],
  ["out of the repository", { link: "../../../secret" }, "hosts/web/link -> ../../../secret: it leaves the repository"],
  [
    "out of the repository and back",
    { link: "../../../repository/hosts/web/file" },
    "hosts/web/link -> ../../../repository/hosts/web/file: it leaves the repository",
  ],
  ["to nothing", { link: "missing" }, "hosts/web/link -> missing: git tracks nothing there"],
  ["to an untracked file", { link: "../../untracked" }, "hosts/web/link -> ../../untracked: git tracks nothing there"],
  ["to itself", { link: "link" }, "hosts/web/link -> link: a loop of symlinks"],
  [
    "into git's own directory",
    { link: "../../.git/config" },
    "hosts/web/link -> ../../.git/config: git tracks nothing there",
  ],
  ["through a file", { link: "file/../file" }, "hosts/web/link -> file/../file: git tracks nothing there"],
  ["through nothing", { link: "missing/../file" }, "hosts/web/link -> missing/../file: git tracks nothing there"],
  [
    "behind another link to a place outside",
    { link: "up/../secret" },
    "hosts/web/link -> up/../secret: it leaves the repository",
  ],
])("a link %s is refused by its name", async (_, link, message) => {
  await using repo = await gitRepository({ "hosts/web/file": "x", "hosts/web/up": { link: "../.." } });
  await writeFile(path.join(repo.dir, "../secret"), "secret");
  await writeFile(path.join(repo.dir, "untracked"), "x");
  repo.git("rm", "-q", "--cached", "hosts/web/up");
  if (message.includes("up/..")) repo.git("add", "hosts/web/up");
  await symlink(link.link, path.join(repo.dir, "hosts/web/link"));
  repo.git("add", "hosts/web/link");
  const error = await refusal(stage(repo));
  expect(error.message).toBe(message);
  expect(error.file).toBe("hosts/web/link");
});

test("a loop of several links", async () => {
  await using repo = await gitRepository({
    "hosts/web/a": { link: "b" },
    "hosts/web/b": { link: "../../c" },
    c: { link: "hosts/web/a" },
  });
  expect((await refusal(stage(repo))).message).toMatch(/^hosts\/web\/[ab] -> .*: a loop of symlinks$/);
});

test("links that would take for ever to follow are a loop too, as to Linux", async () => {
  const links = Array.from({ length: 12 }, (_, i): [string, Entry] => [
    `hosts/web/l${i}`,
    { link: `l${i + 1}/../l${i + 1}/../l${i + 1}` },
  ]);
  await using repo = await gitRepository({ ...Object.fromEntries(links), "hosts/web/l12/file": "x" });
  await expect(stat(path.join(repo.dir, "hosts/web/l0"))).rejects.toThrow(/ELOOP/);
  expect((await refusal(stage(repo))).message).toMatch(/: a loop of symlinks$/);
});

test("a link to a directory it is in itself never ends, and is told so", async () => {
  await using repo = await gitRepository({ "hosts/web/all": { link: "../../hosts" }, "hosts/web/file": "x" });
  const error = await refusal(stage(repo));
  expect(error.message).toBe("a symlink leads back to hosts, which it is in: the tree would never end");
});

test("two directories that link to each other", async () => {
  await using repo = await gitRepository({
    "hosts/web/utils": { link: "../../utils" },
    "utils/hosts": { link: "../hosts" },
  });
  expect((await refusal(stage(repo))).message).toMatch(/^a symlink leads back to (utils|hosts), which it is in/);
});

// ---- Working trees that aren't what git says: another step of the job may have made them so.

test("a fifo in a file's place is refused rather than waited for", async () => {
  await using repo = await gitRepository({ "hosts/web/configuration.nix": "{ }" });
  await rm(path.join(repo.dir, "hosts/web/configuration.nix"));
  execFileSync("mkfifo", [path.join(repo.dir, "hosts/web/configuration.nix")]);
  expect((await refusal(stage(repo))).message).toBe(
    "hosts/web/configuration.nix is tracked by git, but is no regular file",
  );
});

test("a link in a file's place isn't followed", async () => {
  await using repo = await gitRepository({ "hosts/web/configuration.nix": "{ }" });
  await rm(path.join(repo.dir, "hosts/web/configuration.nix"));
  await symlink("/etc/passwd", path.join(repo.dir, "hosts/web/configuration.nix"));
  expect((await refusal(stage(repo))).message).toBe(
    "hosts/web/configuration.nix is tracked by git, but can't be read as a file (ELOOP)",
  );
});

test("a link in a directory's place isn't followed, neither to files nor to links below it", async () => {
  await using repo = await gitRepository({
    "hosts/web/configuration.nix": "{ }",
    "hosts/web/a/file": "x",
    "hosts/nas/b/link": { link: "../file" },
    "hosts/nas/file": "x",
  });
  for (const dir of ["hosts/web/a", "hosts/nas/b"]) {
    await rename(path.join(repo.dir, dir), path.join(repo.dir, "../elsewhere"));
    await symlink(path.join(repo.dir, "../elsewhere"), path.join(repo.dir, dir));
    const host = hostNamed(path.basename(path.dirname(dir)));
    expect((await refusal(stage(repo, host))).message).toBe(`${dir} is a directory to git, but a symlink on disk`);
    await unlink(path.join(repo.dir, dir));
    await rm(path.join(repo.dir, "../elsewhere"), { recursive: true });
  }
});

test("a directory in a file's place, a file in a link's, and nothing at all", async () => {
  await using repo = await gitRepository({
    "hosts/a/f": "x",
    "hosts/b/link": { link: "../a/f" },
    "hosts/c/gone.nix": "x",
    "hosts/d/gone": { link: "f" },
    "hosts/d/f": "x",
  });
  await rm(path.join(repo.dir, "hosts/a/f"));
  await mkdir(path.join(repo.dir, "hosts/a/f"));
  await rm(path.join(repo.dir, "hosts/b/link"));
  await writeFile(path.join(repo.dir, "hosts/b/link"), "../a/f");
  await rm(path.join(repo.dir, "hosts/c/gone.nix"));
  await rm(path.join(repo.dir, "hosts/d/gone"));
  const stager = await stagerOf(repo);
  expect((await refusal(stager.stage(hostNamed("a")))).message).toBe(
    "hosts/a/f is tracked by git, but is no regular file",
  );
  expect((await refusal(stager.stage(hostNamed("b")))).message).toBe(
    "hosts/b/link is a symlink to git, but not on disk",
  );
  const gone = await refusal(stager.stage(hostNamed("c")));
  expect(gone.message).toBe("hosts/c/gone.nix is tracked by git, but can't be read as a file (ENOENT)");
  expect(gone.hint).toBe("restore it (git checkout -- hosts/c/gone.nix) or take it out (git rm hosts/c/gone.nix)");
  expect((await refusal(stager.stage(hostNamed("d")))).message).toBe(
    "hosts/d/gone is a symlink to git, but not on disk",
  );
});

test("a submodule is refused with a way out, also behind a link", async () => {
  await using inner = await gitRepository({ file: "x" });
  await using repo = await gitRepository({ "hosts/web/a": "x", "hosts/nas/link": { link: "../../sub" } });
  for (const place of ["hosts/web/sub", "sub"]) {
    repo.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", inner.dir, place);
  }
  const error = await refusal(stage(repo));
  expect([error.message, error.file]).toEqual([
    "hosts/web/sub is a git submodule, which is not staged",
    "hosts/web/sub",
  ]);
  expect(error.hint).toContain("flake input");
  expect((await refusal(stage(repo, hostNamed("nas")))).message).toBe("sub is a git submodule, which is not staged");
});

test("a host of which git tracks nothing", async () => {
  await using repo = await gitRepository({ "hosts/nas/a": "x" });
  await mkdir(path.join(repo.dir, "hosts/web"));
  await writeFile(path.join(repo.dir, "hosts/web/configuration.nix"), "{ }");
  const error = await refusal(stage(repo));
  expect(error).toEqual({
    message: "git tracks no file in hosts/web/",
    file: "hosts/web",
    hint: "git add hosts/web",
  });
});

// ---- Which part of the repository

const rootFlake = {
  "flake.nix": "{ }",
  "flake.lock": "{}",
  "README.md": "read me",
  "modules/a.nix": "a",
  "hosts/web/configuration.nix": "web",
  "hosts/nas/configuration.nix": "nas",
} as const;

test("path '.' is everything that git tracks", async () => {
  await using repo = await gitRepository({ ...rootFlake, "hosts/web/utils": { link: "../../modules" } });
  const release = await stage(repo, hostNamed("web", { path: "." }));
  expect(await tree(release)).toEqual({ ...rootFlake, "hosts/web/utils": { link: "../../modules" } });
  expect(release.origin("modules/a.nix")).toBe("modules/a.nix");
  expect(release.origin(".")).toBe(".");
});

test("include names what a host gets, files and directories, at their places", async () => {
  await using repo = await gitRepository({ ...rootFlake, "hosts/website/x": "x", "flake.nix.orig": "x" });
  const include = ["flake.nix", "flake.lock", "hosts/web", "modules"];
  expect(await tree(await stage(repo, hostNamed("web", { path: ".", include })))).toEqual({
    "flake.nix": "{ }",
    "flake.lock": "{}",
    "modules/a.nix": "a",
    "hosts/web/configuration.nix": "web",
  });
});

test("a link from what is included to what isn't is replaced by its content, not left dangling", async () => {
  await using repo = await gitRepository({
    "flake.nix": "{ }",
    "hosts/web/utils": { link: "../../utils" },
    "hosts/web/one": { link: "../../utils/common.nix" },
    "hosts/web/kept": { link: "../../flake.nix" },
    "hosts/web/far": { link: "../../alias/common.nix" },
    alias: { link: "utils" },
    "utils/common.nix": "common",
    "hosts/nas/a": "nas",
  });
  const release = await stage(repo, hostNamed("web", { path: ".", include: ["flake.nix", "hosts/web"] }));
  expect(await tree(release)).toEqual({
    "flake.nix": "{ }",
    "hosts/web/utils/common.nix": "common",
    "hosts/web/one": "common",
    "hosts/web/kept": { link: "../../flake.nix" },
    "hosts/web/far": "common",
  });
  expect(release.origin("hosts/web/utils/common.nix")).toBe("utils/common.nix");
});

test("include within a host's own directory", async () => {
  await using repo = await gitRepository({ "hosts/web/a/1": "1", "hosts/web/b/2": "2", "hosts/web/c": "3" });
  expect(await tree(await stage(repo, hostNamed("web", { include: ["a", "c"] })))).toEqual({ "a/1": "1", c: "3" });
});

test("an include that names nothing is an error, not a smaller tree", async () => {
  await using repo = await gitRepository(rootFlake);
  const error = await refusal(stage(repo, hostNamed("web", { path: ".", include: ["flake.nix", "module"] })));
  expect(error.message).toBe("include: git tracks nothing at module");
});

test("secrets go beside the tree, each host's own", async () => {
  await using repo = await gitRepository({
    "hosts/web/configuration.nix": "{ }",
    "secrets/web/wifi.age": "web's",
    "secrets/web/shared.age": { link: "../shared.age" },
    "secrets/shared.age": "shared",
    "secrets/nas/wifi.age": "nas's",
    "hosts/nas/configuration.nix": "{ }",
    "hosts/none/configuration.nix": "{ }",
  });
  const stager = await stagerOf(repo);
  expect(await read((await stager.stage(web)).dir)).toEqual({
    "tree/configuration.nix": "{ }",
    "secrets/wifi.age": "web's",
    "secrets/shared.age": "shared",
  });
  expect(Object.keys(await read((await stager.stage(hostNamed("nas"))).dir))).toContain("secrets/wifi.age");
  expect(await read((await stager.stage(hostNamed("none"))).dir)).toEqual({ "tree/configuration.nix": "{ }" });
});

test("a fleet in a subdirectory of its repository: links may leave the fleet, and places are relative to it", async () => {
  await using repo = await gitRepository({
    "infra/fleet/hosts/web/configuration.nix": "{ }",
    "infra/fleet/hosts/web/lib": { link: "../../../../lib" },
    "infra/fleet/secrets/web/a.age": "secret",
    "infra/fleet/hosts/nas/bad": { link: "/etc/passwd" },
    "lib/a.nix": "a",
    "hosts/web/configuration.nix": "another's",
  });
  const stager = await stagerOf(repo, "infra/fleet");
  const release = await stager.stage(web);
  expect(await read(release.dir)).toEqual({
    "tree/configuration.nix": "{ }",
    "tree/lib/a.nix": "a",
    "secrets/a.age": "secret",
  });
  expect(release.origin("configuration.nix")).toBe("hosts/web/configuration.nix");
  expect(release.origin("lib/a.nix")).toBe("../../lib/a.nix");
  expect(release.origin(".")).toBe("hosts/web");
  expect(release.sources).toContain("infra/fleet/hosts/web/configuration.nix");
  expect((await refusal(stager.stage(hostNamed("nas")))).file).toBe("hosts/nas/bad");
  expect((await refusal(stager.stage(hostNamed("gone")))).file).toBe("hosts/gone");
});

test("a fleet's root as a host, in a subdirectory", async () => {
  await using repo = await gitRepository({ "fleet/flake.nix": "{ }", "fleet/a/b": "1", other: "x" });
  const release = await stage(repo, hostNamed("web", { path: "." }), "fleet");
  expect(await tree(release)).toEqual({ "flake.nix": "{ }", "a/b": "1" });
  expect(release.origin("a/b")).toBe("a/b");
});

test("a fleet reached through a symlink", async () => {
  await using repo = await gitRepository({ "fleet/hosts/web/a": "1" });
  await symlink(path.join(repo.dir, "fleet"), path.join(repo.dir, "../link"));
  expect(await tree(await stage(repo, web, "../link"))).toEqual({ a: "1" });
});

// ---- Sharing

test("hosts of one directory share a stage; those with secrets or another include have their own", async () => {
  await using repo = await gitRepository({ "hosts/lab/a": "1", "hosts/lab/b": "2", "secrets/three/x.age": "s" });
  const stager = await stagerOf(repo);
  const path = "hosts/lab";
  const [one, two, three, four] = await Promise.all([
    stager.stage(hostNamed("one", { path })),
    stager.stage(hostNamed("two", { path, attr: "other" })),
    stager.stage(hostNamed("three", { path })),
    stager.stage(hostNamed("four", { path, include: ["a"] })),
  ]);
  expect(two).toBe(one);
  expect(new Set([one.dir, three.dir, four.dir]).size).toBe(3);
  expect(await read(three.dir)).toEqual({ "tree/a": "1", "tree/b": "2", "secrets/x.age": "s" });
  expect(await tree(four)).toEqual({ a: "1" });
});

test("the same files give the same digest from another clone, at another time, under another umask", async () => {
  await using repo = await gitRepository({
    "hosts/web/configuration.nix": "{ }",
    "hosts/web/run": { executable: "#!/bin/sh\n" },
    "hosts/web/utils": { link: "../../utils/" },
    "utils/a": "a",
    "utils/b": { link: "a" },
  });
  const first = await narDigest((await stage(repo)).dir);
  await using other = await gitRepository();
  const umask = process.umask(0o027);
  try {
    other.git("pull", "-q", repo.dir, "main");
    expect(await narDigest((await stage(other)).dir)).toBe(first);
  } finally {
    process.umask(umask);
  }
});

// ---- Knowing a release before it is made

const shipped = {
  "hosts/web/configuration.nix": "{ }",
  "hosts/web/utils": { link: "../../utils" },
  "hosts/web/kept": { link: "configuration.nix" },
  "utils/a.nix": "a",
  "secrets/web/key.age": "secret",
  "README.md": "no part of it",
} as const;

test("a release's identity is another as soon as anything is that is shipped, committed or not", async () => {
  const changes: [string, (repo: GitRepository) => Promise<unknown>][] = [
    ["a file on disk", (repo) => writeFile(path.join(repo.dir, "hosts/web/configuration.nix"), "{ a = 1; }")],
    ["a file behind a link", (repo) => writeFile(path.join(repo.dir, "utils/a.nix"), "b")],
    ["a committed file", (repo) => repo.commit({ "utils/a.nix": "c" })],
    ["a new file", (repo) => repo.commit({ "utils/b.nix": "b" })],
    ["the executable bit", async (repo) => repo.git("update-index", "--chmod=+x", "utils/a.nix")],
    ["a secret", (repo) => repo.commit({ "secrets/web/key.age": "another" })],
    ["a file that is gone", async (repo) => repo.git("rm", "-q", "-f", "utils/b.nix")],
    [
      "a kept link",
      (repo) =>
        rm(path.join(repo.dir, "hosts/web/kept")).then(() => symlink("utils", path.join(repo.dir, "hosts/web/kept"))),
    ],
  ];
  await using repo = await gitRepository(shipped);
  const identities = [await (await stagerOf(repo)).identify(web)];
  const digests = [await narDigest((await stage(repo)).dir)];
  for (const [what, change] of changes) {
    await change(repo);
    identities.push(await (await stagerOf(repo)).identify(web));
    digests.push(await narDigest((await stage(repo)).dir));
    expect([what, identities.at(-1) !== identities.at(-2)]).toEqual([what, digests.at(-1) !== digests.at(-2)]);
  }
  expect(new Set(identities).size).toBe(changes.length + 1);
});

test("a release's identity is the same at another commit, in another checkout, whatever else there is", async () => {
  await using repo = await gitRepository(shipped);
  const before = await (await stagerOf(repo)).identify(web);
  const base = repo.head();
  await repo.commit({ "README.md": "another", "hosts/nas/configuration.nix": "{ }" });
  await writeFile(path.join(repo.dir, "hosts/web/untracked.nix"), "x");
  expect(await (await stagerOf(repo)).identify(web)).toBe(before);
  const repository = await Repository.open(repo.dir);
  await using checkout = await repository.checkout(base, path.join(repo.dir, "../base"));
  const there = await Stager.open(checkout, { dir: checkout.root }, path.join(repo.dir, "../staged-base"));
  expect(await there.identify(web)).toBe(before);
});

test("what can't be staged has no identity either, for the same reason", async () => {
  await using repo = await gitRepository({ "hosts/web/link": { link: "/etc/passwd" }, "hosts/nas/a": "x" });
  await rm(path.join(repo.dir, "hosts/nas/a"));
  await symlink("/etc/passwd", path.join(repo.dir, "hosts/nas/a"));
  const stager = await stagerOf(repo);
  for (const host of [web, hostNamed("nas"), hostNamed("gone")]) {
    expect(await refusal(stager.identify(host))).toEqual(await refusal(stager.stage(host)));
  }
});

test("what a release is made of has the digest of the release, before it is made and after", async () => {
  await using repo = await gitRepository({
    "hosts/web/configuration.nix": "{ }",
    "hosts/web/run": { executable: "#!/bin/sh\n" },
    "hosts/web/empty": "",
    "hosts/web/a-b/c": "1",
    "hosts/web/a/c": "2",
    "hosts/web/a.b": "3",
    "hosts/web/\u{1f40e}": "4",
    "hosts/web/\uffee": "5",
    "hosts/web/kept": { link: "a/c" },
    "hosts/web/utils": { link: "../../utils" },
    "utils/common.nix": "x".repeat(300_000),
    "secrets/web/wifi.age": "secret",
  });
  const host = hostNamed("web", {
    nixpkgs: { url: "https://example.org/nixpkgs.tar.gz", hash: `sha256-${"A".repeat(43)}=` },
  });
  const stager = await stagerOf(repo);
  const before = await stager.contents(host);
  const digest = await narDigest(before.root());
  const release = await stager.stage(host);
  expect(await narDigest(release.dir)).toBe(digest);
  expect(before.sources).toEqual(release.sources);
  // From here on it is the release that was made, and may have been evaluated.
  await writeFile(path.join(repo.dir, "hosts/web/configuration.nix"), "{ changed = 1; }");
  expect(await narDigest((await stager.contents(host)).root())).toBe(digest);
  expect(await narDigest(before.root())).not.toBe(digest);
});

test("what can't be read is that host's error, whether it is copied or read where it is", async () => {
  await using repo = await gitRepository({
    "hosts/web/configuration.nix": "{ }",
    "hosts/nas/configuration.nix": "{ }",
  });
  await rm(path.join(repo.dir, "hosts/web/configuration.nix"));
  execFileSync("mkfifo", [path.join(repo.dir, "hosts/web/configuration.nix")]);
  await rm(path.join(repo.dir, "hosts/nas/configuration.nix"));
  const stager = await stagerOf(repo);
  for (const host of [web, hostNamed("nas")]) {
    const { root } = await stager.contents(host);
    expect(await refusal(narDigest(root()))).toEqual(await refusal(stager.stage(host)));
  }
});
