import { cp, mkdir, readFile, stat } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import type { DeployDocument, PushDocument, StatusDocument } from "../../src/results.ts";
import type { FleetRepository } from "../support/fleet.ts";
import type { Machine } from "../support/machine.ts";
import { exec, succeed } from "../support/programs.ts";
import { ShellAccess } from "../support/shell-access.ts";
import { World } from "../support/world.ts";
import { bento, bentoJson, startBento } from "./bento.ts";

// An administrator and a host, each with a Nix store of its own at the same place, and nothing but ssh between them. The host
// builds nothing: what it activates was copied there.

let world: World;
let fleet: FleetRepository;
let nas: Machine;
let shell: ShellAccess;

beforeAll(async () => {
  world = await World.make();
  fleet = await world.makeFleet();
  nas = await world.machine("nas");
  const store = path.dirname(world.store.dir);
  const own = nas.path("nix");
  await cp(store, own, { recursive: true, verbatimSymlinks: true });
  // What is run there sees the machine's store where everybody else sees the administrator's.
  shell = await ShellAccess.make(
    nas,
    `if [ -z "$OWN_STORE" ]; then OWN_STORE=1 exec unshare --mount --propagation private "$0"; fi
mount --bind '${own}' '${store}'
export BENTO_BUILD=prebuilt BENTO_CONFIRM_TIMEOUT=8 BENTO_BACKOFF=0`,
  );
  await fleet.edit("fleet.yaml", "  nas:\n", `  nas:\n    ssh: ${shell.target}\n`);
  await declareSecret("one");
  await fleet.commit("nas can be reached, and has a secret");
});
afterAll(async () => {
  await shell?.[Symbol.asyncDispose]();
  await world?.[Symbol.asyncDispose]();
});

async function declareSecret(value: string): Promise<void> {
  const declared = JSON.stringify({ token: { owner: "root", group: "root", mode: "0400", restartUnits: [] } });
  const text = await fleet.read("hosts/nas/configuration.nix");
  if (!text.includes("bento-secrets"))
    await fleet.edit(
      "hosts/nas/configuration.nix",
      "}\n",
      `  environment.etc."bento-secrets.json" = ''${declared}'';\n}\n`,
    );
  await mkdir(path.join(fleet.dir, "secrets/nas"), { recursive: true });
  const file = path.join(fleet.dir, "secrets/nas/token.age");
  await exec("rm", ["-f", file]);
  await succeed("age", ["-r", world.hostKeys.nas?.publicKey ?? "", "-o", file], { input: value });
}

const env = () => ({ BENTO_SSH_KEY_FILE: world.publisherKey.file, BENTO_SIGNING_KEY_FILE: world.signingKey.file });
const options = () => ({ cwd: fleet.dir, env: env() });
const args = () => ["push", "nas", "--ssh-config", shell.config];

async function stateOfNas() {
  const { document } = await bentoJson<StatusDocument>(["status", "--hosts", "nas"], options());
  return document.hosts[0];
}

test("a host's release is built here, copied there, published, and taken at once, with its secrets", async () => {
  const { status, stdout, stderr } = await bento([...args(), "--json"], options());
  const document: PushDocument = JSON.parse(stdout);
  const [host] = document.hosts;
  expect(host, stderr).toMatchObject({
    name: "nas",
    status: "ok",
    published: "published",
    outcome: "success",
    error: null,
  });
  expect(status).toBe(0);
  const toplevel = host?.toplevel ?? "";
  expect(await nas.running()).toBe(toplevel);
  expect(await nas.bootDefault()).toBe(toplevel);
  expect(await readFile(nas.path("run/bento-secrets/token"), "utf8")).toBe("one");
  // It is there itself, and not only here.
  await stat(path.join(nas.path("nix/store"), path.basename(toplevel)));
  expect(stderr).toMatch(/\nconfirmation 1 of 1\n|confirmation 1 of 1\n/);

  // To the fleet it is a release like any other.
  expect(await stateOfNas()).toMatchObject({
    state: "up-to-date",
    published: { sequence: host?.sequence, toplevel },
    running: { sequence: host?.sequence, toplevel },
  });
  expect(await world.outcomes("nas")).toEqual(["success"]);
  const deployed = await bentoJson<DeployDocument>(["deploy", "--hosts", "nas"], options());
  expect(deployed.document.hosts).toMatchObject([{ name: "nas", status: "unchanged", sequence: host?.sequence }]);
});

test("again, there is nothing to do", async () => {
  const { status, stdout } = await bento(args(), options());
  expect(stdout).toMatch(/^✓ {2}nas {2}unchanged {2}release \d+: up to date with release \d+\n$/);
  expect(status).toBe(0);
});

