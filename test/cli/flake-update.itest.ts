import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { FlakeUpdateDocument } from "../../src/results.ts";
import { schedule } from "../action/events.ts";
import { runStep } from "../action/runner.ts";
import { scratch } from "../platform/scratch.ts";
import { succeed } from "../support/programs.ts";
import { makeStore, type PrivateStore } from "../support/store.ts";
import { bento, bentoJson } from "./bento.ts";

// Two flakes: one of two hosts, whose input has an input that follows, and one whose input comes and goes.

let dir: Awaited<ReturnType<typeof scratch>>;
let store: PrivateStore;
let fleet: string;
const revs: string[] = [];

beforeAll(async () => {
  dir = await scratch();
  store = await makeStore(dir.path);
  fleet = path.join(dir.path, "fleet");
  await mkdir(fleet);
  for (const name of ["base", "extra", "library"]) await mkdir(path.join(dir.path, name));
  await writeFile(
    path.join(dir.path, "library/flake.nix"),
    `{ inputs.base.url = "${url("base")}"; outputs = _: { }; }`,
  );
  await writeFile(path.join(dir.path, "extra/flake.nix"), "{ outputs = _: { }; }");
  await release("base", 1);
  await commit(path.join(dir.path, "library"));
  await commit(path.join(dir.path, "extra"));

  await write("utils/common.nix", "{ }");
  await write(
    "hosts/laptops/flake.nix",
    `{
  inputs = { base.url = "${url("base")}"; library.url = "${url("library")}"; library.inputs.base.follows = "base"; };
  outputs = { base, ... }: { nixosConfigurations = { anna = import ./utils/common.nix; ben = { }; }; };
}`,
  );
  await symlink("../../utils/", path.join(fleet, "hosts/laptops/utils"));
  await write(
    "hosts/nas/flake.nix",
    `{ inputs.base.url = "${url("base")}"; inputs.extra.url = "${url("extra")}"; outputs = _: { }; }`,
  );
  await write("hosts/router/configuration.nix", "{ }");
  await write(
    "fleet.yaml",
    "hosts: { anna: { path: hosts/laptops }, ben: { path: hosts/laptops }, nas: { }, router: { } }",
  );
  await succeed("git", ["init", "-q", "-b", "main", fleet]);
  await bento(["render"], options());
  await commit(fleet);
  // The first locks.
  expect(await bento(["flake-update"], options())).toMatchObject({ status: 0 });
  await commit(fleet);
});
afterAll(() => dir?.[Symbol.asyncDispose]());

const url = (name: string) => `git+file://${path.join(dir.path, name)}`;
const options = () => ({ cwd: fleet, env: store.env });
const lock = (flake: string) => readFile(path.join(fleet, flake, "flake.lock"), "utf8");

async function write(file: string, text: string): Promise<void> {
  await mkdir(path.dirname(path.join(fleet, file)), { recursive: true });
  await writeFile(path.join(fleet, file), text);
}

async function commit(repository: string): Promise<void> {
  await succeed("git", ["init", "-q", "-b", "main"], { cwd: repository });
  await succeed("git", ["add", "-A"], { cwd: repository });
  const author = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"];
  await succeed("git", [...author, "commit", "-q", "-m", "a change", "--date", "2026-11-01T00:00:00Z"], {
    cwd: repository,
    env: { GIT_COMMITTER_DATE: "2026-11-01T00:00:00Z" },
  });
}

async function release(name: string, version: number): Promise<void> {
  await writeFile(path.join(dir.path, name, "flake.nix"), `{ outputs = _: { version = ${version}; }; }`);
  await commit(path.join(dir.path, name));
  revs.push(await succeed("git", ["rev-parse", "HEAD"], { cwd: path.join(dir.path, name) }));
}

