import path from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../../src/platform/package.ts";
import { gitRepository } from "../platform/git.ts";
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

test("the version of this repository can be released", async () => {
  const version = JSON.parse(await succeed("cat", [path.join(packageRoot(), "package.json")])).version;
  const { status, stdout } = await exec(path.join(packageRoot(), "scripts/release"), ["notes", `v${version}`]);
  expect(status).toBe(0);
  expect(stdout).not.toBe("");
});
