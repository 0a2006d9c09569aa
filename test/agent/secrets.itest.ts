import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { Hold } from "../support/hold.ts";
import { long } from "../support/long.ts";
import type { Machine } from "../support/machine.ts";
import { kill, succeed } from "../support/programs.ts";
import { encrypt } from "../support/secrets.ts";
import { World } from "../support/world.ts";

let world: World;
let machine: Machine;
beforeAll(async () => {
  world = await World.make({ hosts: ["web", "nas"] });
  machine = await world.machine("web");
});
afterAll(async () => world?.[Symbol.asyncDispose]());

let releases = 0;

/** A release of web's that declares the secret `token`, and `others` with the same value, whose ciphertexts are for `recipient`. */
async function release(
  token: string | null,
  definitions = "",
  recipient = "web",
  others: readonly string[] = [],
): Promise<string> {
  releases += 1;
  const dir = path.join(world.dir, `secret-${releases}`);
  await mkdir(path.join(dir, "tree"), { recursive: true });
  const names = [...others, "token"];
  const declaration = { owner: "nobody", group: "root", mode: "0440", restartUnits: [] };
  const declared = JSON.stringify(Object.fromEntries(names.map((name) => [name, declaration])));
  const text = `{ pkgs, ... }: {
    networking.hostName = "web";
    environment.etc."bento-secrets.json" = ''${declared}'';
    ${definitions}
  }`;
  await writeFile(path.join(dir, "tree/configuration.nix"), text);
  if (token !== null) {
    const to = world.hostKeys[recipient]?.publicKey ?? "";
    for (const name of names) await encrypt(token, to, path.join(dir, `secrets/${name}.age`));
  }
  return dir;
}

async function token(of = machine): Promise<string> {
  return readFile(of.path("run/bento-secrets/token"), "utf8");
}

test("secrets are there before the activation, go back with the system, and are there again after a restart", async () => {
  const seen = 'system.activationScript = "cat $MACHINE/run/bento-secrets/token > $MACHINE/seen";';
  const first = await world.publish("web", { dir: await release("first-value", seen) });
  const { status, stderr } = await machine.agent();
  expect(stderr).toMatch(/\nsuccess\n$/);
  expect(status).toBe(0);
  expect(await readFile(machine.path("seen"), "utf8")).toBe("first-value");
  const file = await stat(machine.path("run/bento-secrets/token"));
  expect(file.mode & 0o777).toBe(0o440);
  expect(file.uid).toBe(Number(await succeed("id", ["-u", "nobody"])));
  expect((await stat(machine.path("run/bento-secrets/"))).mode & 0o777).toBe(0o711);

  // The guard's half of it is the same link; here it is the agent that goes back.
  await world.publish("web", { dir: await release("second-value", `networking.gateway = "127.0.0.9"; ${seen}`) });
  const bad = await machine.agent({ BENTO_CONFIRM_TIMEOUT: "6" });
  expect(bad.stderr).toMatch(/\nrolled-back: no contact/);
  expect(await readFile(machine.path("seen"), "utf8")).toBe("first-value");
  expect(await token()).toBe("first-value");
  expect(await readdir(machine.path("run/bento-secrets.d"))).toHaveLength(1);

  // What an activation prints goes nowhere with a secret in it.
  const leak = 'system.activationScript = "cat $MACHINE/run/bento-secrets/token >&2; exit 1";';
  await world.publish("web", { dir: await release("a-line-of-it\nanother.line*of[it]\nshort", leak) });
  const leaked = await machine.agent();
  expect(leaked.status).toBe(1);
  const reports = path.join(world.server.chroot("web"), "reports");
  const newest =
    (await readdir(reports))
      .filter((name) => name.endsWith(".log.gz"))
      .sort()
      .at(-1) ?? "";
  const log = gunzipSync(await readFile(path.join(reports, newest))).toString();
  expect(log).toContain("[secret]\n[secret]\nshort");
  expect(await world.report("web")).toMatchObject({
    outcome: "rolled-back",
    reason: expect.stringMatching(/status 1: short$/),
  });
  expect(log).not.toMatch(/a-line-of-it|another\.line/);
  await world.publish("web", {
    dir: await release("the-only-line", leak.replace("exit 1", "exit 2")),
  });
  expect((await machine.agent()).stderr).toMatch(/failed with status 2: \[secret\]/);
  expect(await world.report("web")).toMatchObject({ reason: expect.stringMatching(/status 2: \[secret\]$/) });

  // The same system with another value.
  const changed = await world.publish("web", { dir: await release("third-value", seen) });
  expect(changed.manifest.toplevel).toBe(first.manifest.toplevel);
  expect((await machine.agent()).stderr).toMatch(/\nsuccess\n$/);
  expect(await token()).toBe("third-value");

  await machine.restart();
  expect(existsSync(machine.path("run/bento-secrets"))).toBe(false);
  expect((await machine.agent({}, ["secrets"])).status).toBe(0);
  expect(await token()).toBe("third-value");

  // Power lost while the ciphertexts of a confirmed system take the place of those before.
  const kept = path.join(machine.path("state/secrets"), path.basename(first.manifest.toplevel ?? ""));
  await rename(kept, `${kept}.next`);
  await machine.restart();
  expect((await machine.agent({}, ["secrets"])).status).toBe(0);
  expect(await token()).toBe("third-value");
  await expect(succeed("grep", ["-r", "third-value", machine.path("state"), machine.path("etc")])).rejects.toThrow();
});

