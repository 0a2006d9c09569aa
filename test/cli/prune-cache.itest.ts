import { writeFileSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, symlink, utimes, writeFile } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { Nix } from "../../src/nix/nix.ts";
import { mendCache, pruneCache } from "../../src/nix/prune-cache.ts";
import type { CheckDocument } from "../../src/results.ts";
import { long } from "../support/long.ts";
import { exec, succeed } from "../support/programs.ts";
import { bentoJson } from "./bento.ts";
import { type BuildFleet, buildFleet } from "./build-fleet.ts";

// A cache in a directory, which `bento build --push … --prune` keeps as small as what its gc roots need.

const NIX = ["--extra-experimental-features", "nix-command"];
let fleet: BuildFleet;
let cache: string;
const systems: string[] = [];

beforeAll(async () => {
  fleet = await buildFleet({ alpha: "p.shared (p.big 0)" });
});
afterAll(async () => fleet?.[Symbol.asyncDispose]());
beforeEach(async () => {
  cache = path.join(fleet.store.dir, "cache-directory");
  await rm(cache, { recursive: true, force: true });
  await rm(path.join(fleet.state, "bento"), { recursive: true, force: true });
  systems.length = 0;
  for (const n of [1, 2, 3, 4, 5]) {
    await fleet.set("alpha", `p.shared (p.big ${n})`);
    const { document } = await build();
    systems.push(document.hosts[0]?.toplevel ?? "");
  }
  await age();
});

async function build(...args: string[]) {
  const options = { cwd: fleet.dir, env: { ...fleet.env, XDG_STATE_HOME: fleet.state } };
  return bentoJson<CheckDocument>(["build", "--push", `file://${cache}`, ...args], options);
}

/** Two days pass. */
async function age(): Promise<void> {
  const then = new Date(Date.now() - 2 * 24 * 3600 * 1000);
  for (const name of await readdir(cache, { recursive: true })) await utimes(path.join(cache, name), then, then);
}

/** The systems that somebody could still get out of the cache, whole. */
async function offered(): Promise<string[]> {
  const whole: string[] = [];
  for (const system of systems) {
    const { status } = await exec("nix", [
      ...NIX,
      "store",
      "verify",
      "--no-trust",
      "-r",
      "--store",
      `file://${cache}`,
      system,
    ]);
    if (status === 0) whole.push(system);
  }
  return whole;
}

/** Who fills it. */
const source = async () => ({ line: (await readFile(path.join(cache, "bento-sources"), "utf8")).trim(), former: "" });

/** Every path that is promised is there. */
async function isSound(): Promise<void> {
  const nars = new Set(await readdir(path.join(cache, "nar")));
  const used = new Set<string>();
  for (const name of (await readdir(cache)).filter((name) => /^[^.].*\.narinfo$/.test(name))) {
    const [, nar = ""] = /^URL: nar\/(.*)$/m.exec(await readFile(path.join(cache, name), "utf8")) ?? [];
    expect(nars).toContain(nar);
    used.add(nar);
  }
  expect([...nars].filter((name) => !name.startsWith(".pruned-")).sort()).toEqual([...used].sort());
}

test("what no root needs goes, also what only those needed; what has just come stays; the rest can be had whole", async () => {
  expect(await offered()).toEqual(systems);
  // Too young: as if somebody were about to fetch it, or to push something that needs it.
  const [young] = (await readdir(cache)).filter((name) =>
    name.startsWith(path.basename(systems[0] ?? "").slice(0, 32)),
  );
  const now = new Date();
  await utimes(path.join(cache, young ?? ""), now, now);
  const { document, status } = await build("--prune");
  expect([status, document.push?.paths]).toEqual([0, 0]);
  expect(document.pruned?.map(({ toplevel }) => toplevel).sort()).toEqual(systems.slice(0, 2).sort());
  expect(document.prunedCache?.paths).toBeGreaterThanOrEqual(1);
  // Its file may be about to be needed again.
  expect(document.prunedCache?.bytes).toBe(0);
  expect(await offered()).toEqual(systems.slice(2));
  expect((await readdir(cache)).filter((name) => name === young)).toHaveLength(1);

  await age();
  const later = await build("--prune");
  expect(later.document.prunedCache?.bytes).toBeGreaterThan(2_000_000);
  expect(await offered()).toEqual(systems.slice(2));
  expect((await readdir(cache)).filter((name) => name === young)).toHaveLength(0);
  await isSound();
  await age();
  await build("--prune");
  expect((await readdir(path.join(cache, "nar"))).filter((name) => name.startsWith("."))).toEqual([]);
});

