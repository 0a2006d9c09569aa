import { execFileSync } from "node:child_process";
import { rm, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { Repository } from "../../src/platform/git.ts";
import { narDigest } from "../../src/tree/nar.ts";
import { Stager } from "../../src/tree/stage.ts";
import { hostNamed } from "../fleet/host.ts";
import { type GitRepository, gitRepository } from "../platform/git.ts";
import { refusal, stage, stagerOf, web } from "./staging.ts";

// Knowing a release before it is made.

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
