import { existsSync, readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect } from "vitest";
import {
  comesToRest,
  killedAt,
  LONG,
  PATIENCE,
  type Place,
  placesOf,
  powerLostAt,
  type Run,
  runsUntil,
  sweep,
} from "../support/cut-off.ts";
import { long } from "../support/long.ts";
import type { Machine } from "../support/machine.ts";
import { kill } from "../support/programs.ts";
import { World } from "../support/world.ts";

/** An update of a flake's inputs, which the machine makes by itself, is cut off as an attempt is in sweep.itest.ts. */
const HOST = "moves";
const SETTINGS = {
  BENTO_SELF_UPDATE: "all",
  BENTO_SELF_UPDATE_INTERVAL: "0",
  ...PATIENCE,
};
let world: World;
let machine: Machine;
let run: Run;
/** The flake's input, which moves; and how often it has. */
let input: string;
let moves = 0;

async function move(): Promise<void> {
  moves += 1;
  await writeFile(path.join(input, "module.nix"), `{ pkgs, ... }: { environment.etc."number" = "${moves}"; }\n`);
}

beforeAll(async () => {
  world = await World.make({ hosts: [HOST] });
  machine = await world.machine(HOST);
  run = { machine, env: SETTINGS };
  input = path.join(world.dir, "input");
  await mkdir(input);
  await move();
  const { nixpkgs, system } = world.store;
  const flake = `{
  inputs = { nixpkgs.url = "path:${nixpkgs}"; other = { url = "path:${input}"; flake = false; }; };
  outputs = { nixpkgs, other, ... }: {
    nixosConfigurations.${HOST} = nixpkgs.lib.nixosSystem {
      system = "${system}";
      modules = [ (other + "/module.nix") { networking.hostName = "${HOST}"; } ];
    };
  };
}
`;
  await world.publish(HOST, { files: { "flake.nix": flake } });
  // The release, and the look at it that only notes when it was taken.
  for (let n = 0; n < 2; n++) expect((await machine.agent(SETTINGS)).status).toBe(0);
});
afterAll(async () => {
  kill(machine?.processes() ?? []);
  await world?.[Symbol.asyncDispose]();
});

/** It runs and boots the newest inputs, and the fleet was told of each once, and of nothing else but what was cut off. */
async function converges(before: ReadonlyMap<string, unknown>): Promise<void> {
  const said = await runsUntil(/^up to date with release \d+\n$/, 4, () => machine.agent(SETTINGS));
  const text = said.join("");
  expect(said.at(-1)).toMatch(/^0: up to date/);
  const system = await machine.running();
  expect(readFileSync(`${system}/etc/number`, "utf8"), text).toBe(String(moves));
  expect([await machine.profile(), await machine.bootDefault()], text).toEqual([system, system]);
  expect(await machine.state("applied.json"), text).toMatchObject({ toplevel: system });
  expect(await machine.state("intent.json"), text).toBeUndefined();
  expect(existsSync(machine.path("state/self-update.new")), text).toBe(false);
  expect(await machine.state("bad.json"), text).toBeUndefined();
  // Old ones are removed in time.
  const told = [...(await world.reports(HOST))].filter(([name]) => !before.has(name));
  const outcomes = told.map(([, { outcome }]) => outcome).filter((outcome) => outcome !== "inconclusive");
  expect(outcomes, text).toEqual(["auto-updated"]);
  await comesToRest(machine);
}

long(
  "whose agent is killed anywhere: the next runs come to the newest inputs, and tell of them once",
  async () => {
    await move();
    const places = await placesOf(run);
    await sweep("newer inputs: killed", places.length, [1, 15], async (n) => {
      const before = await world.reports(HOST);
      await move();
      const isCut = await killedAt(places[n - 1] as Place, run);
      await converges(before);
      return isCut;
    });
  },
  LONG,
);

long(
  "during which the power is lost anywhere: it boots, and the next runs come to the newest inputs, and tell of them once",
  async () => {
    await move();
    const { changes } = await powerLostAt(Number.POSITIVE_INFINITY, run);
    await sweep("newer inputs: power lost", changes, [1, 15], async (n) => {
      const before = await world.reports(HOST);
      await move();
      const { isOver } = await powerLostAt(n, run);
      await machine.restart();
      expect(existsSync(`${await machine.running()}/bin/switch-to-configuration`)).toBe(true);
      await converges(before);
      return !isOver;
    });
  },
  LONG,
);
