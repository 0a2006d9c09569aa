import { readFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { FleetRepository } from "../support/fleet.ts";
import { GitServer } from "../support/git-server.ts";
import { type KeyPair, makeKey } from "../support/keys.ts";
import { succeed } from "../support/programs.ts";
import { World } from "../support/world.ts";
import { push, schedule } from "./events.ts";
import { TestGitHub } from "./github.ts";
import { runStep, type Step } from "./runner.ts";
import { type Expressions, shippedInputs } from "./shipped.ts";

// Fleets whose releases go to git over ssh, with what the shipped workflows give the Action, and nothing else. The tests go on where the
// one before them stopped.

let world: World;
let server: GitServer;
let fleet: FleetRepository;
let github: TestGitHub;
let gitKey: KeyPair;
let secrets: Expressions;

beforeAll(async () => {
  world = await World.make();
  gitKey = await makeKey(path.join(world.dir, "git-key"));
  server = await GitServer.make(path.join(world.dir, "git"), { write: [gitKey.publicKey], read: [] });
  fleet = await world.makeFleet();
  github = await TestGitHub.start();
  secrets = {
    "secrets.BENTO_SSH_KEY": await readFile(world.publisherKey.file, "utf8"),
    "secrets.BENTO_SIGNING_KEY": await readFile(world.signingKey.file, "utf8"),
    "secrets.BENTO_GIT_SSH_KEY": await readFile(gitKey.file, "utf8"),
    "matrix.wave": "all",
  };
  const git = { remote: server.remote, hostKeys: [server.hostKey.publicKey] };
  await fleet.write("fleet.yaml", `${await fleet.read("fleet.yaml")}git: ${JSON.stringify(git)}\n`);
  await fleet.render();
  await fleet.commit("Releases go to git, too");
});

beforeEach(() => {
  github.calls.length = 0;
});

afterAll(async () => {
  await github?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
  await world?.[Symbol.asyncDispose]();
});

async function deploy(known: Expressions): Promise<Step> {
  const head = await fleet.git("rev-parse", "HEAD");
  const inputs = await shippedInputs("deploy", "deploy", known);
  return runStep({ workspace: fleet.dir, event: push(head, head), inputs });
}

async function status(known: Expressions): Promise<Step> {
  return runStep({
    workspace: fleet.dir,
    event: schedule(),
    inputs: { ...(await shippedInputs("status", "status", known)), token: "t0ken" },
    env: { GITHUB_API_URL: github.url, GITHUB_REPOSITORY: "org/fleet" },
  });
}

/** Every file at the sftp server, by what changes when it is written or replaced; a lock that is taken and given back leaves none. */
const atServer = () =>
  succeed("find", [world.server.root, "-type", "f", "-printf", "%P %i %s %T@ %C@\\n"]).then((text) =>
    text.split("\n").sort(),
  );

test("deploy.yml publishes at the server and in git", async () => {
  const before = await atServer();
  const step = await deploy(secrets);
  expect(step.status, step.stdout).toBe(0);
  expect(step.outputs["changed-hosts"]).toBe('["laptop-anna","laptop-ben","nas","router"]');
  // An envelope and an archive for each.
  expect((await atServer()).filter((file) => !before.includes(file))).toHaveLength(8);
  const inGit = await server.git("show", "refs/heads/bento/nas:envelope");
  expect(`${inGit}\n`).toBe(await readFile(path.join(world.server.chroot("nas"), "releases/current"), "utf8"));
});

test("without a key for git the server isn't written to either, and the step says which input it lacks", async () => {
  await fleet.edit("hosts/nas/configuration.nix", "pkgs.postgresql", "pkgs.curl");
  await fleet.commit("A change");
  const { "secrets.BENTO_GIT_SSH_KEY": _, ...others } = secrets;
  const before = [await atServer(), await server.git("for-each-ref")];
  const step = await deploy(others);
  expect(step.status).toBe(1);
  expect([await atServer(), await server.git("for-each-ref")]).toEqual(before);
  expect(step.annotations("error").map(({ data }) => data)).toEqual([
    expect.stringMatching(/refused the ssh key\n→ .*the Action's input 'git-ssh-key'$/),
  ]);
});

test("a fleet on git alone: the same workflow deploys it, with no key for a server", async () => {
  await fleet.write("fleet.yaml", (await fleet.read("fleet.yaml")).replace(/^server:\n(?: .*\n)*/m, ""));
  await fleet.render();
  await fleet.commit("No server");
  const { "secrets.BENTO_SSH_KEY": _, ...others } = secrets;
  secrets = others;
  const step = await deploy(secrets);
  expect(step.status, step.stdout).toBe(0);
  expect(step.outputs["changed-hosts"]).toContain('"nas"');
});

test("status.yml is green there: nobody reports, and that is no trouble; it opens no issue, and leaves commits alone", async () => {
  const step = await status(secrets);
  expect(step.status, step.stdout).toBe(0);
  expect(step.outputs).toMatchObject({ result: "success", "failed-hosts": "[]" });
  expect(step.summary).toMatch(/^\| · \| <code>nas<\/code> \| unreported \| never \| .* \| git has no reports&#58; /m);
  expect(github.issues).toEqual([]);
  expect(github.statuses.size).toBe(0);
});

test("an issue from before is closed by it", async () => {
  const body = `<!-- bento status . -->\n4 hosts to look at.\n`;
  github.issues.push({ number: 1, title: "Bento: nas", body, state: "open", user: { login: "github-actions[bot]" } });
  await status(secrets);
  expect(github.issues.map(({ state }) => state)).toEqual(["closed"]);
});

test("what can't be trusted there is trouble all the same, and so is a remote that refuses the key", async () => {
  const nas = await server.git("rev-parse", "refs/heads/bento/nas");
  const router = await server.git("rev-parse", "refs/heads/bento/router");
  await server.git("update-ref", "refs/heads/bento/nas", router);
  const step = await status(secrets);
  expect(step.status).toBe(1);
  expect(step.outputs["failed-hosts"]).toBe('["nas"]');
  expect(step.summary).toMatch(
    /<code>nas<\/code> \| unknown \| never \| nothing \| what is published can.*t be trusted/,
  );
  await server.git("update-ref", "refs/heads/bento/nas", nas);
  const refused = await status({ ...secrets, "secrets.BENTO_GIT_SSH_KEY": "" });
  expect(refused.status).toBe(1);
  expect(refused.annotations("error")[0]?.data).toContain("refused the ssh key");
});

test("a host for which nothing is there yet is new", async () => {
  await server.git("update-ref", "-d", "refs/heads/bento/router");
  const step = await status(secrets);
  expect(step.status).toBe(0);
  expect(step.summary).toMatch(
    /<code>router<\/code> \| new \| never \| nothing \| nothing has been published for it yet/,
  );
});
