import { mkdir } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, describe, expect } from "vitest";
import { CLI } from "../cli/bento.ts";
import { scratch, writeTree } from "../platform/scratch.ts";
import type { FleetRepository } from "../support/fleet.ts";
import { long } from "../support/long.ts";
import { exec, succeed } from "../support/programs.ts";
import { World } from "../support/world.ts";

// The command line under every Node that package.json allows, brought by npm: a check that compares, a deploy, and its report.

let world: World;
let fleet: FleetRepository;
let dir: Awaited<ReturnType<typeof scratch>>;

beforeAll(async () => {
  if (process.env.BENTO_TEST_ALL !== "1") return;
  dir = await scratch();
  world = await World.make();
  fleet = await world.makeFleet();
});

afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
  await dir?.[Symbol.asyncDispose]();
});

describe.each(["22", "23", "24", "25", "26"])("Node %s", (version) => {
  long(
    "checks, deploys and shows how hosts are",
    async () => {
      const place = path.join(dir.path, version);
      await mkdir(place);
      await writeTree(place, { "package.json": '{ "private": true, "allowScripts": { "node": true } }' });
      await succeed("npm", ["install", "--no-audit", "--no-fund", "--loglevel=error", `node@${version}`], {
        cwd: place,
      });
      const node = path.join(place, "node_modules/.bin/node");
      expect(await succeed(node, ["--version"])).toMatch(new RegExp(`^v${version}\\.`));
      const bento = (...args: string[]) =>
        exec(node, [CLI, ...args], {
          cwd: fleet.dir,
          env: { BENTO_SSH_KEY_FILE: world.publisherKey.file, BENTO_SIGNING_KEY_FILE: world.signingKey.file },
        });
      await fleet.edit("hosts/nas/configuration.nix", "networking.hostName", `/* ${version} */ networking.hostName`);
      await fleet.commit(`For ${version}`);
      // Nothing is said of the Node: neither of what is missing in it nor of what is new.
      const quiet = expect.not.stringMatching(/Warning|Error|deprecated/);
      expect(await bento("check", "--base", "HEAD~", "--hosts", "nas")).toMatchObject({ status: 0, stderr: quiet });
      expect(await bento("deploy", "--hosts", "nas")).toMatchObject({
        status: 0,
        stdout: expect.stringMatching(/nas +published/),
        stderr: quiet,
      });
      expect((await bento("status", "--json")).stdout).toContain('"nas"');
    },
    300_000,
  );
});