test("one that cuts the host off is undone there, also while nobody is connected; the next one mends it", async () => {
  const before = await nas.running();
  await fleet.edit(
    "hosts/nas/configuration.nix",
    "  networking.hostName",
    '  networking.gateway = "127.0.0.9";\n  networking.hostName',
  );
  await declareSecret("two");
  await fleet.commit("nas: another gateway");
  const running = await startBento(args(), options());
  let shown = "";
  running.child.stderr?.on("data", (data) => {
    shown += data;
  });
  await vi.waitFor(() => expect(shown).toContain("activating"), { timeout: 60_000 });
  // Its network goes with it, and comes back when the host has gone back.
  await shell.cut();
  await vi.waitFor(async () => expect(await nas.state("last.json")).toMatchObject({ outcome: "rolled-back" }), {
    timeout: 60_000,
  });
  await shell.start();
  const { status, stdout, stderr } = await running.finished;
  expect(stdout).toMatch(/^✗ {2}nas {2}rolled back {2}release \d+: no contact: /);
  expect(stderr).toContain("the upgrade goes on there");
  expect(status).toBe(1);
  expect(await nas.running()).toBe(before);
  expect(await readFile(nas.path("run/bento-secrets/token"), "utf8")).toBe("one");
  expect(await stateOfNas()).toMatchObject({ state: "rolled-back" });

  await fleet.git("revert", "--no-edit", "HEAD");
  const mended = await bentoJson<PushDocument>(args(), options());
  expect(mended.document.hosts).toMatchObject([{ status: "ok", running: before }]);
  expect(await stateOfNas()).toMatchObject({ state: "up-to-date" });
}, 120_000);

test("what doesn't build, or isn't committed, is neither published nor activated", async () => {
  const before = await nas.running();
  const current = path.join(world.server.chroot("nas"), "releases/current");
  const published = await readFile(current, "utf8");
  await fleet.edit(
    "hosts/nas/configuration.nix",
    "  networking.hostName",
    "  netwroking.x = 1;\n  networking.hostName",
  );
  const wrong = await bento(args(), options());
  expect(wrong.stdout).toMatch(/^✗ {2}nas {2}failed {2}nothing was published\n {4}hosts\/nas\/configuration\.nix/);
  expect(wrong.status).toBe(1);
  await fleet.edit("hosts/nas/configuration.nix", "  netwroking.x = 1;\n", '  environment.etc.x = "x";\n');
  const uncommitted = await bento(args(), options());
  expect(uncommitted.stdout).toContain("has changes that are not committed");
  expect(uncommitted.status).toBe(1);
  await fleet.git("checkout", "-q", ".");
  // An older commit, with something in it that nobody has built yet.
  const head = await fleet.git("rev-parse", "HEAD");
  await fleet.git("reset", "-q", "--hard", "HEAD~2");
  await fleet.edit(
    "hosts/nas/configuration.nix",
    "  networking.hostName",
    '  environment.etc.old = "old";\n  networking.hostName',
  );
  await fleet.commit("nas: beside what is published");
  const older = await bento(args(), options());
  expect(older.stdout).toMatch(/^✗ {2}nas {2}failed {2}nothing was published\n {4}\S/);
  expect(older.status).toBe(1);
  await fleet.git("reset", "-q", "--hard", head);
  // All of that is told before anything is built here, or is on the host.
  expect(wrong.stderr + uncommitted.stderr + older.stderr).not.toMatch(/copying|building/);
  expect(await readFile(current, "utf8")).toBe(published);
  expect(await nas.running()).toBe(before);
});

test("a host that can't be reached, is suspended, or isn't one: nothing is built", async () => {
  await shell.cut();
  const away = await bento(args(), options());
  expect(away.stdout).toMatch(/^✗ {2}nas {2}failed {2}nothing was published\n {4}ssh: .*Connection refused\n$/);
  expect(away.status).toBe(1);
  await shell.start();
  expect((await nas.agent({}, ["suspend"])).status).toBe(0);
  expect((await bento(args(), options())).stdout).toContain("upgrades are suspended there");
  expect((await nas.agent({}, ["resume"])).status).toBe(0);
  const unreachable = await bento(["push", "router"], options());
  expect(unreachable).toMatchObject({
    status: 2,
    stdout: "",
    stderr: expect.stringContaining("how router is reached"),
  });
  const keyless = await bento(args(), { cwd: fleet.dir });
  expect(keyless).toMatchObject({ status: 2, stdout: "", stderr: expect.stringContaining("the signing key") });
});
