import { expect, test } from "vitest";
import type { DeployDocument, PlanDocument } from "../../src/results.ts";
import type { FleetRepository } from "../support/fleet.ts";
import { withFleet } from "../support/with-fleet.ts";
import type { World } from "../support/world.ts";
import { bento, bentoJson, lineOf, startBento } from "./bento.ts";

// A rollout: the router first, then both laptops, then all others. The tests go on where the one before them stopped.

let world: World;
let fleet: FleetRepository;
withFleet({}, async (made) => {
  ({ world, fleet } = made);
  const rollout = "rollout:\n  - [canary]\n  - [laptop-*]\n  - ['*']\n";
  await fleet.edit("fleet.yaml", "hosts:\n  router:\n", `${rollout}hosts:\n  router:\n    groups: [canary]\n`);
  await fleet.render();
  await fleet.commit("A rollout");
});

const env = () => ({ BENTO_SSH_KEY_FILE: world.publisherKey.file, BENTO_SIGNING_KEY_FILE: world.signingKey.file });
const deploy = (...args: string[]) => bento(["deploy", ...args], { cwd: fleet.dir, env: env() });
const statuses = async (...args: string[]) => {
  const { status, document } = await bentoJson<DeployDocument>(["deploy", ...args], { cwd: fleet.dir, env: env() });
  return { status, hosts: Object.fromEntries(document.hosts.map(({ name, status }) => [name, status])) };
};

async function upgrade(host: string): Promise<void> {
  const { status, stderr } = await (await world.machine(host)).agent();
  expect(status, stderr).toBe(0);
}

test("which wave has to be said", async () => {
  expect(await deploy()).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/^error: fleet\.yaml has a rollout of 3 waves: say which one\n→ --wave 1 first/),
  });
  expect(await deploy("--wave", "4")).toMatchObject({
    status: 2,
    stderr: "error: there is no wave 4: fleet.yaml's rollout has 3\n",
  });
});

test("plan names the waves, for a workflow's matrix", async () => {
  const { document } = await bentoJson<PlanDocument>(["plan"], { cwd: fleet.dir });
  expect(document.waves).toEqual([
    { wave: "1", hosts: ["router"] },
    { wave: "2", hosts: ["laptop-anna", "laptop-ben"] },
    { wave: "3", hosts: ["nas"] },
  ]);
  expect(document.shards).toEqual([]);
});

test("a wave isn't published before those before it", async () => {
  const { status, stdout } = await deploy("--wave", "2");
  expect(lineOf("router", stdout)).toMatch(/failed/);
  expect(stdout).toMatch(
    /^ {4}this commit's release is not published for it yet\n {4}→ deploy the waves in their order$/m,
  );
  expect(lineOf("laptop-anna", stdout)).toMatch(/^- +laptop-anna +skipped +an earlier wave is not done: router$/);
  expect(status).toBe(1);
});

test("nor before they have reported that they are well", async () => {
  expect(await statuses("--wave", "1")).toEqual({ status: 0, hosts: { router: "published" } });
  const { status, stdout } = await deploy("--wave", "2");
  expect(stdout).toMatch(
    /^✗ +router +failed .*\n {4}it has not reported yet what became of release \d+ of [0-9a-f]{12}/m,
  );
  expect(status).toBe(1);
});

test("--wait waits until they have", async () => {
  const running = await startBento(["deploy", "--wave", "2", "--wait", "10m"], { cwd: fleet.dir, env: env() });
  let said = "";
  await new Promise<void>((resolve) => {
    running.child.stderr?.on("data", (data: Buffer) => {
      said += data;
      if (/waiting for router to report, \d+ minutes at most\n/.test(said)) resolve();
    });
  });
  await upgrade("router");
  const { status, stdout } = await running.finished;
  expect(stdout).toMatch(/^✓ +laptop-anna +published .*\n✓ +laptop-ben +published /m);
  expect(status).toBe(0);
});

test("--force is for what is published, and not for the waves before", async () => {
  expect(await statuses("--wave", "2", "--force", "--dry-run")).toEqual({
    status: 0,
    hosts: { "laptop-anna": "published", "laptop-ben": "published" },
  });
});

test("one that rolls back stops the rollout, with its report", async () => {
  await upgrade("laptop-anna");
  const ben = await world.machine("laptop-ben");
  await ben.healthCheck("says-no", "echo it hurts; exit 1");
  expect((await ben.agent({ BENTO_CONFIRM_TIMEOUT: "3" })).status).toBe(1);
  // It waits for nothing: what is bad does not get better.
  const { status, stdout } = await deploy("--wave", "3", "--wait", "10m");
  expect(stdout).toMatch(/^✗ +laptop-ben +failed .*\n {4}it rolled release \d+ of [0-9a-f]{12} back: .*says-no/m);
  expect(stdout).not.toMatch(/laptop-anna +failed/);
  expect(lineOf("nas", stdout)).toMatch(/^- +nas +skipped +an earlier wave is not done: laptop-ben$/);
  expect(status).toBe(1);
});

test("an administrator may go past it", async () => {
  expect(await statuses("--group", "canary", "--dry-run")).toEqual({ status: 0, hosts: { router: "unchanged" } });
  expect(await statuses("--hosts", "nas", "--dry-run")).toEqual({ status: 0, hosts: { nas: "published" } });
  expect(await statuses("--wave", "all")).toEqual({
    status: 0,
    hosts: { nas: "published", router: "unchanged", "laptop-anna": "unchanged", "laptop-ben": "unchanged" },
  });
});

test("a new commit begins with the first wave again", async () => {
  await fleet.edit("hosts/nas/configuration.nix", "pkgs.postgresql", "pkgs.curl");
  await fleet.commit("nas: curl");
  // Of the router nothing changed: it runs what this commit has for it.
  const { status, hosts } = await statuses("--wave", "2");
  expect([status, hosts]).toEqual([0, { "laptop-anna": "unchanged", "laptop-ben": "unchanged" }]);
});
