import { writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import type { CheckDocument } from "../../src/results.ts";
import { gitRepository } from "../platform/git.ts";
import { scratch } from "../platform/scratch.ts";
import type { FleetRepository } from "../support/fleet.ts";
import { succeed } from "../support/programs.ts";
import { withFleet } from "../support/with-fleet.ts";
import type { World } from "../support/world.ts";
import { bento, bentoJson, lineOf } from "./bento.ts";
import { configuration, flake } from "./configurations.ts";

// Which fleet is checked, and what is wrong with it itself.

let world: World;
let fleet: FleetRepository;

withFleet({ resets: true }, (made) => {
  ({ world, fleet } = made);
});

const check = (args: readonly string[] = [], env: Record<string, string> = {}, cwd = fleet.dir) =>
  bento(["check", ...args], { cwd, env });
const checkJson = (args: readonly string[] = [], cwd = fleet.dir) =>
  bentoJson<CheckDocument>(["check", ...args], { cwd });

test("a fleet.json that is not what fleet.yaml says: the hint is what mends it", async () => {
  await fleet.edit("fleet.json", '"version": 1', '"version": 2');
  const { status, stdout, stderr } = await check();
  expect([status, stdout]).toEqual([2, ""]);
  expect(stderr).toBe("error: fleet.json is not what fleet.yaml says\n→ run 'bento render' and commit the result\n");
  expect((await bento(["render"], { cwd: fleet.dir })).status).toBe(0);
  expect((await check(["--hosts", "router"])).status).toBe(0);
});

test("a fleet.yaml with mistakes: each one's file, line and column, and what was meant", async () => {
  const lines = (await fleet.read("fleet.yaml")).split("\n");
  const at = lines.findIndex((line) => line.startsWith("  router:"));
  await fleet.edit("fleet.yaml", "  router:", "  router:\n    atr: router\n    grups: []");
  const { status, stdout, stderr } = await check();
  expect([status, stdout]).toEqual([2, ""]);
  expect(stderr).toBe(
    `error: fleet.yaml:${at + 2}:5: hosts.router.atr is not a known key; did you mean 'attr'?\n` +
      `fleet.yaml:${at + 3}:5: hosts.router.grups is not a known key; did you mean 'groups'?\n`,
  );
});

test("an entry whose configuration is gone is a mistake: no host is ever dropped in silence", async () => {
  await fleet.git("rm", "-rq", "hosts/router");
  const { status, stderr } = await check();
  expect(status).toBe(2);
  expect(stderr).toMatch(
    /^error: fleet\.yaml:\d+:3: router: there is no hosts\/router\/configuration\.nix\n→ .*bento host remove router\n$/,
  );
});

test("outside of a fleet, and in a fleet that is in no git repository", async () => {
  await using dir = await scratch();
  const nowhere = await check([], {}, dir.path);
  expect([nowhere.status, nowhere.stdout]).toEqual([2, ""]);
  expect(nowhere.stderr).toMatch(/^error: no fleet here: .* fleet\.yaml or hosts\/\n→ bento init makes one\n$/);
  await succeed("mkdir", ["-p", "hosts/lonely"], { cwd: dir.path });
  await writeFile(path.join(dir.path, "hosts/lonely/configuration.nix"), configuration("lonely"));
  expect(await check([], {}, dir.path)).toEqual({
    status: 2,
    stdout: "",
    stderr: `error: ${dir.path} is not in a git repository\n→ git init\n`,
  });
});

test("a fleet without fleet.yaml: what lies below hosts/ is checked, also before there is a commit", async () => {
  await using repo = await gitRepository();
  await using empty = await gitRepository({ "hosts/.keep": "" });
  for (const name of ["one", "two"]) {
    await succeed("mkdir", ["-p", `hosts/${name}`], { cwd: repo.dir });
    await writeFile(path.join(repo.dir, `hosts/${name}/configuration.nix`), configuration(name));
  }
  repo.git("add", ".");
  const { status, stdout } = await check([], {}, path.join(repo.dir, "hosts/one"));
  expect(stdout).toBe(
    "✓  one  ok  1 to build; not reproducible\n✓  two  ok  1 to build; not reproducible\n\n2 hosts: 2 ok\n",
  );
  expect(status).toBe(0);
  const none = await check([], {}, empty.dir);
  expect([none.status, none.stdout]).toEqual([2, ""]);
  expect(none.stderr).toMatch(/^error: the fleet has no hosts\n→ bento host add /);
});

test("a flake at the root alone: every one of its systems is a host", async () => {
  await using repo = await gitRepository();
  await succeed("cp", ["-r", world.store.nixpkgs, "nixpkgs"], { cwd: repo.dir });
  await repo.commit({ "flake.nix": flake(world.store, ["alpha", "beta"]) });
  const { status, document } = await checkJson([], repo.dir);
  expect(document.hosts.map(({ name, status }) => [name, status])).toEqual([
    ["alpha", "ok"],
    ["beta", "ok"],
  ]);
  expect(status).toBe(0);
});

test("a fleet in a directory of the repository, from elsewhere with --fleet", async () => {
  await using repo = await gitRepository({ "machines/hosts/one/configuration.nix": configuration("one", "  x = 1;") });
  const { status, document } = await checkJson(["--fleet", "machines"], repo.dir);
  expect(document.hosts).toMatchObject([{ name: "one", error: { file: "hosts/one/configuration.nix" } }]);
  expect(status).toBe(1);
});

test("a configuration without an entry is checked, with a warning that it is never deployed", async () => {
  await fleet.write("hosts/printer/configuration.nix", configuration("printer"));
  await fleet.git("add", "-A");
  const { status, stdout } = await check(["--hosts", "printer"]);
  expect(lineOf("printer", stdout)).toMatch(/^✓ .* ok /);
  expect(stdout).toContain(
    "warning: printer (hosts/printer) has no entry in fleet.yaml: it is checked, and never deployed",
  );
  expect(status).toBe(0);
});
