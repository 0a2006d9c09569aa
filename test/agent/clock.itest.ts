import { readdir } from "node:fs/promises";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Clock } from "../support/clock.ts";
import { long } from "../support/long.ts";
import type { Machine } from "../support/machine.ts";
import { succeed } from "../support/programs.ts";
import { channelHost } from "../support/release.ts";
import { World } from "../support/world.ts";

/** Machines whose clock is wrong by ten years, as those without a battery are, until it is put right in the middle. */
const TEN_YEARS = 10 * 365 * 86_400;
let world: World;
beforeAll(async () => {
  world = await World.make({ hosts: ["ahead", "behind"] });
});
afterAll(async () => world?.[Symbol.asyncDispose]());

let number = 0;
const another = (host: string, definitions = "") => {
  number += 1;
  return channelHost(host, `environment.etc."number" = "${number}"; ${definitions}`);
};

test("a clock that is ten years ahead, and is put right in the middle, changes nothing", () =>
  wrong("ahead", TEN_YEARS));
long("a clock that is ten years behind, and is put right in the middle, changes nothing", () =>
  wrong("behind", -TEN_YEARS),
);

async function wrong(host: string, seconds: number): Promise<void> {
  const machine: Machine = await world.machine(host);
  const clock = await Clock.make(machine.dir);
  const upgrade = (env: Record<string, string> = {}) => machine.agent({ ...clock.env, ...env });
  await clock.set(seconds);
  const year = new Date(Date.now() + seconds * 1000).getUTCFullYear();
  expect(await succeed("date", ["+%Y"], { env: clock.env })).toBe(String(year));

  // Wrong all the time.
  const first = await world.publish(host, another(host));
  const before = await upgrade();
  expect(before.stderr).toMatch(/\nsuccess\n$/);
  expect(await world.report(host)).toMatchObject({ outcome: "success", sequence: first.manifest.sequence });
  expect((await world.report(host)).started).toMatch(new RegExp(`^${year}-`));

  // Right from the confirmation on, which is neither over at once nor without end.
  await machine.healthCheck("clock", clock.correct);
  const second = await world.publish(host, another(host));
  const settings = { BENTO_CONFIRM_PASSES: "3", BENTO_CONFIRM_SETTLE: "2" };
  const middle = await upgrade(settings);
  expect(middle.stderr).toMatch(/confirmation 1 of 3\nconfirmation 2 of 3\nconfirmation 3 of 3\nsuccess\n$/);
  expect(await succeed("date", ["+%Y"], { env: clock.env })).toBe(String(new Date().getUTCFullYear()));
  expect(await machine.running()).toBe(second.manifest.toplevel);
  expect(await world.report(host)).toMatchObject({ outcome: "success", sequence: second.manifest.sequence });

  // What waits since before goes by no clock: it isn't over because of it, and doesn't wait ten years.
  await clock.set(seconds);
  await machine.healthCheck("clock", "true");
  const failing = await world.publish(host, another(host, 'system.activationScript = "exit 1";'));
  await world.publish(
    host,
    { files: { "configuration.nix": "{ networking.hostName = nothing; }" } },
    { evaluate: false },
  );
  const broken = await upgrade();
  expect(broken.stderr).toMatch(/\nfailed: it does not build: /);
  expect((await upgrade()).stderr).toMatch(/^release \d+ failed before, and is tried again in \d{1,3} s\n$/);
  await clock.set(0);
  expect((await upgrade()).stderr).toMatch(/^release \d+ failed before, and is tried again in \d{1,3} s\n$/);

  // The newest is the newest, whatever the clocks of releases and reports say.
  expect(failing.manifest.sequence).toBeGreaterThan(second.manifest.sequence);
  const last = await world.publish(host, another(host));
  expect((await upgrade()).stderr).toMatch(/\nsuccess\n$/);
  expect(await machine.running()).toBe(last.manifest.toplevel);
  expect(await world.report(host)).toMatchObject({ outcome: "success", sequence: last.manifest.sequence });
  const { stdout } = await machine.agent(clock.env, ["history", "--json"]);
  const { attempts } = JSON.parse(stdout) as { attempts: { outcome: string }[] };
  expect(attempts.map(({ outcome }) => outcome)).toEqual(["success", "failed", "success", "success"]);
  // Each told once, under names that follow the wrong clock.
  const names = await readdir(path.join(world.server.chroot(host), "reports"));
  expect(names.filter((name) => /^\d+-\d+\.json$/.test(name))).toHaveLength(4);
}
