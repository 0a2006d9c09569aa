import { symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import type { CheckDocument, DeployDocument, HostStatus, StatusDocument } from "../../src/results.ts";
import { scratch } from "../platform/scratch.ts";
import { DEMO_HOSTS, type FleetRepository } from "../support/fleet.ts";
import { succeed } from "../support/programs.ts";
import { withFleet } from "../support/with-fleet.ts";
import type { World } from "../support/world.ts";
import { bento, bentoJson, lineOf, pathWith } from "./bento.ts";

// One fleet, from a commit to machines that run it, and what `bento status` says on the way. The tests go on where the one
// before them stopped.

let world: World;
let fleet: FleetRepository;

withFleet({}, (made) => {
  ({ world, fleet } = made);
});

const env = () => ({ BENTO_SSH_KEY_FILE: world.publisherKey.file, BENTO_SIGNING_KEY_FILE: world.signingKey.file });
const options = () => ({ cwd: fleet.dir, env: env() });
const status = (args: readonly string[] = []) => bento(["status", ...args], options());

async function statusOf(host: string): Promise<HostStatus> {
  const { document } = await bentoJson<StatusDocument>(["status", "--hosts", host], options());
  const [found] = document.hosts;
  if (found === undefined) throw new Error(`${host} has no status`);
  return found;
}

/** A file that a host has delivered. */
const reported = (host: string, file: string) => path.join(world.server.chroot(host), "reports", file);

test("before anything is published every host is new, and that is nobody's failure", async () => {
  const { status: exit, stdout } = await status();
  for (const host of DEMO_HOSTS) {
    expect(lineOf(host, stdout)).toMatch(/^\+ .* new +never +nothing +nothing has been published for it yet$/);
  }
  expect(exit).toBe(0);
});

test("from check to deploy to the machines: each runs the very system that was checked", async () => {
  const checked = await bentoJson<CheckDocument>(["check"], options());
  const deployed = await bentoJson<DeployDocument>(["deploy"], options());
  expect([checked.status, deployed.status]).toEqual([0, 0]);
  expect(deployed.document.hosts.map(({ name, toplevel }) => [name, toplevel])).toEqual(
    checked.document.hosts.map(({ name, toplevel }) => [name, toplevel]),
  );
  const upgrades = checked.document.hosts.map(async ({ name, toplevel }) => {
    const machine = await world.machine(name);
    const upgraded = await machine.agent();
    expect(upgraded.status, upgraded.stderr).toBe(0);
    expect(await machine.running()).toBe(toplevel);
    expect(await machine.bootDefault()).toBe(toplevel);
  });
  await Promise.all(upgrades);
});

test("then all are up to date: of which commit, and when they were heard of", async () => {
  const commit = await fleet.git("rev-parse", "--short=12", "HEAD");
  const { status: exit, stdout, stderr } = await status();
  expect(stdout).toMatch(/^ {3}HOST +STATE +LAST CONTACT +PUBLISHED +REASON$/m);
  for (const host of DEMO_HOSTS) {
    expect(lineOf(host, stdout)).toMatch(
      new RegExp(`^✓  ${host} +up to date +(?:just now|\\d+ (?:second|minute)s? ago) +${commit} A fleet of four$`),
    );
  }
  expect(stdout).toMatch(/\n4 hosts: 4 up to date\n$/);
  expect(stderr).toBe("");
  expect(exit).toBe(0);
});

test("status --json", async () => {
  const router = await world.machine("router");
  const commit = await fleet.git("rev-parse", "HEAD");
  const { document } = await bentoJson<StatusDocument>(["status", "--hosts", "router"], options());
  const toplevel = await router.running();
  expect(document).toEqual({
    version: 1,
    command: "status",
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
    failOn: ["failed", "rolled-back", "refused", "unknown", "silent", "inconclusive", "drifted"],
    hosts: [
      {
        name: "router",
        state: "up-to-date",
        sync: "applied",
        health: "ok",
        reason: null,
        published: {
          sequence: expect.any(Number),
          commit,
          subject: "A fleet of four",
          toplevel,
          issued: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
        },
        running: { toplevel, sequence: expect.any(Number) },
        lastContact: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
        lastOutcome: "success",
        attempted: expect.objectContaining({ outcome: "success", commit, to: toplevel, duration: expect.any(Number) }),
        agent: expect.any(String),
        wave: null,
        groups: [],
        history: null,
        log: null,
      },
    ],
  });
  expect(document.hosts[0]?.running?.sequence).toBe(document.hosts[0]?.published?.sequence);
});

test("a change is pending until the host's agent was there; a host that did not change stays up to date", async () => {
  await fleet.edit("hosts/nas/configuration.nix", "pkgs.postgresql", "pkgs.curl");
  await fleet.commit("nas: curl");
  expect((await bento(["deploy"], options())).status).toBe(0);
  const before = await status();
  expect(lineOf("nas", before.stdout)).toMatch(/^… +nas +pending .* nas: curl$/);
  expect(before.stdout).toMatch(/\n4 hosts: 1 pending, 3 up to date\n$/);
  expect(before.status).toBe(0);
  const nas = await world.machine("nas");
  expect((await nas.agent()).status).toBe(0);
  expect(await statusOf("nas")).toMatchObject({ state: "up-to-date", running: { toplevel: await nas.running() } });
});

test("a host that rolled back stands first, with the reason, and makes status red", async () => {
  await fleet.edit("hosts/laptops/ben.nix", '"laptop-ben"', '"laptop-ben";\n  environment.etc.hello = "hello"');
  await fleet.commit("laptop-ben: says hello");
  expect((await bento(["deploy"], options())).status).toBe(0);
  const [ben, anna] = await Promise.all([world.machine("laptop-ben"), world.machine("laptop-anna")]);
  const before = await ben.running();
  await ben.healthCheck("says-no", "echo it hurts; exit 1");
  const patience = { BENTO_CONFIRM_TIMEOUT: "3" };
  expect((await ben.agent(patience)).status).toBe(1);
  expect(await ben.running()).toBe(before);
  // Both laptops have one flake, so the other one got a release too: of the same system.
  expect((await anna.agent()).status).toBe(0);
  const { status: exit, stdout } = await status();
  expect(stdout.split("\n")[1]).toMatch(/^↩ {2}laptop-ben +rolled back .* says hello +\S/);
  expect(lineOf("laptop-ben", stdout)).toContain("says-no");
  expect(stdout).toMatch(/\n4 hosts: 1 rolled back, 3 up to date\n$/);
  expect(exit).toBe(1);
  expect((await status(["--hosts", "laptop-anna,nas,router"])).status).toBe(0);
});

test("mended, it is up to date again", async () => {
  await fleet.git("revert", "--no-edit", "HEAD");
  expect((await bento(["deploy"], options())).status).toBe(0);
  for (const host of ["laptop-anna", "laptop-ben"]) {
    const machine = await world.machine(host);
    await succeed("rm", ["-f", machine.path("checks/says-no")]);
    const upgraded = await machine.agent();
    expect(upgraded.status, upgraded.stderr).toBe(0);
  }
  const { status: exit, stdout } = await status();
  expect(stdout).toMatch(/\n4 hosts: 4 up to date\n$/);
  expect(exit).toBe(0);
});

test("a host that was not heard of for three intervals is silent, whatever it said before", async () => {
  for (const file of ["heartbeat.json", "latest.json"]) {
    await succeed("touch", ["-d", "50 minutes ago", reported("router", file)]);
  }
  const { status: exit, stdout } = await status();
  expect(lineOf("router", stdout)).toMatch(/^○ +router +silent +50 minutes ago .* not heard of for 50 minutes$/);
  expect(stdout).toMatch(/\n4 hosts: 1 silent, 3 up to date\n$/);
  expect(exit).toBe(1);
  expect((await (await world.machine("router")).agent()).status).toBe(0);
  expect((await statusOf("router")).state).toBe("up-to-date");
});

/** What a host that somebody has taken over may put where its report should be. */
const HOSTILE: readonly (readonly [string, (file: string) => Promise<unknown>, RegExp])[] = [
  ["garbage", (file) => writeFile(file, "\u0000\u0001{"), /can't be understood/],
  ["deep JSON", (file) => writeFile(file, "[".repeat(30_000) + "]".repeat(30_000)), /can't be understood/],
  ["another host's", (file) => writeFile(file, JSON.stringify({ version: 1, host: "nas" })), /can't be understood/],
  ["more than anybody would read", (file) => writeFile(file, "x".repeat(1_000_000)), /can't be read: .* larger than/],
  ["a fifo", (file) => succeed("mkfifo", [file]), /can't be read: .* not a regular file/],
  ["a directory", (file) => succeed("mkdir", [file]), /can't be read: .* not a regular file/],
  [
    "a link to what isn't its own",
    (file) => symlink("/nas/reports/latest.json", file),
    /can't be read: .* not a regular file/,
  ],
  ["a link that leads nowhere", (file) => symlink("/nowhere", file), /can't be read: .* not a regular file/],
];

test.each(HOSTILE)(
  "a host that reports %s: its state is unknown, and the others are told as ever",
  async (_, make, reason) => {
    const file = reported("router", "latest.json");
    const aside = `${file}.aside`;
    await succeed("mv", [file, aside]);
    await make(file);
    try {
      const { status: exit, stdout } = await status();
      expect(lineOf("router", stdout)).toMatch(/^\? +router +unknown +never /);
      expect(lineOf("router", stdout)).toMatch(reason);
      expect(stdout).toMatch(/\n4 hosts: 1 unknown, 3 up to date\n$/);
      expect(exit).toBe(1);
    } finally {
      await succeed("rm", ["-rf", file]);
      await succeed("mv", [aside, file]);
    }
  },
);

test("what a host says can neither paint nor forge a line", async () => {
  const file = reported("router", "latest.json");
  const said = JSON.parse(await succeed("cat", [file]));
  const reason = "\u001b[2K\u001b[1A✓  router  up to date\n::error::x\r\u202e";
  await succeed("cp", ["-p", file, `${file}.aside`]);
  await writeFile(file, JSON.stringify({ ...said, outcome: "failed", reason }));
  const { stdout } = await status();
  expect(lineOf("router", stdout)).toMatch(/^✗ +router +failed .*::error::x/);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: there must be none.
  expect(stdout).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e]/);
  expect(stdout).not.toMatch(/^::/m);
  await succeed("mv", [`${file}.aside`, file]);
});

test("a release that somebody else signed is not trusted, nor shown as what is published", async () => {
  const current = path.join(world.server.chroot("router"), "releases/current");
  await succeed("cp", ["-p", current, `${current}.aside`]);
  const envelope = JSON.parse(await succeed("cat", [current]));
  await writeFile(current, JSON.stringify({ ...envelope, payload: Buffer.from("{}").toString("base64") }));
  try {
    expect(await statusOf("router")).toMatchObject({
      state: "unknown",
      published: null,
      reason: "what is published can't be trusted: it is not signed by one of the fleet's signers",
    });
  } finally {
    await succeed("mv", [`${current}.aside`, current]);
  }
});

test("status needs neither Nix nor the signing key nor git, and changes nothing on the server", async () => {
  const files = () => succeed("find", [world.server.root, "-type", "f", "-printf", "%p %s %T@\n"]);
  const before = await files();
  await using dir = await scratch();
  const PATH = await pathWith(path.join(dir.path, "bin"), ["ssh-keygen"]);
  const { status: exit } = await bento(["status"], {
    cwd: fleet.dir,
    env: { BENTO_SSH_KEY_FILE: world.publisherKey.file, PATH },
  });
  expect(exit).toBe(0);
  expect(await files()).toBe(before);
});

test("a fleet without a server has nobody to ask", async () => {
  await fleet.write("fleet.yaml", "hosts:\n  router:\n");
  const { status: exit, stdout, stderr } = await status();
  expect([exit, stdout]).toEqual([2, ""]);
  expect(stderr).toMatch(/^error: fleet\.yaml has no server to ask for reports\n/);
});