test("nothing is newer: nothing is written", async () => {
  const before = [await lock("hosts/laptops"), await lock("hosts/nas")];
  const { status, stdout } = await bento(["flake-update"], options());
  expect(stdout).toBe(
    "· hosts/laptops/flake.lock: unchanged\n· hosts/nas/flake.lock: unchanged\n\n2 flakes: 0 with newer inputs\n",
  );
  expect(status).toBe(0);
  expect([await lock("hosts/laptops"), await lock("hosts/nas")]).toEqual(before);
});

test("what moved is said, from where to where, and a dry run writes nothing", async () => {
  await release("base", 2);
  const before = await lock("hosts/laptops");
  const dry = await bento(["flake-update", "--dry-run"], options());
  const [from, to] = revs.slice(-2).map((rev) => rev.slice(0, 12));
  expect(dry.stdout).toMatch(
    new RegExp(
      `^~ hosts/laptops/flake\\.lock: updated\\n {4}base {2}\\S+ ${from} \\(2026-11-01\\) {2}→ {2}\\S+ ${to} \\(2026-11-01\\)\\n~ hosts/nas`,
    ),
  );
  expect(dry.stdout).toMatch(/\n2 flakes: 2 with newer inputs \(dry run: nothing was written\)\n$/);
  expect(await lock("hosts/laptops")).toBe(before);
  expect(await succeed("git", ["status", "--porcelain"], { cwd: fleet })).toBe("");
});

test("only some hosts' flakes, each once, and only the lock file is touched", async () => {
  const { document, status } = await bentoJson<FlakeUpdateDocument>(["flake-update", "--hosts", "anna,ben"], options());
  expect(document).toEqual({
    version: 1,
    command: "flake-update",
    dryRun: false,
    flakes: [
      {
        path: "hosts/laptops",
        file: "hosts/laptops/flake.lock",
        status: "updated",
        changes: [
          {
            input: "base",
            from: expect.objectContaining({ rev: revs.at(-2), date: "2026-11-01" }),
            to: expect.objectContaining({ rev: revs.at(-1), source: expect.stringContaining("base") }),
          },
        ],
        reason: null,
        error: null,
      },
    ],
  });
  expect(status).toBe(0);
  expect(await succeed("git", ["status", "--porcelain"], { cwd: fleet })).toBe(" M hosts/laptops/flake.lock");
  // What came out is what Nix itself makes of it.
  const flake = `path:${path.join(fleet, "hosts/nas")}`;
  expect(
    await succeed("nix", ["flake", "metadata", "--json", "--no-update-lock-file", flake], { env: store.env }),
  ).toContain(revs.at(-2));
});

test("an input by its name: the others stay; a flake without it is left alone; one that nobody has is an error", async () => {
  await writeFile(path.join(dir.path, "extra/more"), "");
  await commit(path.join(dir.path, "extra"));
  const { stdout, status } = await bento(["flake-update", "extra"], options());
  expect(stdout).toMatch(
    /^· hosts\/laptops\/flake\.lock: unchanged \(it has no input extra\)\n~ hosts\/nas\/flake\.lock: updated\n {4}extra /,
  );
  expect(status).toBe(0);
  expect(await lock("hosts/nas")).toContain(revs.at(-2));
  const unknown = await bento(["flake-update", "bas"], options());
  expect(unknown).toMatchObject({ status: 2, stdout: "", stderr: expect.stringContaining("did you mean 'base'?") });
  expect(await bento(["flake-update", "--", "--impure"], options())).toMatchObject({ status: 2, stdout: "" });
});

test("a flake that fails keeps its lock, and the others go on; as markdown, for a pull request", async () => {
  await release("base", 3);
  await succeed("mv", [path.join(dir.path, "extra"), path.join(dir.path, "gone")]);
  const before = await lock("hosts/nas");
  const { stdout, status } = await bento(["flake-update", "--markdown"], options());
  expect(stdout).toContain("| input | from | to |\n| --- | --- | --- |\n| <code>base</code> | <code>");
  // In git's words: that git has failed says nothing.
  expect(stdout).toMatch(
    /### <code>.*nas.*<\/code>\n\nfailed: <code>.*\/extra.* does not (?:appear to be a git repository|exist)/,
  );
  expect(stdout).toMatch(/\n2 flakes: 1 with newer inputs, 1 failed\n$/);
  expect(status).toBe(1);
  expect(await lock("hosts/nas")).toBe(before);
  expect(await lock("hosts/laptops")).toContain(revs.at(-1));
  await succeed("mv", [path.join(dir.path, "gone"), path.join(dir.path, "extra")]);
});

