// biome-ignore-all lint/suspicious/noTemplateCurlyInString: a workflow's expressions look the same.
import { readFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { pathWith } from "../cli/bento.ts";
import { scratch } from "../platform/scratch.ts";
import type { FleetRepository } from "../support/fleet.ts";
import { makeKey } from "../support/keys.ts";
import { succeed } from "../support/programs.ts";
import { withFleet } from "../support/with-fleet.ts";
import type { World } from "../support/world.ts";
import { push } from "./events.ts";
import { checkout, runStep, type Step } from "./runner.ts";

// What is merged goes out, and a scheduled job looks after it. The tests go on where the one before them stopped.

let world: World;
let fleet: FleetRepository;
let keys: { "ssh-key": string; "signing-key": string };

withFleet({}, async (made) => {
  ({ world, fleet } = made);
  keys = {
    "ssh-key": await readFile(world.publisherKey.file, "utf8"),
    "signing-key": await readFile(world.signingKey.file, "utf8"),
  };
});

async function deploy(inputs: Record<string, string> = {}, env: Record<string, string> = {}): Promise<Step> {
  const head = await fleet.git("rev-parse", "HEAD");
  return runStep({
    workspace: fleet.dir,
    event: push(head, head),
    inputs: { command: "deploy", ...keys, ...inputs },
    env,
  });
}

const listing = () =>
  succeed("find", [world.server.root, "-type", "f", "-printf", "%p %s %T@ %i\n"]).then((text) =>
    text.split("\n").sort(),
  );

/** No line of a private key's, but for those that tell the runner to mask it, is anywhere. */
function expectSecret(step: Step): void {
  for (const key of Object.values(keys)) {
    const secret = key.split("\n").filter((line) => line !== "" && !line.startsWith("-----"));
    const masked = step.commands.filter(({ name }) => name === "add-mask").map(({ data }) => data);
    for (const line of secret) {
      expect(masked).toContain(line);
      for (const place of [
        step.log,
        step.stderr,
        step.summary,
        JSON.stringify([step.outputs, step.document ?? null]),
      ]) {
        expect(place).not.toContain(line);
      }
    }
  }
}

test("a dry run says what would go out, and nothing does", async () => {
  const before = await listing();
  const step = await deploy({ "dry-run": "true" });
  expect(step.status, step.stdout).toBe(0);
  expect(step.summary).toContain("## Bento deploy: 4 hosts, dry run\n");
  expect(step.summary).toContain("would be published");
  expect(step.document).toMatchObject({ command: "deploy", dryRun: true });
  expect(await listing()).toEqual(before);
});

test("deploy publishes, says which hosts it published, and shows no key", async () => {
  const step = await deploy();
  expect(step.status, step.stdout).toBe(0);
  expect(step.outputs).toMatchObject({
    result: "success",
    "failed-hosts": "[]",
    "changed-hosts": '["laptop-anna","laptop-ben","nas","router"]',
  });
  expect(step.summary).toMatch(/^\| ✅ \| <code>nas<\/code> \| published \| release \d{13} of [0-9a-f]{12} \|$/m);
  expectSecret(step);
  const again = await deploy();
  expect(again.outputs).toMatchObject({ result: "success", "changed-hosts": "[]" });
  expect(again.summary).toMatch(/^\| ⚪ \| <code>nas<\/code> \| unchanged \|/m);
});

test("a host that fails makes the step red, and the others are out all the same", async () => {
  await fleet.edit("hosts/router/configuration.nix", "pkgs.nginx", "pkgs.nginxx");
  await fleet.edit("hosts/nas/configuration.nix", "pkgs.postgresql", "pkgs.curl");
  await fleet.commit("A change");
  const step = await deploy();
  expect(step.status).toBe(1);
  expect(step.outputs).toMatchObject({
    result: "failure",
    "failed-hosts": '["router"]',
    "changed-hosts": '["nas"]',
  });
  expect(step.annotations("error")).toMatchObject([
    { properties: { title: "router", file: "hosts/router/configuration.nix", line: "6" } },
    { data: "bento deploy: 1 failed: router" },
  ]);
  expect(step.summary.split("\n").find((line) => /^\| [^ ]+ \| <code>/.test(line))).toMatch(/^\| ❌ \| <code>router/);
  await fleet.edit("hosts/router/configuration.nix", "pkgs.nginxx", "pkgs.nginx");
  await fleet.commit("Mended");
});

test("a runner without Nix ships the files alone", async () => {
  await using dir = await scratch();
  const PATH = await pathWith(path.join(dir.path, "bin"), ["git", "ssh-keygen"]);
  const step = await deploy({ evaluate: "false", hosts: "router", force: "true" }, { PATH });
  expect(step.status, step.stdout).toBe(0);
  expect(step.document.hosts).toMatchObject([{ name: "router", status: "published", toplevel: null }]);
  const without = await deploy({}, { PATH });
  expect(without.status).toBe(1);
  expect(without.annotations("error")).toMatchObject([
    { data: expect.stringMatching(/^Nix was not found on this machine/) },
  ]);
});

test("a shallow checkout can't tell which commit is newer, and says what to do", async () => {
  await deploy({ hosts: "nas" });
  await fleet.edit("hosts/nas/configuration.nix", "pkgs.curl", "pkgs.git");
  const head = await fleet.commit("Another change");
  await using dir = await scratch();
  const workspace = await checkout(fleet.dir, path.join(dir.path, "checkout"), head, 1);
  const shallow = (inputs: Record<string, string>) =>
    runStep({ workspace, inputs: { command: "deploy", ...keys, hosts: "nas", ...inputs } });
  const step = await shallow({});
  expect(step.status).toBe(1);
  expect(step.annotations("error")[0]?.data).toMatch(
    /is not in this clone.*\n→ fetch the whole history \(on GitHub, fetch-depth: 0\)/,
  );
  expect(step.outputs["failed-hosts"]).toBe('["nas"]');
  const forced = await shallow({ force: "true" });
  expect(forced.outputs["changed-hosts"]).toBe('["nas"]');
});

test("a key that is missing, wrong, or no key: one clear line without it", async () => {
  const missing = await deploy({ "ssh-key": "" });
  expect(missing.annotations("error").map(({ data }) => data)).toEqual([
    "the publisher's ssh key is missing\n→ give the step ssh-key: ${{ secrets.BENTO_SSH_KEY }}, and the job the environment that has it as a secret and lets this branch use it; bento keygen makes the keys",
  ]);
  const both = await deploy({ "ssh-key": "", "signing-key": "" });
  expect(both.annotations("error")[0]?.data).toMatch(
    /^the publisher's ssh key and the signing key are missing\n→ give the step ssh-key: \$\{\{ secrets\.BENTO_SSH_KEY \}\} and signing-key: /,
  );
  await using dir = await scratch();
  const other = await makeKey(path.join(dir.path, "other"));
  const wrong = await deploy({ "signing-key": await readFile(other.file, "utf8") });
  expect(wrong.annotations("error").map(({ data }) => data)).toEqual([
    expect.stringMatching(/^the signing key is not one of the fleet's signers/),
  ]);
  const half = await deploy({ "signing-key": keys["signing-key"].slice(0, 250) });
  expect(half.annotations("error").map(({ data }) => data)).toEqual([
    expect.stringMatching(/^the signing key is not an OpenSSH private key\n→ /),
  ]);
  for (const step of [missing, wrong, half]) {
    expect(step.status).toBe(1);
    expect(step.outputs).toEqual({});
    expect(step.log + step.stderr + step.summary).not.toContain("b3BlbnNzaC1rZXktdjE");
  }
});

test("a wait that is longer than GitHub lets a job run is refused before anything is done, on its runners alone", async () => {
  const wait = (text: string, runner: string) =>
    deploy({ wait: text, "dry-run": "true" }, { RUNNER_ENVIRONMENT: runner });
  const long = await wait("1d", "github-hosted");
  expect([long.status, long.annotations("error").map(({ data }) => data)]).toEqual([
    1,
    [expect.stringMatching(/^the input 'wait' is 1d, and GitHub ends a job after 6 hours.*\n→ wait 5h at most/)],
  ]);
  expect((await wait("5h", "github-hosted")).status).toBe(0);
  expect((await wait("1d", "self-hosted")).status).toBe(0);
});

test("a server that isn't the pinned one", async () => {
  await using dir = await scratch();
  const other = await makeKey(path.join(dir.path, "other"));
  await fleet.edit("fleet.yaml", await world.server.hostKey(), other.publicKey);
  await fleet.render();
  const step = await deploy({ evaluate: "false" });
  expect(step.status).toBe(1);
  expect(step.annotations("error")).toMatchObject([
    { data: expect.stringMatching(/showed another host key than the pinned one/) },
  ]);
  await fleet.git("checkout", "-q", ".");
});

test("status: red when a host needs somebody, and the table says who and why", async () => {
  const status = () =>
    runStep({
      workspace: fleet.dir,
      event: { schedule: "17 * * * *" },
      inputs: { command: "status", "ssh-key": keys["ssh-key"] },
    });
  const fine = await status();
  expect(fine.status, fine.stdout).toBe(0);
  expect(fine.outputs).toMatchObject({ result: "success", "failed-hosts": "[]", "changed-hosts": "[]" });
  expect(fine.summary).toMatch(
    /^\| \+ \| <code>nas<\/code> \| new \| never \| [0-9a-f]{12} Another change \| it has not been heard of yet \|$/m,
  );
  const router = await world.machine("router");
  expect((await router.agent()).status).toBe(0);
  const reports = path.join(world.server.chroot("router"), "reports");
  await succeed("sh", ["-c", 'touch -d "2 hours ago" "$0"/*', reports]);
  const silent = await status();
  expect(silent.status).toBe(1);
  expect(silent.outputs).toMatchObject({ result: "failure", "failed-hosts": '["router"]' });
  expect(silent.summary).toMatch(
    /^\| ○ \| <code>router<\/code> \| silent \| 2 hours ago \| .* \| not heard of for 2 hours \|$/m,
  );
  expect(silent.annotations("error").map(({ data }) => data)).toEqual(["bento status: 1 to look at: router"]);
});