test("a secret that is missing, for another host, or damaged keeps a release from being activated", async () => {
  const before = { running: await machine.running(), token: await token() };
  const damaged = await release("damaged-value", "# damaged");
  const ciphertext = await readFile(path.join(damaged, "secrets/token.age"));
  await writeFile(path.join(damaged, "secrets/token.age"), ciphertext.subarray(0, -3));
  for (const [dir, reason] of [
    [await release(null), /the release has no secrets\/web\/token\.age: bento secret set web token/],
    [
      await release("nas-value", 'time.timeZone = "UTC";', "nas"),
      /token can't be decrypted with this host's key: .*identity/,
    ],
    [damaged, /the secret token can't be decrypted with this host's key: /],
  ] as const) {
    await world.publish("web", { dir });
    const { status, stderr } = await machine.agent();
    expect(stderr).toMatch(reason);
    expect(stderr).not.toContain("activating");
    expect(status).toBe(1);
    expect(await machine.running()).toBe(before.running);
    expect(await token()).toBe(before.token);
    expect(await world.report("web")).toMatchObject({ outcome: "failed", reason: expect.stringMatching(reason) });
  }
  expect(await readdir(machine.path("run/bento-secrets.d"))).toHaveLength(1);
});

test("an agent that is killed during the confirmation: the guard puts the secrets back with the system", async () => {
  const before = { running: await machine.running(), token: await token() };
  await using hold = await Hold.make(machine, "check");
  await machine.healthCheck("hold", hold.script);
  await world.publish("web", {
    dir: await release("guarded-value", 'time.timeZone = "UTC"; system.stateVersion = "26.11";'),
  });
  const attempt = machine.startAgent({
    BENTO_ACTIVATION_TIMEOUT: "5",
    BENTO_CONFIRM_TIMEOUT: "8",
    BENTO_GUARD_SLACK: "0",
  });
  await hold.reached();
  expect(await token()).toBe("guarded-value");
  kill([attempt.pid]);
  await vi.waitFor(async () => expect(await machine.running()).toBe(before.running), { timeout: 60_000, interval: 50 });
  expect(await token()).toBe(before.token);
  await hold.letGo();
  expect((await machine.agent()).stderr).toMatch(/\ninconclusive: /);
  expect(await token()).toBe(before.token);
  expect(await readdir(machine.path("run/bento-secrets.d"))).toHaveLength(1);
});

test("who follows a log sees no secret in it, and none stays in it", async () => {
  await using hold = await Hold.make(machine, "activation");
  const leak = `cat $MACHINE/run/bento-secrets/token >&2; echo again $(cat $MACHINE/run/bento-secrets/token) >&2`;
  await world.publish("web", {
    dir: await release("leaked-value-of-it", `system.activationScript = ''${leak}; ${hold.script}; ${leak}; exit 1'';`),
  });
  const attempt = machine.startAgent();
  await vi.waitFor(async () => expect((await machine.agent({}, ["log"])).stdout).toContain("building"), {
    timeout: 20_000,
  });
  const follower = machine.startAgent({}, ["log", "-f"]);
  await hold.reached();
  expect((await machine.agent({}, ["log"])).stdout).toMatch(/\n\[secret\]again \[secret\]\n/);
  await hold.letGo();
  expect((await attempt.done).stderr).toMatch(/\nrolled-back: the activation failed with status 1/);
  const { stdout } = await follower.done;
  expect(stdout.match(/^\[secret\]again \[secret\]$/gm)).toHaveLength(2);
  expect(stdout).toMatch(/ rolled-back: [^\n]*\n$/);
  await expect(succeed("grep", ["-r", "leaked-value", machine.path("state")])).rejects.toThrow("status 1");
});

