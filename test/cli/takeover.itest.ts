import { existsSync } from "node:fs";
import { cp, mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import type { FleetRepository } from "../support/fleet.ts";
import { Hold } from "../support/hold.ts";
import { makeKey } from "../support/keys.ts";
import { long } from "../support/long.ts";
import type { Machine } from "../support/machine.ts";
import { exec } from "../support/programs.ts";
import { withFleet } from "../support/with-fleet.ts";
import type { World } from "../support/world.ts";
import { deployAnew, prepareBootstrap } from "./bootstrapping.ts";

// bento bootstrap on a machine that the Bento of 2022 looks after.

let world: World;
let fleet: FleetRepository;

withFleet({}, (made) => {
  ({ world, fleet } = made);
});

/** What the 2022 Bento has on a machine; its update.sh says when it ran. */
const OLD_FILES = {
  "configuration.nix": "{ }\n",
  ".state": "-rw-r--r-- 1 0 0 0 last_change_date\n",
  // Names that the agent has as well.
  "release/tree.nix": "{ }\n",
  "applied.json": "not the agent's\n",
  "update.sh": '#!/bin/sh\necho ran >> "$MACHINE/old.log"\n',
};

/** Makes a machine one that the 2022 Bento looks after: its files, and root's key, which the fleet has. */
async function makeOld(machine: Machine): Promise<{ HOME: string; BENTO_KEY: string }> {
  await rm(machine.path("state"), { recursive: true });
  for (const [name, text] of Object.entries(OLD_FILES)) {
    await mkdir(path.dirname(machine.path(`state/${name}`)), { recursive: true });
    await writeFile(machine.path(`state/${name}`), text);
  }
  await mkdir(machine.path("root/.ssh"), { recursive: true });
  await cp(machine.key.file, machine.path("root/.ssh/id_ed25519"));
  return { HOME: machine.path("root"), BENTO_KEY: machine.path("etc/ssh/ssh_host_ed25519_key") };
}

/** Expects all of the old files, and nothing else, in a directory of the machine. */
async function expectOld(machine: Machine, place: string): Promise<void> {
  for (const [name, text] of Object.entries(OLD_FILES)) {
    expect(await readFile(machine.path(`${place}/${name}`), "utf8"), name).toBe(text);
  }
  expect((await readdir(machine.path(place))).length).toBe(Object.keys(OLD_FILES).length);
}

/** As the old timer does; gives what was said, and how often the old Bento has run until now. */
async function oldTimer(machine: Machine, env: Record<string, string>) {
  const { status, stdout, stderr } = await exec("sh", ["update.sh"], { cwd: machine.path("state"), env });
  expect(status, stdout + stderr).toBe(0);
  const log = await readFile(machine.path("old.log"), "utf8").catch(() => "");
  return { stdout, runs: log.split("\n").length - 1 };
}

test("a machine that the 2022 Bento looks after is taken over, and whatever goes wrong, that finds its way back", async () => {
  const { machine, env, run } = await prepareBootstrap(world, fleet, "laptop-ben");
  const old = await makeOld(machine);

  // Without a release nothing is changed but for the key.
  const early = await run(old);
  expect(early.status, early.stderr).toBe(0);
  expect(
    early.stderr,
  ).toBe(`bootstrap: copied the key that the fleet knows, ${old.HOME}/.ssh/id_ed25519, to ${old.BENTO_KEY}
takeover: the Bento of 2022 looks after this machine
takeover: what was in ${machine.path("state")} is in ${machine.path("state.2022")} now
nothing has been published for laptop-ben yet
takeover: undone, the Bento of 2022 goes on; what the agent knows is in ${machine.path("state.agent")}
`);
  await expectOld(machine, "state");
  expect(await readFile(old.BENTO_KEY)).toEqual(await readFile(machine.key.file));
  expect((await stat(old.BENTO_KEY)).mode & 0o777).toBe(0o600);
  expect(existsSync(machine.path("root/.ssh/id_ed25519"))).toBe(true);

  // A machine's own host key is left alone.
  const own = await makeKey(path.join(world.dir, "keys/own"));
  const inPlace = await run({ ...old, BENTO_KEY: own.file });
  expect(inPlace.stderr).toContain(
    `bootstrap: it logs in with ${old.HOME}/.ssh/id_ed25519, so its configuration must have services.bento.key = "${old.HOME}/.ssh/id_ed25519";\ntakeover: `,
  );
  expect([inPlace.status, await readFile(`${own.file}.pub`, "utf8")]).toEqual([
    0,
    expect.stringContaining(own.publicKey),
  ]);

  // Power is lost while the new system proves itself: the old one boots, and its timer puts its files back.
  await deployAnew(world, fleet, "laptop-ben");
  await using hold = await Hold.make(machine, "confirm");
  await machine.healthCheck("confirm", hold.script);
  const cutOff = run(old);
  await hold.reached();
  expect((await oldTimer(machine, env)).stdout).toBe("takeover: it is going on\n");
  await machine.restart();
  await cutOff;
  await hold.forget();
  const back = await oldTimer(machine, env);
  expect(back).toEqual({ stdout: expect.stringMatching(/^takeover: undone/), runs: 1 });
  await expectOld(machine, "state");

  // Again, and through. The agent's own state of before is there.
  const through = await run(old);
  expect(through.status, through.stderr).toBe(0);
  expect(through.stderr).toMatch(
    /\nsuccess\ntakeover: done\. The old things are in .*\/state\.2022, which may be removed; /,
  );
  expect(await machine.bootDefault()).toBe(await machine.running());
  expect(await machine.running()).not.toBe(machine.factory);
  await expectOld(machine, "state.2022");
  expect(await world.outcomes("laptop-ben")).toEqual(["inconclusive", "success"]);
  expect(await oldTimer(machine, env)).toEqual({ stdout: expect.stringMatching(/^takeover: done/), runs: 1 });
  expect((await run(old)).stderr).toMatch(/^up to date with release \d+\ntakeover: done\. /);

  // A restart into the old system, by hand.
  await exec("ln", ["-sfn", machine.factory, machine.path("run/current-system")]);
  expect((await oldTimer(machine, env)).runs).toBe(2);
  await expectOld(machine, "state");
});

/** An mv that, the nth time, kills what has called it instead. */
const KILLING_MV = `#!/bin/bash
n=$(($(cat "$MACHINE/moves" 2> /dev/null || echo 0) + 1))
echo "$n" > "$MACHINE/moves"
if [ "$n" = "$KILL_AT" ]; then kill -KILL "$PPID"; exit 1; fi
exec /bin/mv "$@"
`;

long("a takeover cut off before any of its steps loses nothing, and the next run takes it on", async () => {
  const { machine, run } = await prepareBootstrap(world, fleet, "nas");
  const old = await makeOld(machine);
  await mkdir(machine.path("killing"), { recursive: true });
  await writeFile(machine.path("killing/mv"), KILLING_MV, { mode: 0o755 });
  const PATH = `${machine.path("killing")}:${process.env.PATH}`;
  let moves = 0;
  for (let at = 1; moves >= at - 1; at++) {
    await rm(machine.path("moves"), { force: true });
    const cut = await run({ ...old, PATH, KILL_AT: String(at) });
    moves = Number(await readFile(machine.path("moves"), "utf8"));
    // All of it is in one of the two places.
    const place = existsSync(machine.path("state.2022")) ? "state.2022" : "state";
    await expectOld(machine, place);
    const next = await run(old);
    expect(next.stderr, `${at}: ${cut.stderr}`).toMatch(/^takeover: undone, the Bento of 2022 goes on; /m);
    expect(next.status).toBe(0);
    await expectOld(machine, "state");
  }
  expect(moves).toBeGreaterThan(5);
});
