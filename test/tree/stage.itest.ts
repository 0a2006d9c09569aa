import { symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { narDigest } from "../../src/tree/nar.ts";
import { hostNamed } from "../fleet/host.ts";
import { gitRepository } from "../platform/git.ts";
import { read, refusal, stage, stagerOf, tree, web } from "./staging.ts";

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

// Which part of the repository

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

// Sharing

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