long("going back by hand brings back the secrets that the system before had, for the next start as well", async () => {
  await world.publish("web", { dir: await release("before-value", 'environment.etc."zone" = "CET";') });
  expect((await machine.agent()).status).toBe(0);
  const before = await machine.running();
  // Other values of the same system, which are its own now.
  await world.publish("web", { dir: await release("newer-value", 'environment.etc."zone" = "CET";') });
  expect((await machine.agent()).stderr).toMatch(/\nsuccess\n$/);
  expect(await machine.running()).toBe(before);
  await world.publish("web", { dir: await release("undone-value", 'environment.etc."zone" = "EET";') });
  expect((await machine.agent()).status).toBe(0);
  expect(await token()).toBe("undone-value");
  const { status, stderr } = await machine.agent({}, ["rollback", "-y", "--reason", "a try"]);
  expect(stderr).toMatch(/\nrolled-back: by hand, by /);
  expect(status).toBe(0);
  expect(await machine.running()).toBe(before);
  expect(await token()).toBe("newer-value");
  await machine.restart();
  expect((await machine.agent({}, ["secrets"])).status).toBe(0);
  expect(await token()).toBe("newer-value");

  // What isn't kept any more can't be gone back to.
  await rm(path.join(machine.path("state/secrets"), path.basename(before)), { recursive: true });
  await world.publish("web", { dir: await release("fresh-value", 'environment.etc."zone" = "MSK";') });
  expect((await machine.agent()).status).toBe(0);
  const refused = await machine.agent({}, ["rollback", "-y"]);
  expect(refused.stderr).toMatch(
    /failed: going back .*the secret token of \S+ is not on this machine any more: \S+ is missing\n$/,
  );
  expect(await token()).toBe("fresh-value");
});

test("at a start one secret that can't be decrypted takes no other with it", async () => {
  await world.publish("web", { dir: await release("first-of-two", "", "web", ["other"]) });
  expect((await machine.agent()).status).toBe(0);
  const kept = path.join(machine.path("state/secrets"), path.basename(await machine.running()));
  await writeFile(path.join(kept, "other.age"), "not of age");
  await machine.restart();
  const { status, stderr } = await machine.agent({}, ["secrets"]);
  expect(stderr).toMatch(/^the secret other can't be decrypted with this host's key: .*\n$/);
  expect(status).toBe(1);
  expect(await token()).toBe("first-of-two");
  expect(await readdir(machine.path("run/bento-secrets/"))).toEqual(["token"]);
});

describe("memory that is full", () => {
  let memory: string;
  let small: Record<string, string>;
  let full: Machine;
  const nas = (value: string, definitions = "") => release(value, definitions, "nas");
  const link = () => readFile(path.join(memory, "secrets/token"), "utf8");

  beforeAll(async () => {
    full = await world.machine("nas");
    memory = full.path("memory");
    await mkdir(memory);
    await succeed("mount", ["-t", "tmpfs", "-o", "size=1m", "bento-test", memory]);
    small = {
      BENTO_RUN: path.join(memory, "bento"),
      BENTO_SECRETS: path.join(memory, "secrets"),
      BENTO_RECOVERY_TIMEOUT: "2",
    };
    await world.publish("nas", { dir: await nas("small-value") });
    expect((await full.agent(small)).stderr).toMatch(/\nsuccess\n$/);
  });
  afterAll(() => succeed("umount", [memory]));

  test("keeps a release whose secrets don't fit from being activated", async () => {
    const running = await full.running();
    await world.publish("nas", { dir: await nas("large".repeat(500_000), 'environment.etc."zone" = "CET";') });
    const { stderr } = await full.agent(small);
    expect(stderr).toMatch(/\nfailed: no space is left where secrets are decrypted, \S+memory\/secrets\.d\n$/);
    expect(stderr).not.toContain("activating");
    expect(await full.running()).toBe(running);
    expect(await link()).toBe("small-value");
  });

  test("doesn't keep the secrets from going back", async () => {
    const running = await full.running();
    const filling = `dd if=/dev/zero of=${memory}/filler bs=4096 || true; exit 1`;
    await world.publish("nas", { dir: await nas("other-value", `system.activationScript = ''${filling}'';`) });
    const { stderr } = await full.agent(small);
    expect(stderr).toMatch(/the activation failed with status 1: /);
    expect(await full.running()).toBe(running);
    expect(await link()).toBe("small-value");
    await rm(path.join(memory, "filler"));
    expect((await full.agent(small)).status).toBe(0);
  });
});
