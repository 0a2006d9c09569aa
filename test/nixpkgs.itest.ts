import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { packageRoot } from "../src/platform/package.ts";
import { keys, parseWorkflow } from "../src/workflows/workflow.ts";
import { scratch, writeTree } from "./platform/scratch.ts";
import { exec, succeed } from "./support/programs.ts";

// The pinned nixpkgs of CI: scripts/nixpkgs, and where ci.yml uses it.

const script = path.join(packageRoot(), "scripts/nixpkgs");

test("what a pin says is fetched once, and its variables are printed; anything else is refused, and not kept", async () => {
  await using dir = await scratch();
  const at = (...place: string[]) => path.join(dir.path, ...place);
  const archive = async (name: string, text: string) => {
    await writeTree(dir.path, { [`${name}/nixpkgs-1/lib/default.nix`]: text, [`${name}/nixpkgs-1/.version`]: "1" });
    await succeed("tar", ["-czf", at(`${name}.tar.gz`), "-C", at(name), "nixpkgs-1"]);
    return succeed("nix-hash", ["--type", "sha256", "--base32", at(name, "nixpkgs-1")]);
  };
  const hash = await archive("good", "{ }");
  await archive("bad", "{ evil = true; }");
  const pins = (name: string) =>
    writeTree(dir.path, {
      pins: `# a comment\n\nONE file://${at(name)}.tar.gz ${hash} .\nTWO file://${at(name)}.tar.gz ${hash} lib\n`,
    });
  const run = (to: string) => exec(script, [at(to), at("pins")]);

  await pins("good");
  const first = await run("cache");
  expect([first.status, first.stderr]).toEqual([0, ""]);
  expect(first.stdout).toBe(`ONE=${at("cache", hash)}\nTWO=${at("cache", hash, "lib")}\n`);
  expect(await readFile(at("cache", hash, "lib/default.nix"), "utf8")).toBe("{ }");

  await pins("bad");
  // It is there.
  expect((await run("cache")).stdout).toBe(first.stdout);
  const refused = await run("other");
  expect([refused.status, refused.stdout]).toEqual([1, ""]);
  expect(refused.stderr).toMatch(/bad\.tar\.gz is not what .*pins says: its hash is \w{52}, and should be \w{52}\n$/);
  expect(await readdir(at("other"))).toEqual([]);
});

test("the pins name a commit, a hash, and the variables that the tests ask for", async () => {
  const lines = (await readFile(`${script}.pins`, "utf8")).split("\n").filter((line) => /^[^#]/.test(line));
  for (const line of lines) {
    expect(line).toMatch(
      /^BENTO_TEST_NIXPKGS(?:_LIB)? https:\/\/github\.com\/[\w.-]+\/[\w.-]+\/archive\/[0-9a-f]{40}\.tar\.gz [0-9a-z]{52} [\w.]+$/,
    );
  }
  expect(lines.map((line) => line.split(" ")[0])).toEqual(["BENTO_TEST_NIXPKGS", "BENTO_TEST_NIXPKGS_LIB"]);
});

test("every job of ci.yml that runs tests has them, also under sudo, which forgets what it isn't told to keep", async () => {
  const file = ".github/workflows/ci.yml";
  const jobs = parseWorkflow(file, await readFile(path.join(packageRoot(), file), "utf8"))?.jobs ?? [];
  const testing = jobs.filter(({ steps }) =>
    steps.some(({ keys: { run } }) => /scripts\/test\b|\.ci\/run\b/.test(String(run))),
  );
  expect(testing.map(({ id }) => id)).toEqual(["test", "sweeps", "versions"]);
  for (const { id, steps } of testing) {
    const runs = steps.map((step) => String(keys(step.keys).run));
    const fetched = runs.findIndex((run) =>
      /^sudo scripts\/nixpkgs "\$RUNNER_TEMP\/nixpkgs" >> "\$GITHUB_ENV"$/m.test(run),
    );
    const tested = runs.findIndex((run) => /scripts\/test\b|\.ci\/run\b/.test(run));
    expect([id, fetched >= 0, fetched < tested]).toEqual([id, true, true]);
    expect(runs[tested], id).toMatch(/sudo --preserve-env=\S*BENTO_TEST_NIXPKGS,BENTO_TEST_NIXPKGS_LIB\b/);
  }
});