test("a lock that git doesn't track yet is the one that is updated", async () => {
  const before = await lock("hosts/nas");
  await succeed("git", ["rm", "-q", "--cached", "hosts/nas/flake.lock"], { cwd: fleet });
  await writeFile(path.join(dir.path, "extra/even-more"), "");
  await commit(path.join(dir.path, "extra"));
  const { stdout, status } = await bento(["flake-update", "extra", "--hosts", "nas"], options());
  expect(stdout).toMatch(/^~ hosts\/nas\/flake\.lock: updated\n {4}extra .*\n\n1 flake: 1 with newer inputs\n$/);
  expect(status).toBe(0);
  expect(await lock("hosts/nas")).not.toBe(before);
  await succeed("git", ["reset", "-q", "--hard"], { cwd: fleet });
});

test.each([
  ["a directory", (file: string) => mkdir(file), /it can't be read \(EISDIR\)/],
  ["a link that leads nowhere", (file: string) => symlink("nowhere", file), /it can't be read \(ENOENT\)/],
  [
    "a link out of the repository",
    (file: string) => symlink(path.join(dir.path, "outside"), file),
    /it is a link that leads out of the repository/,
  ],
] as const)(
  "%s in the place of a lock is left as it is, and the other flakes are updated",
  async (_, make, message) => {
    const outside = path.join(dir.path, "outside");
    await writeFile(outside, await lock("hosts/nas"));
    const file = path.join(fleet, "hosts/nas/flake.lock");
    await succeed("git", ["rm", "-q", "--cached", "hosts/nas/flake.lock"], { cwd: fleet });
    await succeed("rm", [file]);
    await make(file);
    const kind = () => succeed("stat", ["-c", "%F", file]);
    const before = [await kind(), await readFile(outside, "utf8")];
    const { stdout, stderr, status } = await bento(["flake-update"], options());
    expect(stdout).toMatch(/^~ hosts\/laptops\/flake\.lock: updated\n/);
    expect(stdout).toMatch(/✗ hosts\/nas\/flake\.lock: failed\n/);
    expect(stdout).toMatch(message);
    expect([status, stderr]).toEqual([1, ""]);
    expect([await kind(), await readFile(outside, "utf8")]).toEqual(before);
    await succeed("rm", ["-rf", file]);
    await succeed("git", ["reset", "-q", "--hard"], { cwd: fleet });
  },
);

test("hosts without flakes have no locks", async () => {
  const { status, stderr } = await bento(["flake-update", "--hosts", "router"], options());
  expect(status).toBe(2);
  expect(stderr).toContain("none of these hosts has a flake");
});

test("the Action does the same: the locks are changed in the checkout, and the summary says what moved", async () => {
  await succeed("git", ["checkout", "-q", "--", "."], { cwd: fleet });
  await release("base", 9);
  const inputs = { command: "flake-update" };
  const { status, outputs, summary } = await runStep({ workspace: fleet, event: schedule(), inputs, env: store.env });
  expect({ status, outputs }).toEqual({ status: 0, outputs: { result: "success", document: expect.any(String) } });
  expect(summary).toContain("### <code>hosts/nas/flake.lock</code>");
  expect(summary).toContain(`${revs.at(-1)?.slice(0, 12)}`);
  const changed = await succeed("git", ["diff", "--name-only"], { cwd: fleet });
  expect(changed.split("\n").sort()).toEqual(["hosts/laptops/flake.lock", "hosts/nas/flake.lock"]);
});
