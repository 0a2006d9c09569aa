import { existsSync } from "node:fs";
import { chmod, readFile, rm, stat, symlink } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { type CopiedFile, copiedFiles, idOf } from "../../src/commands/init/copied-files.ts";
import { lockText } from "../../src/commands/init/lock.ts";
import { packageVersion } from "../../src/platform/package.ts";
import type { CheckDocument, InitUpdateDocument } from "../../src/results.ts";
import { scratch, writeTree } from "../platform/scratch.ts";
import { succeed } from "../support/programs.ts";
import { bento, bentoJson } from "./bento.ts";
import { configuration } from "./configurations.ts";

// A fleet as an older `bento init` has made it: what was in it then is made here of what is there now.

const OLDER = "0.0.9";
const DROPPED = "utils/agent/lib/dropped.sh";

/** What an older Bento had in a file's place: something else, nothing, or the same. */
function olderOf(file: CopiedFile): CopiedFile | null {
  if (file.file === "utils/agent/lib/guard.sh") return null;
  if (/(?:confirm|activate)\.sh$|bento\.nix$|fleet\.nix$|check\.yml$/.test(file.file))
    return { ...file, content: Buffer.concat([file.content, Buffer.from("# as it was\n")]) };
  return file;
}

interface OldFleet extends AsyncDisposable {
  dir: string;
  git(...args: string[]): Promise<string>;
  read(file: string): Promise<string>;
  write(files: Record<string, string>): Promise<void>;
  commit(): Promise<void>;
  update(...args: string[]): Promise<Awaited<ReturnType<typeof bentoJson<InitUpdateDocument>>>>;
}

