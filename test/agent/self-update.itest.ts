import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Hold } from "../support/hold.ts";
import { long } from "../support/long.ts";
import type { Machine } from "../support/machine.ts";
import { kill } from "../support/programs.ts";
import type { Content, Release } from "../support/release.ts";
import { World } from "../support/world.ts";

let world: World;
let machine: Machine;
/** A flake's input, which moves. */
let input: string;
const SETTINGS = { BENTO_SELF_UPDATE: "all", BENTO_SELF_UPDATE_INTERVAL: "0" };

beforeAll(async () => {
  world = await World.make({ hosts: ["moves"] });
  machine = await world.machine("moves");
  input = path.join(world.dir, "input");
  await mkdir(input);
});
afterAll(async () => world?.[Symbol.asyncDispose]());

const move = (definitions: string) => writeFile(path.join(input, "module.nix"), `{ pkgs, ... }: { ${definitions} }\n`);

function host(definitions = ""): Content {
  const { nixpkgs, system } = world.store;
  const flake = `{
  inputs = { nixpkgs.url = "path:${nixpkgs}"; other = { url = "path:${input}"; flake = false; }; };
  outputs = { nixpkgs, other, ... }: {
    nixosConfigurations.moves = nixpkgs.lib.nixosSystem {
      system = "${system}";
      modules = [ (other + "/module.nix") { networking.hostName = "moves"; ${definitions} } ];
    };
  };
}
`;
  return { files: { "flake.nix": flake } };
}

let first: Release;
test("while nothing new is published, newer inputs are taken; the release itself is left a while", async () => {
  await move('environment.etc."version" = "1";');
  first = await world.publish("moves", host());
  expect((await machine.agent(SETTINGS)).status).toBe(0);
  await move('environment.etc."version" = "2";');
  expect((await machine.agent(SETTINGS)).stderr).toMatch(/^up to date with release \d+\n$/);
  expect(await machine.running()).toBe(first.manifest.toplevel);

  const { status, stderr } = await machine.agent(SETTINGS);
  expect(stderr).toMatch(
    /^up to date with release \d+\nnewer inputs: building\nactivating \S+\nconfirmation .*\nauto-updated: newer inputs\n$/,
  );
  expect(status).toBe(0);
  const running = await machine.running();
  expect(running).not.toBe(first.manifest.toplevel);
  expect(await machine.bootDefault()).toBe(running);
  expect(await world.report("moves")).toMatchObject({
    outcome: "auto-updated",
    sequence: first.manifest.sequence,
    from: first.manifest.toplevel,
    to: running,
  });
  // Its own lock is what the next look begins with.
  expect((await machine.agent(SETTINGS)).stderr).toMatch(/^up to date with release \d+\n$/);
});

long("inputs that don't build are tried once, and cost nothing", async () => {
  const running = await machine.running();
  await move("no.such.option = 1;");
  const { status, stderr } = await machine.agent(SETTINGS);
  expect(stderr).toMatch(/\nfailed: newer inputs: it does not build: error: .*no.*\n$/);
  expect(status).toBe(1);
  expect((await machine.agent(SETTINGS)).stderr).toMatch(/^up to date with release \d+\n$/);
  expect(await machine.running()).toBe(running);
  expect(await world.outcomes("moves")).toEqual(["success", "auto-updated", "failed"]);
});

test("an update that is cut off when it is confirmed is completed, and told as what it is", async () => {
  await using hold = await Hold.make(machine, "boot");
  await move(`environment.etc."version" = "2b"; system.bootScript = ''${hold.script}'';`);
  const { pid, done } = machine.startAgent(SETTINGS);
  await hold.reached();
  kill([pid]);
  void done;
  await hold.forget();
  const { status, stderr } = await machine.agent(SETTINGS);
  expect(stderr).toMatch(/\nauto-updated: newer inputs: the upgrade was cut off after it was confirmed, and completed/);
  expect(status).toBe(0);
  expect(await world.report("moves")).toMatchObject({ outcome: "auto-updated", to: await machine.running() });
  expect((await machine.agent(SETTINGS)).stderr).toMatch(/^up to date with release \d+\n$/);
});

test("inputs that cut the machine off are undone, and don't make the release a bad one", async () => {
  const running = await machine.running();
  await move('networking.gateway = "127.0.0.9";');
  const { stderr } = await machine.agent({ ...SETTINGS, BENTO_CONFIRM_TIMEOUT: "6" });
  expect(stderr).toMatch(/\nrolled-back: newer inputs: no contact: .*\n$/);
  expect((await machine.agent(SETTINGS)).stderr).toMatch(/^up to date with release \d+\n$/);
  expect(await machine.running()).toBe(running);
  expect(await machine.state("bad.json")).toEqual([expect.objectContaining({ digest: "" })]);
});

test("the next release is what was checked, with its own lock", async () => {
  await move('environment.etc."version" = "3";');
  const next = await world.publish("moves", host('time.timeZone = "Europe/Berlin";'));
  expect((await machine.agent(SETTINGS)).status).toBe(0);
  expect(await machine.running()).toBe(next.manifest.toplevel);
  expect((await machine.agent({ ...SETTINGS, BENTO_SELF_UPDATE: "" })).stderr).toMatch(/^up to date/);
});
