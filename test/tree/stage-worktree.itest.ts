import { execFileSync } from "node:child_process";
import { mkdir, rename, rm, symlink, unlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { hostNamed } from "../fleet/host.ts";
import { gitRepository } from "../platform/git.ts";
import { refusal, stage, stagerOf } from "./staging.ts";

// Working trees that aren't what git says: another step of the job may have made them so.

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
