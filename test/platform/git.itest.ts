import { existsSync } from "node:fs";
import { chown, mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { FleetError, UnavailableError } from "../../src/errors.ts";
import { Repository } from "../../src/platform/git.ts";
import { gitIn, gitRepository } from "./git.ts";
import { scratch } from "./scratch.ts";

// Whatever the user who runs this has set has no say here.
beforeEach(() => {
  vi.stubEnv("HOME", "/nonexistent");
  vi.stubEnv("XDG_CONFIG_HOME", undefined);
});
afterEach(() => {
  vi.unstubAllEnvs();
});

const thrownBy = (promise: Promise<unknown>): Promise<FleetError> =>
  promise.then(
    () => {
      throw new Error("it should have failed");
    },
    (error: FleetError) => error,
  );

test("a repository is found from a directory in it, and through a symlink to it", async () => {
  await using repo = await gitRepository({ "a/b/file": "x" });
  expect((await Repository.open(path.join(repo.dir, "a/b"))).root).toBe(repo.dir);
  await symlink(repo.dir, `${repo.dir}-link`);
  expect((await Repository.open(`${repo.dir}-link/a`)).root).toBe(repo.dir);
});

test("tracked: what is in the index, with git's modes and names of any kind", async () => {
  await using repo = await gitRepository({
    "plain.nix": "{ }",
    "a/script": { executable: "#!/bin/sh\n" },
    "a/link": { link: "../plain.nix" },
    "with space": "x",
    'tab\tquote"newline\nend': "x",
    "émile/雪": "x",
    ":(top)magic": "x",
    ".gitignore": "ignored\n",
  });
  await writeFile(path.join(repo.dir, "ignored"), "x");
  await writeFile(path.join(repo.dir, "untracked"), "x");
  const tracked = await (await Repository.open(path.join(repo.dir, "a"))).tracked();
  expect(Object.fromEntries(tracked.map((entry) => [entry.path, entry.mode]))).toEqual({
    ".gitignore": "100644",
    "plain.nix": "100644",
    "a/script": "100755",
    "a/link": "120000",
    "with space": "100644",
    'tab\tquote"newline\nend': "100644",
    "émile/雪": "100644",
    ":(top)magic": "100644",
  });
});

test("tracked below one directory only", async () => {
  await using repo = await gitRepository({ "a/one": "1", "b/two": "2", "ab/three": "3" });
  const tracked = await (await Repository.open(repo.dir)).tracked("a");
  expect(tracked.map((entry) => entry.path)).toEqual(["a/one"]);
});

test("a submodule is listed as one", async () => {
  await using inner = await gitRepository({ file: "x" });
  await using repo = await gitRepository({ file: "x" });
  repo.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", inner.dir, "sub");
  const tracked = await (await Repository.open(repo.dir)).tracked();
  expect(tracked.find((entry) => entry.path === "sub")?.mode).toBe("160000");
});

test("modified: tracked files that differ from HEAD, staged or not, removed and renamed", async () => {
  await using repo = await gitRepository({
    same: "1",
    staged: "1",
    "un staged": "1",
    removed: "1",
    "old name": "long enough\n",
  });
  const repository = await Repository.open(repo.dir);
  expect(await repository.modified()).toEqual([]);
  await writeFile(path.join(repo.dir, "staged"), "2");
  repo.git("add", "staged");
  await writeFile(path.join(repo.dir, "un staged"), "2");
  await rm(path.join(repo.dir, "removed"));
  repo.git("mv", "old name", "new name");
  await writeFile(path.join(repo.dir, "untracked"), "x");
  expect((await repository.modified()).sort()).toEqual(["new name", "old name", "removed", "staged", "un staged"]);
});

test("head: the commit and the first line of its message", async () => {
  await using repo = await gitRepository({ file: "1" });
  await repo.commit({ file: "2" }, "Give the nas a disk\n\nA long story.\n");
  const id = repo.head();
  expect(await (await Repository.open(repo.dir)).head()).toEqual({ id, subject: "Give the nas a disk" });
});

test("head of a repository without a commit says what to do", async () => {
  await using repo = await gitRepository();
  const repository = await Repository.open(repo.dir);
  const error = await thrownBy(repository.head());
  expect(error).toBeInstanceOf(FleetError);
  expect([error.message, error.hint]).toEqual(["the repository has no commit yet", "git add -A && git commit"]);
  expect((await thrownBy(repository.commitOf("HEAD"))).message).toBe(error.message);
});

test("commitOf: a branch, a tag, an abbreviation; and what this clone doesn't have", async () => {
  await using repo = await gitRepository({ file: "1" });
  const id = repo.head();
  repo.git("tag", "-a", "-m", "one", "v1");
  const repository = await Repository.open(repo.dir);
  for (const ref of ["main", "v1", id, id.slice(0, 10), "HEAD"]) expect(await repository.commitOf(ref)).toBe(id);
  const tree = repo.git("rev-parse", "HEAD^{tree}").trim();
  for (const ref of ["origin/main", "--all", "f".repeat(40), tree, ""]) {
    const error = await thrownBy(repository.commitOf(ref));
    expect(error).toBeInstanceOf(FleetError);
    expect(error.message).toBe(`git knows no commit '${ref}' here`);
    expect(error.hint).toContain("fetch-depth: 0");
  }
});

test("isAncestor: itself, an older one, a younger one, another branch, one of nowhere", async () => {
  await using repo = await gitRepository({ file: "1" });
  const first = repo.head();
  await repo.commit({ file: "2" });
  const second = repo.head();
  repo.git("checkout", "-q", "-b", "other", first);
  await repo.commit({ file: "3" });
  const other = repo.head();
  repo.git("merge", "-q", "-s", "ours", "--no-edit", "main");
  const merge = repo.head();
  repo.git("checkout", "-q", "--orphan", "unrelated");
  await repo.commit({ file: "4" });
  const unrelated = repo.head();
  const repository = await Repository.open(repo.dir);
  expect(await repository.isAncestor(second, second)).toBe(true);
  expect(await repository.isAncestor(first, second)).toBe(true);
  expect(await repository.isAncestor(second, first)).toBe(false);
  expect(await repository.isAncestor(other, second)).toBe(false);
  expect(await repository.isAncestor(second, merge)).toBe(true);
  expect(await repository.isAncestor(other, merge)).toBe(true);
  expect(await repository.isAncestor(unrelated, merge)).toBe(false);
  expect(await repository.isAncestor("f".repeat(40), merge)).toBeUndefined();
});

test("isAncestor in a shallow clone doesn't know what was cut off", async () => {
  await using repo = await gitRepository({ file: "1" });
  const first = repo.head();
  await repo.commit({ file: "2" });
  const second = repo.head();
  await using clones = await scratch();
  gitIn(clones.path, "clone", "-q", "--depth=1", `file://${repo.dir}`, "shallow");
  const repository = await Repository.open(path.join(clones.path, "shallow"));
  expect(await repository.isAncestor(first, second)).toBeUndefined();
});

test("a commit is checked out beside what is there, and goes with the scope", async () => {
  await using repo = await gitRepository({ file: "old", "a/gone": "x" });
  const base = repo.head();
  await rm(path.join(repo.dir, "a"), { recursive: true });
  await repo.commit({ file: "new" });
  await writeFile(path.join(repo.dir, "file"), "being edited");
  const repository = await Repository.open(repo.dir);
  await using dir = await scratch();
  const into = path.join(dir.path, "base");
  {
    await using checkout = await repository.checkout(base, into);
    expect(checkout.root).toBe(into);
    expect(await readFile(path.join(into, "file"), "utf8")).toBe("old");
    expect((await checkout.tracked()).map((entry) => entry.path)).toEqual(["a/gone", "file"]);
    expect((await checkout.head()).id).toBe(base);
    // Something may have been written into it meanwhile.
    await writeFile(path.join(into, "stray"), "x");
  }
  expect(existsSync(into)).toBe(false);
  expect(repo.git("worktree", "list").trim().split("\n")).toHaveLength(1);
  expect(await readFile(path.join(repo.dir, "file"), "utf8")).toBe("being edited");
  expect(repo.git("status", "--porcelain").trim()).toBe("M file");
});

test("the checkout goes without a fuss when its directory went before", async () => {
  await using repo = await gitRepository({ file: "old" });
  const repository = await Repository.open(repo.dir);
  await using dir = await scratch();
  const into = path.join(dir.path, "base");
  {
    await using _ = await repository.checkout("HEAD", into);
    await rm(into, { recursive: true });
  }
  expect(repo.git("worktree", "list").trim().split("\n")).toHaveLength(1);
});

test("a directory that is in no repository, and one that isn't there", async () => {
  await using dir = await scratch();
  const error = await thrownBy(Repository.open(dir.path));
  expect(error).toBeInstanceOf(FleetError);
  expect([error.message, error.hint]).toEqual([`${dir.path} is not in a git repository`, "git init"]);
  const missing = path.join(dir.path, "ENOENT");
  const other = await thrownBy(Repository.open(missing));
  expect(other).toBeInstanceOf(FleetError);
  expect(other.message).toBe(`${missing} is not a directory`);
});

test("another user's repository: the hint is the command that helps", async () => {
  await using repo = await gitRepository({ "deep/file": "x" });
  await chown(repo.dir, 12345, 12345);
  await chown(path.join(repo.dir, ".git"), 12345, 12345);
  const home = path.join(repo.dir, "../home");
  await mkdir(home);
  vi.stubEnv("HOME", home);
  const error = await thrownBy(Repository.open(path.join(repo.dir, "deep")));
  expect(error).toBeInstanceOf(FleetError);
  expect(error.message).toBe(`git refuses ${path.join(repo.dir, "deep")}: it belongs to another user`);
  const command = /^git (config --global --add safe\.directory \S+)$/.exec(error.hint ?? "")?.[1]?.split(" ") ?? [];
  gitIn(home, ...command);
  expect((await Repository.open(path.join(repo.dir, "deep"))).root).toBe(repo.dir);
});

test("git's own variables, as in a hook, don't lead to another repository", async () => {
  await using repo = await gitRepository({ mine: "x" });
  await using other = await gitRepository({ other: "x" });
  vi.stubEnv("GIT_DIR", path.join(other.dir, ".git"));
  vi.stubEnv("GIT_INDEX_FILE", path.join(other.dir, ".git/index"));
  const repository = await Repository.open(repo.dir);
  expect(repository.root).toBe(repo.dir);
  expect((await repository.tracked()).map((entry) => entry.path)).toEqual(["mine"]);
});

test("a machine without git", async () => {
  await using repo = await gitRepository({ file: "x" });
  vi.stubEnv("PATH", "/nonexistent");
  const error = await thrownBy(Repository.open(repo.dir));
  expect(error).toBeInstanceOf(UnavailableError);
  expect(error.message).toBe("git was not found on this machine");
});
