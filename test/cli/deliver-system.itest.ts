import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { gunzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { payloadOf } from "../../src/release/envelope.ts";
import type { CheckDocument, DeployDocument } from "../../src/results.ts";
import { narEntries } from "../../src/tree/nar-entries.ts";
import type { FleetRepository } from "../support/fleet.ts";
import type { Machine } from "../support/machine.ts";
import { succeed } from "../support/programs.ts";
import { withFleet } from "../support/with-fleet.ts";
import type { World } from "../support/world.ts";
import { bento, bentoJson } from "./bento.ts";

// A host with `deliver: system` gets no file of the repository: only the store path of its system, which it has from the
// fleet's binary cache, a directory here. The tests go on where the one before them stopped.

let world: World;
let fleet: FleetRepository;
let nas: Machine;
let cache: string;
let cacheKey: string;
/** What makes a program on the machine ask the cache. */
let asking: Record<string, string>;

withFleet({}, async (made) => {
  ({ world, fleet } = made);
  nas = await world.machine("nas");
  cache = path.join(world.dir, "cache");
  cacheKey = path.join(world.dir, "cache.key");
  await mkdir(cache);
  await succeed("nix-store", ["--generate-binary-cache-key", "test-1", cacheKey, `${cacheKey}.pub`]);
  const key = (await readFile(`${cacheKey}.pub`, "utf8")).trim();
  const config = (process.env.NIX_CONFIG ?? "").replace(/^substituters =.*$/m, `substituters = file://${cache}`);
  asking = { NIX_CONFIG: `${config}\ntrusted-public-keys = ${key}\nnarinfo-cache-negative-ttl = 0` };
  await change({ substituters: [{ url: `file://${cache}`, key }] }, { deliver: "system" });
});

const options = () => ({
  cwd: fleet.dir,
  env: { BENTO_SSH_KEY_FILE: world.publisherKey.file, BENTO_SIGNING_KEY_FILE: world.signingKey.file },
});

/** Changes fleet.yaml, and nas' entry in it. */
async function change(settings: object, host: object): Promise<void> {
  const file = path.join(fleet.dir, "fleet.yaml");
  const content = parse(await readFile(file, "utf8"));
  content.hosts.nas = { ...content.hosts.nas, ...host };
  await writeFile(file, stringify({ ...content, ...settings }, { lineWidth: 0 }));
  await bento(["render"], options());
  await fleet.commit("fleet.yaml");
}

async function deployed(): Promise<{ toplevel: string; sequence: number }> {
  const { document } = await bentoJson<DeployDocument>(["deploy", "--hosts", "nas"], options());
  const [host] = document.hosts;
  expect(host).toMatchObject({ status: "published", error: null });
  return { toplevel: host?.toplevel ?? "", sequence: host?.sequence ?? 0 };
}

/** Builds a system, and leaves it nowhere but in the cache. */
async function push(): Promise<void> {
  const { status } = await bento(["build", "--hosts", "nas", "--roots", path.join(world.dir, "roots")], options());
  expect(status).toBe(0);
  const [root = ""] = await readdir(path.join(world.dir, "roots/nas"));
  const system = path.join(world.dir, "roots/nas", root);
  const flags = ["--extra-experimental-features", "nix-command"];
  await succeed("nix", [...flags, "store", "sign", "-r", "-k", cacheKey, system]);
  await succeed("nix", [...flags, "copy", "--to", `file://${cache}`, system]);
  await rm(path.join(world.dir, "roots"), { recursive: true });
  await succeed("nix-store", ["--gc"]);
}

const given = (name = "") => path.join(world.server.chroot("nas"), "releases", name);

test("no file leaves the repository: the release is a manifest with the system's path", async () => {
  const checked = await bentoJson<CheckDocument>(["check", "--hosts", "nas"], options());
  const { toplevel } = await deployed();
  expect(toplevel).toBe(checked.document.hosts[0]?.toplevel);
  expect(await readdir(given())).toEqual(["current"]);
  expect(payloadOf(await readFile(given("current"), "utf8"))).toMatchObject({ archive: null, toplevel, history: [] });
  const again = await bentoJson<DeployDocument>(["deploy", "--hosts", "nas"], options());
  expect(again.document.hosts[0]?.status).toBe("unchanged");
});

test("until the cache has it the machine says so, and tries again; then it takes it from there", async () => {
  const without = await nas.agent(asking);
  expect(without.status).toBe(1);
  expect(without.stderr).toMatch(
    /\nfailed: no cache has \/\S+-nixos-system-nas-\S+ yet \(asked: file:\S+\); it is not built here\n/,
  );
  expect(await nas.running()).toBe(nas.factory);

  await push();
  const waiting = await nas.agent(asking);
  expect(waiting.stderr).toMatch(/failed before, and is tried again in \d+ s\n$/);
  await rm(nas.path("state/retry.json"));
  const { status, stderr } = await nas.agent({ ...asking, BENTO_BUILD: "prebuilt" });
  expect(stderr).toMatch(/\nsuccess\n$/);
  expect(stderr).not.toContain("fetching");
  expect(status).toBe(0);
  expect(await nas.running()).toBe((await manifest()).toplevel);
  expect(await readdir(nas.path("state/release"))).toEqual([]);
});

async function manifest(): Promise<{ toplevel: string | null }> {
  return payloadOf(await readFile(given("current"), "utf8"));
}

test("one that was bad says nothing against those after it, which have as few files", async () => {
  const good = await nas.running();
  await fleet.edit("hosts/nas/configuration.nix", "pkgs.postgresql", "pkgs.git");
  await fleet.edit(
    "hosts/nas/configuration.nix",
    "networking.hostName",
    'networking.gateway = "127.0.0.9";\n  networking.hostName',
  );
  await fleet.commit("nas: another gateway");
  await deployed();
  await push();
  const bad = await nas.agent({ ...asking, BENTO_CONFIRM_TIMEOUT: "6" });
  expect(bad.stderr).toMatch(/\nrolled-back: no contact/);
  expect(await nas.running()).toBe(good);
  expect((await nas.agent(asking)).stderr).toMatch(/cut this machine off before, and is not tried again\n$/);

  await fleet.edit("hosts/nas/configuration.nix", 'networking.gateway = "127.0.0.9";', "");
  await fleet.commit("nas: the gateway of before");
  const { toplevel } = await deployed();
  await push();
  expect((await nas.agent(asking)).stderr).toMatch(/\nsuccess\n$/);
  expect(await nas.running()).toBe(toplevel);
});

test("back to the release before, which has no files either", async () => {
  const { document } = await bentoJson<DeployDocument>(["rollback", "nas"], options());
  expect(document.hosts[0]).toMatchObject({ status: "published" });
  expect((await readdir(given())).filter((name) => name.endsWith(".nar.gz"))).toEqual([]);
  await bento(["deploy", "--hosts", "nas"], options());
});

test("its secrets still come with it, and nothing else does", async () => {
  const token = path.join(world.dir, "token");
  await writeFile(token, "a secret");
  await mkdir(path.join(fleet.dir, "secrets/nas"), { recursive: true });
  const recipient = world.hostKeys.nas?.publicKey ?? "";
  await succeed("age", ["-r", recipient, "-o", path.join(fleet.dir, "secrets/nas/token.age"), token]);
  const declared = JSON.stringify({ token: { owner: "root", group: "root", mode: "0400", restartUnits: [] } });
  const etc = `environment.etc."bento-secrets.json" = ''${declared}'';\n  networking.hostName`;
  await fleet.edit("hosts/nas/configuration.nix", "networking.hostName", etc);
  await fleet.commit("nas: a secret");
  await deployed();
  const [archive = ""] = (await readdir(given())).filter((name) => name.endsWith(".nar.gz"));
  const entries = [...narEntries(gunzipSync(await readFile(given(archive))))];
  expect(entries.map(({ path: name }) => name.toString())).toEqual(["", "secrets", "secrets/token.age"]);

  await push();
  const { stderr } = await nas.agent(asking);
  expect(stderr).toMatch(/\nsuccess\n$/);
  expect(await readFile(nas.path("run/bento-secrets/token"), "utf8")).toBe("a secret");
});

test("a machine that takes no built systems says that it is given nothing else", async () => {
  await fleet.edit("hosts/nas/configuration.nix", "pkgs.git", "pkgs.curl");
  await fleet.commit("nas: curl");
  await deployed();
  const { stderr } = await nas.agent({ ...asking, BENTO_BUILD: "source" });
  expect(stderr).toMatch(/\nfailed: it comes without files to build it from, and this machine takes no built systems/);
});

test("through git, its ref has the envelope alone", async () => {
  const remote = path.join(world.dir, "releases.git");
  await succeed("git", ["init", "-q", "--bare", remote]);
  await change({ git: { remote: `file://${remote}` } }, {});
  await rm(path.join(fleet.dir, "secrets"), { recursive: true });
  await fleet.commit("no secrets");
  expect((await bento(["deploy", "--hosts", "nas"], options())).status).toBe(0);
  const files = await succeed("git", ["--git-dir", remote, "ls-tree", "-r", "--name-only", "refs/heads/bento/nas"]);
  expect(files.trim()).toBe("envelope");
});

test("which system it is takes an evaluation", async () => {
  await fleet.edit("hosts/nas/configuration.nix", "pkgs.curl", "pkgs.git");
  await fleet.commit("nas: git");
  const { status, stdout } = await bento(["deploy", "--no-eval", "--hosts", "nas"], options());
  expect(stdout).toMatch(/nas +failed/);
  expect(stdout).toContain("it is delivered its system alone, and which one that is takes an evaluation");
  expect(status).toBe(1);
});

test("without a cache to get it from, that is said at its line", async () => {
  await change({ substituters: [] }, {});
  const { status, stderr } = await bento(["check"], options());
  expect(stderr).toMatch(
    /fleet\.yaml:\d+:\d+: nas: with 'deliver: system' it gets its system from a binary cache, and the fleet has none/,
  );
  expect(status).toBe(2);
});