/** `place`: the fleet's directory in its repository. */
async function oldFleet({ place = ".", record = true } = {}): Promise<OldFleet> {
  const temporary = await scratch();
  const dir = path.join(temporary.path, place);
  const older = (await copiedFiles(place)).flatMap((file) => olderOf(file) ?? []);
  older.push({ file: DROPPED, content: Buffer.from("# gone since\n"), executable: false, part: "" });
  const git = (...args: string[]) => succeed("git", ["-C", dir, ...args]);
  const write = (files: Record<string, string>) => writeTree(dir, files);
  const commit = async () => {
    await git("add", "-A", ":/");
    await git("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "commit", "-q", "-m", "A change");
  };
  for (const { file, content, executable } of older) {
    await write({ [file]: content.toString() });
    if (executable) await chmod(path.join(dir, file), 0o755);
  }
  await write({
    "fleet.yaml": "hosts: { one: {} }\n",
    "hosts/one/configuration.nix": configuration("one"),
    ...(record
      ? { "bento.lock": lockText({ bento: OLDER, files: new Map(older.map((one) => [one.file, idOf(one)])) }) }
      : {}),
  });
  await succeed("git", ["-C", temporary.path, "init", "-q", "-b", "main"]);
  expect((await bento(["render"], { cwd: dir })).status).toBe(0);
  await commit();
  return {
    dir,
    git,
    write,
    commit,
    read: (file) => readFile(path.join(dir, file), "utf8"),
    update: (...args) => bentoJson<InitUpdateDocument>(["init", "--update", ...args], { cwd: dir }),
    [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose](),
  };
}

/** What isn't as it was. */
const news = ({ files }: InitUpdateDocument) =>
  Object.fromEntries(files.filter(({ status }) => status !== "unchanged").map(({ file, status }) => [file, status]));

const CHECK = ".github/workflows/bento-check.yml";
const ALL = {
  [CHECK]: "updated",
  "utils/agent/lib/activate.sh": "updated",
  "utils/agent/lib/confirm.sh": "updated",
  [DROPPED]: "removed",
  "utils/agent/lib/guard.sh": "added",
  "utils/bento.nix": "updated",
  "utils/fleet.nix": "updated",
};

async function expectCurrent(dir: string, place = "."): Promise<void> {
  for (const { file, content, executable } of await copiedFiles(place)) {
    expect(await readFile(path.join(dir, file)), file).toEqual(content);
    expect(((await stat(path.join(dir, file))).mode & 0o100) !== 0, file).toBe(executable);
  }
}

test("what nobody has changed is replaced, and what Bento has no more is gone; once", async () => {
  await using fleet = await oldFleet();
  const before = await fleet.git("rev-parse", "HEAD^{tree}");
  const asked = await fleet.update("--dry-run");
  expect([asked.status, asked.document.dryRun, news(asked.document)]).toEqual([0, true, ALL]);
  expect(await fleet.git("status", "--porcelain")).toBe("");

  const { status, document } = await fleet.update();
  expect([status, news(document)]).toEqual([0, ALL]);
  expect(document).toMatchObject({ command: "init --update", from: OLDER, to: packageVersion() });
  await expectCurrent(fleet.dir);
  expect(existsSync(path.join(fleet.dir, DROPPED))).toBe(false);
  // Nothing lies about, and all of it can be had back.
  expect((await fleet.git("status", "--porcelain")).split("\n")).toHaveLength(Object.keys(ALL).length + 1);
  await fleet.commit();
  const again = await bento(["init", "--update"], { cwd: fleet.dir });
  expect(again).toEqual({
    status: 0,
    stdout: `All that bento init copied is of Bento ${packageVersion()}.\n`,
    stderr: "",
  });
  await fleet.git("revert", "-n", "HEAD");
  expect(await fleet.git("write-tree")).toBe(before);
});

test("what was changed stays, with all that has to be of one version with it; the rest goes on", async () => {
  await using fleet = await oldFleet();
  const mine = "# mine, \u001b[31mtoo\n";
  await fleet.write({ "utils/agent/lib/confirm.sh": `${await fleet.read("utils/agent/lib/confirm.sh")}${mine}` });
  await fleet.commit();
  const { stdout, status } = await bento(["init", "--update"], { cwd: fleet.dir });
  expect(status).toBe(1);
  expect(stdout).toContain(
    `Brought from Bento ${OLDER} to Bento ${packageVersion()}:\n✓ ${CHECK}\n✓ utils/fleet.nix\n`,
  );
  expect(stdout).toContain("✗ utils/agent/lib/confirm.sh is left: it was changed here\n");
  // What they have changed, and nothing else; a terminal isn't led on by it.
  expect(stdout.match(/^ {4}[+-](?![+-]).*$/gm)).toEqual(["    +# mine, \ufffd[31mtoo"]);
  expect(stdout).toContain("· 4 more files left, since they have to be of one version with that\n");
  expect(stdout).toContain("bento init --update --take utils/agent/lib/confirm.sh takes Bento's");
  expect(await fleet.git("status", "--porcelain")).toBe(` M ${CHECK}\n M bento.lock\n M utils/fleet.nix`);
  await fleet.commit();

  const again = await fleet.update();
  expect([again.status, Object.values(news(again.document)).sort()]).toEqual([
    1,
    ["held", "held", "held", "held", "kept"],
  ]);
  expect(await fleet.git("status", "--porcelain")).toBe("");
  const taken = await fleet.update("--take", "utils/agent/lib/confirm.sh");
  expect([taken.status, news(taken.document)["utils/agent/lib/confirm.sh"]]).toEqual([0, "updated"]);
  await expectCurrent(fleet.dir);

  // Their change to what is Bento's of today is nothing to be said of.
  await fleet.write({ "utils/agent/lib/confirm.sh": `${await fleet.read("utils/agent/lib/confirm.sh")}${mine}` });
  await fleet.commit();
  expect(await fleet.update()).toMatchObject({ status: 0, document: { next: [] } });
  expect(await fleet.read("utils/agent/lib/confirm.sh")).toContain(mine);
});

test("what was taken out stays out, and so does what is new of its kind; unless it is asked for", async () => {
  await using fleet = await oldFleet();
  await rm(path.join(fleet.dir, ".github"), { recursive: true });
  await rm(path.join(fleet.dir, "utils/fleet.nix"));
  // A part of the agent can't be done without.
  await rm(path.join(fleet.dir, "utils/agent/lib/activate.sh"));
  await fleet.commit();
  const { status, document } = await fleet.update();
  expect(status).toBe(1);
  expect(news(document)).toMatchObject({
    [CHECK]: "left-out",
    "utils/fleet.nix": "left-out",
    "utils/agent/lib/activate.sh": "kept",
    "utils/bento.nix": "held",
  });
  expect(await fleet.git("status", "--porcelain", "--", "utils", ".github")).toBe("");
  await fleet.commit();
  expect(news((await fleet.update("--take", "utils", "--take", ".github/workflows/")).document)).toMatchObject({
    [CHECK]: "added",
    "utils/fleet.nix": "added",
    "utils/agent/lib/activate.sh": "added",
  });
  await expectCurrent(fleet.dir);
});

test("without a record nobody knows what was changed: nothing is taken for unchanged, and a record is begun", async () => {
  await using fleet = await oldFleet({ record: false });
  const { stdout, status } = await bento(["init", "--update"], { cwd: fleet.dir });
  expect(status).toBe(1);
  expect(stdout).toMatch(/^Nothing was brought to Bento .*\n✗ \.github\/workflows\/bento-check\.yml is left: whether /);
  expect(stdout).toContain("✗ utils/agent (2 files) is left: whether it was changed here isn't known");
  expect(stdout).toContain("--take utils/agent");
  expect(await fleet.git("status", "--porcelain")).toBe("?? bento.lock");
  await fleet.commit();
  const taken = await fleet.update("--take", "utils", "--take", ".github");
  expect(taken.status).toBe(0);
  // What an older one had, and nobody recorded, is somebody's.
  expect(news(taken.document)).toEqual({ ...ALL, [DROPPED]: undefined });
  await expectCurrent(fleet.dir);
});

test("a fleet within a repository: its workflows, at the top", async () => {
  await using fleet = await oldFleet({ place: "infra/fleet" });
  const { status, document } = await fleet.update();
  expect([status, news(document)["../../.github/workflows/bento-infra+fleet-check.yml"]]).toEqual([0, "updated"]);
  await expectCurrent(fleet.dir, "infra/fleet");
  expect(await fleet.git("diff", "--stat")).toContain(".github/workflows/bento-infra+fleet-check.yml");
});

test("what git couldn't give back is never replaced", async () => {
  await using fleet = await oldFleet();
  const file = "utils/fleet.nix";
  const said = (one: string) => ({
    status: 2,
    stdout: "",
    stderr: `error: ${one} would be replaced, and git doesn't have what is there\n→ commit it first, so that nothing is lost: git status\n`,
  });
  const update = (...args: string[]) => bento(["init", "--update", ...args], { cwd: fleet.dir });
  await fleet.write({ [file]: "# not committed\n" });
  expect(await update("--take", file)).toEqual(said(file));
  await fleet.git("add", file);
  expect(await update("--take", file)).toEqual(said(file));
  await fleet.git("rm", "-q", "--cached", file);
  await fleet.write({ ".gitignore": "/utils/fleet.nix\n" });
  await fleet.commit();
  expect(await update("--take", file)).toEqual(said(file));
  // It only looks, so it may.
  expect((await update("--dry-run", "--take", file)).status).toBe(0);
  expect(await fleet.read(file)).toBe("# not committed\n");
  // What isn't touched may be changed as it likes.
  await fleet.write({ "hosts/one/configuration.nix": "{ }\n" });
  expect((await update()).stdout).toContain(`✗ ${file} is left`);
});

test("a write that fails leaves everything as it was", async () => {
  await using fleet = await oldFleet();
  await rm(path.join(fleet.dir, "utils/agent/lib"), { recursive: true });
  await fleet.write({ "utils/agent/lib": "mine\n" });
  await fleet.commit();
  const { status, stdout, stderr } = await bento(["init", "--update", "--take", "utils"], { cwd: fleet.dir });
  expect(stderr).toMatch(/^error: nothing is changed, since utils\/agent\/lib\S* can't be written \(E\w+\)\n$/);
  expect([status, stdout]).toEqual([2, ""]);
  expect(await fleet.git("status", "--porcelain")).toBe("");
});

test("what can't be updated is told, and nothing is done", async () => {
  await using fleet = await oldFleet();
  const update = (...args: string[]) => bento(["init", "--update", ...args], { cwd: fleet.dir });
  const lock = await fleet.read("bento.lock");
  for (const [args, said] of [
    [["--take", "utils/nothing"], "--take utils/nothing: bento init copies nothing of that name\n→ "],
    [["--take", "../outside"], "--take ../outside: bento init copies nothing of that name"],
    [["--server", "fleet.example.org"], "'--server <address>' cannot be used with option '--update'"],
    [["--keys", "keys"], "'--keys <directory>' cannot be used with option '--update'"],
  ] as const) {
    const { status, stdout, stderr } = await update(...args);
    expect([status, stdout, stderr]).toEqual([2, "", expect.stringContaining(said)]);
  }
  for (const args of [["--dry-run"], ["--take", "utils"]]) {
    const { status, stderr } = await bento(["init", "new", ...args], { cwd: fleet.dir });
    expect([status, stderr]).toEqual([2, "error: --dry-run and --take are for bento init --update\n"]);
  }
  // What is recorded may be removed: it can be nothing of another's.
  for (const [from, to, said] of [
    [`"bento": "${OLDER}"`, '"bento": "99.1.0"', `what is here is of Bento 99.1.0, and this is ${packageVersion()}`],
    [`"${DROPPED}"`, '"hosts/one/configuration.nix"', "bento.lock is not as bento init has written it"],
    [`"${DROPPED}"`, '"utils/../fleet.yaml"', "bento.lock is not as bento init has written it"],
    [`"${DROPPED}"`, '"../../etc/passwd"', "bento.lock is not as bento init has written it"],
    ["{", "<<<<<<<", "bento.lock is not as bento init has written it\n→ git checkout -- bento.lock"],
  ] as const) {
    await fleet.write({ "bento.lock": lock.replace(from, to) });
    const { status, stderr } = await update();
    expect([status, stderr]).toEqual([2, expect.stringContaining(said)]);
  }
  await fleet.write({ "bento.lock": lock });
  await rm(path.join(fleet.dir, "utils/agent"), { recursive: true });
  await symlink("../hosts", path.join(fleet.dir, "utils/agent"));
  expect((await update()).stderr).toBe(
    "error: utils/agent is a link: what it leads to is not this fleet's to update\n→ bring that up to date where it is\n",
  );
  expect(await fleet.git("status", "--porcelain", "--", "hosts", "utils/bento.nix", "utils/fleet.nix", ".github")).toBe(
    "",
  );

  // The modules may come from Bento's flake.
  await rm(path.join(fleet.dir, "bento.lock"));
  for (const place of [
    "utils/agent",
    "utils/bento",
    "utils/bento.nix",
    "utils/fleet.nix",
    "utils/runner.nix",
    ".github",
  ])
    await rm(path.join(fleet.dir, place), { recursive: true });
  expect((await update()).stderr).toContain("→ a flake that has the modules from Bento's is brought up to date by");
  // Then it may want the workflows alone.
  await fleet.commit();
  const workflows = await fleet.update("--take", ".github/workflows");
  expect([workflows.status, news(workflows.document)]).toMatchObject([
    0,
    { [CHECK]: "added", "utils/bento.nix": "left-out" },
  ]);
  await fleet.commit();
  expect(news((await fleet.update()).document)).toMatchObject({ "utils/bento.nix": "left-out" });
  expect(await fleet.git("status", "--porcelain")).toBe("");
});

test("check and deploy say once that a fleet has an older Bento's files, or a newer one's", async () => {
  await using fleet = await oldFleet();
  const warnings = async () => {
    const check = await bentoJson<CheckDocument>(["check"], { cwd: fleet.dir });
    return check.document.warnings.filter((text) => /bento/i.test(text));
  };
  const version = packageVersion();
  const said = `${CHECK} and 5 more are of Bento ${OLDER}, and this is ${version}: bento init --update brings it up to date, with --dry-run it says how`;
  expect(await warnings()).toEqual([said]);
  // Somebody's own changes are no older version.
  await fleet.update();
  await fleet.write({ "utils/fleet.nix": "# mine\n" });
  await fleet.commit();
  expect(await warnings()).toEqual([]);
  const lock = await fleet.read("bento.lock");
  const { files } = JSON.parse(lock);
  await fleet.write({
    "bento.lock": JSON.stringify({
      version: 1,
      bento: version,
      files: { ...files, [CHECK]: `100644 ${"0".repeat(40)}` },
    }),
  });
  expect(await warnings()).toEqual([
    `${CHECK} is of another Bento ${version} than this: bento init --update brings it up to date, with --dry-run it says how`,
  ]);
  await fleet.write({ "bento.lock": lock.replace(version, "99.1.0") });
  expect(await warnings()).toEqual([
    `what bento init copied is of Bento 99.1.0, and this is ${version}: bring the command up to date`,
  ]);
  await fleet.write({ "bento.lock": "{}" });
  expect(await warnings()).toEqual(["bento.lock is not as bento init has written it (git checkout -- bento.lock)"]);
  await rm(path.join(fleet.dir, "bento.lock"));
  expect(await warnings()).toEqual([
    `utils/fleet.nix is not what Bento ${version} has: bento init --update brings it up to date, with --dry-run it says how`,
  ]);
});
