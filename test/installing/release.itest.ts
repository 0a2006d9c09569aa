import path from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../../src/platform/package.ts";
import { gitRepository } from "../platform/git.ts";
import { scratch, writeTree } from "../platform/scratch.ts";
import { GhApi } from "../support/gh.ts";
import { exec, succeed } from "../support/programs.ts";

// What the release workflow asks before it releases, and what it then says.

const CHANGELOG = "# Changes\n\n## 1.2.0\n\nNew: this.\n\nAnd that.\n\n## 1.1.0\n\nOld.\n";

test("a tag is released when it is main's, and the files have its version", async () => {
  await using repo = await gitRepository({
    "package.json": '{\n  "name": "bento",\n  "version": "1.2.0",\n  "private": true\n}\n',
    "CHANGELOG.md": CHANGELOG,
  });
  await succeed("cp", ["-r", path.join(packageRoot(), "scripts/release"), repo.dir]);
  await succeed("mkdir", [path.join(repo.dir, "scripts")]);
  await succeed("mv", [path.join(repo.dir, "release"), path.join(repo.dir, "scripts")]);
  await repo.commit({}, "A release");
  repo.git("update-ref", "refs/remotes/origin/main", "HEAD");
  const release = (...args: string[]) => exec(path.join(repo.dir, "scripts/release"), args);

  expect(await release("check", "v1.2.0")).toMatchObject({ status: 1, stderr: "there is no tag v1.2.0\n" });
  for (const tag of ["v1.2.0", "v1.1.0", "v1.3.0"]) repo.git("tag", tag);
  expect(await release("check", "v1.2.0")).toEqual({ status: 0, stdout: "", stderr: "" });
  expect((await release("check", "v1.1.0")).stderr).toBe("package.json says that this is 1.2.0, not 1.1.0\n");
  expect((await release("notes", "v1.2.0")).stdout).toBe("New: this.\n\nAnd that.\n");
  expect((await release("notes", "v1.3.0")).stderr).toBe("CHANGELOG.md says nothing of 1.3.0\n");
  for (const wrong of [[], ["check"], ["check", "1.2.0"], ["check", "v1.2.0; true"], ["tag", "v1.2.0"]])
    expect((await release(...wrong)).status).toBe(2);

  // Somebody's branch, with everything else right.
  repo.git("tag", "-d", "v1.2.0");
  await repo.commit({ "more.txt": "not reviewed" }, "More");
  repo.git("tag", "v1.2.0");
  expect((await release("check", "v1.2.0")).stderr).toBe("v1.2.0 is no commit of main\n");
});

test("a release is made, and its major version moves to it; run again, it does what is left, and nothing goes back", async () => {
  await using repo = await gitRepository({
    "CHANGELOG.md": CHANGELOG.replace("## 1.1.0", "## 1.10.0\n\nNewer.\n\n## 1.1.0"),
  });
  await succeed("mkdir", [path.join(repo.dir, "scripts")]);
  await succeed("cp", [path.join(packageRoot(), "scripts/release"), path.join(repo.dir, "scripts")]);
  await using dir = await scratch();
  const remote = path.join(dir.path, "remote.git");
  await succeed("git", ["init", "-q", "--bare", remote]);
  repo.git("remote", "add", "origin", remote);
  const commits: Record<string, string> = {};
  for (const tag of ["v1.1.0", "v1.2.0", "v1.10.0"]) {
    await repo.commit({}, tag);
    repo.git("tag", tag);
    commits[tag] = repo.head();
  }
  // Neither of them is a version.
  repo.git("tag", "v1.99.0-rc1");
  repo.git("tag", "v10.0.0", "v1.1.0");
  repo.git("push", "-q", "origin", "main", "--tags");

  const releases = new Map<string, { tag_name: string; body: string; draft?: boolean }>();
  await using gh = await GhApi.start(path.join(dir.path, "home"), ({ method, url, body }) => {
    if (url.pathname === "/graphql") {
      const found = body.variables.tagName.replace("refs/tags/", "");
      const isRef = body.query.includes("RepositoryFindRef");
      const data = isRef ? { ref: found in commits ? { id: "REF" } : null } : { release: null };
      return { status: 200, body: { data: { repository: data } } };
    }
    const tag = url.pathname.replace("/repos/example/bento/releases/tags/", "");
    if (method === "GET" && tag !== url.pathname) {
      const found = releases.get(tag);
      return found ? { status: 200, body: found } : { status: 404, body: { message: "Not Found" } };
    }
    if (method === "POST" && url.pathname === "/repos/example/bento/releases") {
      if (releases.has(body.tag_name)) return { status: 422, body: { message: "already_exists" } };
      releases.set(body.tag_name, body);
      return { status: 201, body: { ...body, url: "x", html_url: "https://github.com/example/bento/releases/x" } };
    }
    return { status: 404, body: { message: `no ${method} ${url}` } };
  });
  const publish = (tag: string) =>
    exec(path.join(repo.dir, "scripts/release"), ["publish", tag], { env: { ...gh.env, GH_REPO: "example/bento" } });
  const major = () =>
    succeed("git", ["rev-parse", "--verify", "--quiet", "v1^{commit}"], { cwd: remote }).catch(() => null);

  // The push of the tag is refused: the release is there, and the job red.
  await writeTree(remote, { "hooks/pre-receive": { executable: "#!/bin/sh\nexit 1\n" } });
  const cut = await publish("v1.10.0");
  expect([cut.status, [...releases.keys()], await major()]).toEqual([1, ["v1.10.0"], null]);
  expect(releases.get("v1.10.0")).toMatchObject({ name: "v1.10.0", body: "Newer." });
  await succeed("rm", [path.join(remote, "hooks/pre-receive")]);
  const again = await publish("v1.10.0");
  expect(again).toMatchObject({ status: 0, stdout: "v1.10.0 is released already\nv1 is v1.10.0\n" });
  expect(await major()).toBe(commits["v1.10.0"]);

  const older = await publish("v1.2.0");
  expect(older).toMatchObject({ status: 0, stderr: "" });
  expect(older.stdout).toContain("v1 stays: v1.10.0 is newer than v1.2.0\n");
  expect([...releases.keys()]).toEqual(["v1.10.0", "v1.2.0"]);
  expect(await major()).toBe(commits["v1.10.0"]);
});

test("the version of this repository can be released", async () => {
  const version = JSON.parse(await succeed("cat", [path.join(packageRoot(), "package.json")])).version;
  const { status, stdout } = await exec(path.join(packageRoot(), "scripts/release"), ["notes", `v${version}`]);
  expect(status).toBe(0);
  expect(stdout).not.toBe("");
});