test("one that was ended half way is brought to its end, and what is needed again comes back", async () => {
  const hash = (system = "") => path.basename(system).slice(0, 32);
  // Put aside, and then the power went: one that nobody needs, and one that has a root again.
  for (const system of [systems[0], systems[4]]) {
    await rename(path.join(cache, `${hash(system)}.narinfo`), path.join(cache, `.pruned-${hash(system)}.narinfo`));
  }
  await build("--prune");
  expect(await offered()).toEqual(systems.slice(2));
  await isSound();
  expect((await readdir(cache)).filter((name) => name.startsWith("."))).toEqual([]);
});

test("a push of the same that begins 20 ms after it was asked what is kept gets all of it there", () =>
  pushedAfter(20));
long("a push of the same that begins 60 ms after it was asked what is kept gets all of it there", () =>
  pushedAfter(60),
);

/** A push that begins while a prune goes on, `wait` milliseconds after that has asked for the second time what is kept. */
async function pushedAfter(wait: number): Promise<void> {
  // Many, so that it takes its time.
  for (let n = 0; n < 20_000; n++)
    writeFileSync(path.join(cache, "nar", `${String(n).padStart(52, "0")}.nar.zst`), "old");
  await age();
  const nix = await Nix.find(undefined, new AbortController().signal);
  let pushed = Promise.resolve();
  let asked = 0;
  const kept = async () => {
    asked += 1;
    if (asked === 2) {
      pushed = sleep(wait).then(async () => {
        await succeed("nix", [...NIX, "copy", "--to", `file://${cache}?compression=zstd`, systems[0] ?? ""]);
        await mendCache(cache);
      });
    }
    return [];
  };
  const { paths } = await pruneCache(nix, cache, { kept, source: await source(), now: Date.now() });
  await pushed;
  expect(paths).toBeGreaterThan(5);
  expect(await offered()).toEqual([systems[0]]);
  await isSound();
}

test("where another machine pushes as well, nothing goes, and it is said what to do; other fleets' roots here count", async () => {
  const before = (await readdir(cache)).sort();
  await writeFile(path.join(cache, "bento-sources"), "another-machine /var/lib/state\n", { flag: "a" });
  const { document, status } = await build("--prune");
  expect(status).toBe(0);
  expect(document.warnings).toContainEqual(
    expect.stringMatching(
      /^--prune: nothing was removed from \S+: others push there, too, .*: another-machine .*bento-sources\)$/,
    ),
  );
  expect((await readdir(cache)).sort()).toEqual(before);

  const sources = await readFile(path.join(cache, "bento-sources"), "utf8");
  await writeFile(path.join(cache, "bento-sources"), sources.replace(/^another.*\n/m, ""));
  const other = path.join(fleet.state, "bento/roots/other-1/host");
  await mkdir(other, { recursive: true });
  await symlink(systems[0] ?? "", path.join(other, "system"));
  // And what was built with its roots elsewhere.
  const elsewhere = path.join(fleet.store.dir, "elsewhere");
  await fleet.set("alpha", "p.shared (p.big 2)");
  await build("--roots", elsewhere);
  await fleet.set("alpha", "p.shared (p.big 5)");
  await age();
  await build("--prune");
  expect(await offered()).toEqual(systems);
});

test("a root that Nix doesn't know keeps everything", async () => {
  const other = path.join(fleet.state, "bento/roots/other-1/host");
  await mkdir(other, { recursive: true });
  await symlink(`${path.dirname(systems[0] ?? "")}/${"0".repeat(32)}-gone`, path.join(other, "system"));
  const { document } = await build("--prune");
  expect(document.warnings).toContainEqual(
    expect.stringMatching(
      /what is kept can't be told: path \S+-gone' is not valid \(it has a gc root, and isn't in the store/,
    ),
  );
  expect(await offered()).toEqual(systems);
});

test("other files in that directory are nobody's business, and symlinks aren't followed", async () => {
  const secret = path.join(fleet.store.dir, "secret");
  await writeFile(secret, "secret");
  await symlink(secret, path.join(cache, `${"0".repeat(32)}.narinfo`));
  await writeFile(path.join(cache, "index.html"), "hello");
  await age();
  await succeed("touch", ["-h", "-d", "3 days ago", path.join(cache, `${"0".repeat(32)}.narinfo`)]);
  await build("--prune");
  expect(await readFile(secret, "utf8")).toBe("secret");
  expect(await readFile(path.join(cache, "index.html"), "utf8")).toBe("hello");
});
