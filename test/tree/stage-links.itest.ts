import { readFile, stat, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { gitRepository } from "../platform/git.ts";
import type { Entry } from "../platform/scratch.ts";
import { refusal, stage, tree } from "./staging.ts";

// Symlinks: kept where they stay inside, replaced by what they lead to where they don't, and refused by their name otherwise.

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
