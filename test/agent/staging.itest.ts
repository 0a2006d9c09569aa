import { mkdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { HostError } from "../../src/errors.ts";
import type { Host } from "../../src/fleet/fleet.ts";
import { renderedFiles } from "../../src/fleet/rendered.ts";
import { Repository } from "../../src/platform/git.ts";
import { packageRoot } from "../../src/platform/package.ts";
import { narDigest } from "../../src/tree/nar.ts";
import { Stager } from "../../src/tree/stage.ts";
import { hostNamed } from "../fleet/host.ts";
import { type GitRepository, gitRepository } from "../platform/git.ts";
import type { Entry } from "../platform/scratch.ts";
import { long } from "../support/long.ts";
import { exec } from "../support/programs.ts";

const PARTS = path.join(packageRoot(), "utils/agent/fetchers/git.d");

/** What the fetcher does with a commit once it has it; what is wrong with it is its last line. */
const STAGE = `
  set -euo pipefail
  export LC_ALL=C GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_DIR=$repository
  fail() { echo "$2" >&2; exit "$1"; }
  . "$1/repository.sh"
  . "$1/stage.sh"
  make_repository
  git fetch --quiet --depth=1 "file://$2" +HEAD:refs/release
  tree_of refs/release "$3" "$scratch/tree.json"
  stage_commit refs/release "$3" "$scratch/tree.json" "$4"
`;

/** The NAR hash, or what is wrong. */
async function byHost(repo: GitRepository, host: Host, prefix: string): Promise<string> {
  const dir = path.join(repo.dir, "..", `on-host-${Math.random()}`);
  await mkdir(path.join(dir, "scratch"), { recursive: true });
  const env = { repository: path.join(dir, "git"), scratch: path.join(dir, "scratch"), BENTO_HOST: host.name };
  try {
    const release = path.join(dir, "release");
    const { status, stderr } = await exec("bash", ["-c", STAGE, "bash", PARTS, repo.dir, prefix, release], { env });
    if (status === 0) return await narDigest(release);
    expect(status, stderr).toBe(65);
    return stderr.trimEnd();
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** As `byHost`. */
async function byRunner(repo: GitRepository, host: Host, prefix: string): Promise<string> {
  const into = path.join(repo.dir, "..", `on-runner-${Math.random()}`);
  try {
    const stager = await Stager.open(await Repository.open(repo.dir), { dir: path.join(repo.dir, prefix) }, into);
    return await narDigest((await stager.stage(host)).dir);
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    return `${error.message}${error.hint === undefined ? "" : ` (${error.hint})`}`.replaceAll("\n", "?");
  } finally {
    await rm(into, { recursive: true, force: true });
  }
}

/** fleet.json as `bento render` writes it for a fleet of these hosts. */
function fleetJson(hosts: Host[]): string {
  const git = { remote: "https://git.example.org/fleet.git", refs: "refs/heads/bento/{host}", hostKeys: [] };
  const fleet = {
    dir: "/",
    file: "fleet.yaml",
    server: null,
    git,
    signers: [],
    administrators: [],
    substituters: [],
    cache: null,
    waves: null,
  };
  return renderedFiles({ ...fleet, hosts, warnings: [] }).get("fleet.json") ?? "";
}

const name = fc.constantFrom("a", "b", "c", "é ", "%0A", 'q"\\', "new\nline", "-x", ".gitattributes", "z'$(id)");
const place = (depth: number) => fc.array(name, { minLength: 1, maxLength: depth }).map((names) => names.join("/"));
const hop = fc.oneof({ weight: 5, arbitrary: name }, { weight: 3, arbitrary: fc.constant("..") }, fc.constant("."));
const link = fc
  .tuple(
    fc.constantFrom("", "", "", "", "", "../", "../../", "../../", "/"),
    fc.array(hop, { minLength: 1, maxLength: 3 }),
  )
  .map(([start, hops]) => start + hops.join("/"))
  .filter((target) => target !== "");
const text = fc.constantFrom("", "one\n", "two\r\n", "* text eol=crlf filter=shout ident\n", "$Id$\n", "\u0000\n\n");
const entry: fc.Arbitrary<Entry> = fc.oneof(
  { weight: 4, arbitrary: text },
  { weight: 1, arbitrary: text.map((executable) => ({ executable })) },
  { weight: 3, arbitrary: link.map((target) => ({ link: target })) },
);
const shared = fc.constantFrom("hosts/web", "hosts/web", "hosts/web", "utils", "hosts", "secrets/web", "secrets/nas");
const files = fc
  .array(fc.tuple(shared, place(3), entry), { minLength: 2, maxLength: 14 })
  .map((all): Record<string, Entry> => {
    const tree: Record<string, Entry> = { "hosts/web/configuration.nix": "{ }", "hosts/web/a/kept": "kept" };
    for (const [dir, file, content] of all) {
      const full = `${dir}/${file}`;
      // A file is no directory.
      const clash = Object.keys(tree).some(
        (other) => `${other}/`.startsWith(`${full}/`) || full.startsWith(`${other}/`),
      );
      // Git takes no symlink of this name, on whatever machine.
      if (!clash && !(path.basename(full) === ".gitattributes" && typeof content === "object" && "link" in content))
        tree[full] = content;
    }
    return tree;
  });
const pin = fc.option(fc.constant({ url: "https://example.org/n.tar.gz?a&b", hash: `sha256-${"A".repeat(43)}=` }));
const include = fc.option(fc.subarray(["configuration.nix", "a", "a/kept", "b"], { minLength: 1 }), { freq: 2 });
const prefix = fc.constantFrom("", "", "fleet");

/** Both happen, or nothing was shown. */
async function stagesAlike(numRuns: number): Promise<void> {
  const seen = { staged: 0, refused: new Set<string>() };
  await fc.assert(
    fc.asyncProperty(files, pin, include, prefix, async (tree, nixpkgs, included, dir) => {
      const host = hostNamed("web", { nixpkgs, include: included });
      const at = (file: string) => path.posix.join(dir, file);
      const inRepository = Object.fromEntries(Object.entries(tree).map(([file, content]) => [at(file), content]));
      await using repo = await gitRepository({ ...inRepository, [at("fleet.json")]: fleetJson([host]) });
      const [result, expected] = await Promise.all([byHost(repo, host, dir), byRunner(repo, host, dir)]);
      expect(result).toBe(expected);
      if (result.startsWith("sha256-")) seen.staged += 1;
      else seen.refused.add(result);
    }),
    { numRuns },
  );
  expect(seen.staged).toBeGreaterThan(numRuns / 10);
  expect(seen.refused.size).toBeGreaterThan(3);
}

test(
  "a host stages every repository as the runner does: the same bytes, or the same refusal",
  () => stagesAlike(40),
  60_000,
);

long("a host stages every repository as the runner does, 500 of them", () => stagesAlike(500), 900_000);

test("what no generator hits by chance: submodules, loops, endless trees, bad names", async () => {
  const web = { "hosts/web/configuration.nix": "{ }" };
  const bad: [string, Record<string, Entry>, (repo: GitRepository) => Promise<void> | void][] = [
    ["a git submodule", {}, (repo) => void submodule(repo, "hosts/web/sub")],
    ["a git submodule", { "hosts/web/link": { link: "../../sub" } }, (repo) => void submodule(repo, "sub")],
    ["a loop of symlinks", { "hosts/web/a": { link: "b" }, "hosts/web/b": { link: "a" } }, () => {}],
    ["the tree would never end", { "hosts/web/up": { link: "../../hosts" } }, () => {}],
    ["not valid UTF-8", {}, (repo) => writeFile(Buffer.from(`${repo.dir}/hosts/web/\xff`, "latin1"), "")],
    ["it leaves the repository", { "hosts/web/out": { link: "../../../x" } }, () => {}],
    ["git tracks no file in hosts/web/", {}, (repo) => void repo.git("mv", "hosts/web", "hosts/other")],
  ];
  for (const [message, more, change] of bad) {
    const host = hostNamed("web");
    await using repo = await gitRepository({ ...web, ...more, "fleet.json": fleetJson([host]) });
    await change(repo);
    if (message !== "a git submodule") repo.git("add", "-A");
    repo.git("commit", "-q", "--allow-empty", "-m", "bad");
    const [result, expected] = [await byHost(repo, host, ""), await byRunner(repo, host, "")];
    expect(result).toContain(message);
    expect(result).toBe(expected);
  }
});

test("a fleet.json that does not say how to stage the host is named, with what mends it", async () => {
  const host = hostNamed("web");
  const files = { "hosts/web/configuration.nix": "{ }" };
  await using none = await gitRepository(files);
  expect(await byHost(none, host, "")).toMatch(/no fleet\.json in the commit.*bento render/);
  await using other = await gitRepository({ ...files, "fleet.json": fleetJson([hostNamed("nas")]) });
  expect(await byHost(other, host, "")).toMatch(/fleet\.json has no tree for web: enter it in fleet\.yaml/);
  await using flake = await gitRepository({ "hosts/web/flake.nix": "{ }", "fleet.json": fleetJson([host]) });
  expect(await byHost(flake, host, "")).toMatch(/another kind of host than its files: run 'bento render'/);
});

/** Makes a gitlink, as `git submodule add` does. */
function submodule(repo: GitRepository, at: string): void {
  repo.git("update-index", "--add", "--cacheinfo", `160000,${repo.head()},${at}`);
}
