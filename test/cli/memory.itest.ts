import { rm } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { parse, stringify } from "yaml";
import type { CheckDocument, DeployDocument, HostCheck } from "../../src/results.ts";
import { narDigest } from "../../src/tree/nar.ts";
import type { FleetRepository } from "../support/fleet.ts";
import { succeed } from "../support/programs.ts";
import { withFleet } from "../support/with-fleet.ts";
import type { World } from "../support/world.ts";
import { bento, bentoJson } from "./bento.ts";

// What is evaluated again, and what isn't; and a nixpkgs that is pinned.

let world: World;
let fleet: FleetRepository;

withFleet({}, (made) => {
  ({ world, fleet } = made);
});

const options = () => ({
  cwd: fleet.dir,
  env: {
    XDG_CACHE_HOME: path.join(world.dir, "cache"),
    BENTO_SSH_KEY_FILE: world.publisherKey.file,
    BENTO_SIGNING_KEY_FILE: world.signingKey.file,
  },
});

async function checked(args: readonly string[] = []): Promise<Map<string, HostCheck>> {
  const { document, stderr } = await bentoJson<CheckDocument>(["check", ...args], options());
  expect(document.hosts.filter(({ error }) => error !== null)).toEqual([]);
  expect(stderr).not.toContain("error");
  return new Map(document.hosts.map((host) => [host.name, host]));
}

const remembered = (hosts: ReadonlyMap<string, HostCheck>) =>
  [...hosts.values()].filter((host) => host.remembered).map((host) => host.name);

test("a flake's host is evaluated once for the same files, and a host that is not reproducible each time", async () => {
  const first = await checked();
  expect(remembered(first)).toEqual([]);
  const second = await checked();
  expect(remembered(second)).toEqual(["laptop-anna", "laptop-ben", "nas"]);
  for (const [name, host] of first) expect(second.get(name)?.toplevel).toBe(host.toplevel);
  expect(second.get("router")?.reproducible).toBe(false);
});

test("where nothing can be remembered, that is said, and all is evaluated", async () => {
  const { document } = await bentoJson<CheckDocument>(["check", "--hosts", "nas"], {
    ...options(),
    env: { BENTO_EVALUATIONS: "/dev/null" },
  });
  expect(document.warnings).toEqual(["evaluations are not remembered: /dev/null: there is a file"]);
  expect(document.hosts).toMatchObject([{ name: "nas", status: "ok", remembered: false }]);
});

test("a change is seen, committed or not, and only the host that it is in is evaluated", async () => {
  const before = await checked();
  await fleet.edit("hosts/nas/configuration.nix", "pkgs.postgresql", "pkgs.curl");
  const changed = await checked();
  expect(remembered(changed)).toEqual(["laptop-anna", "laptop-ben"]);
  expect(changed.get("nas")?.toplevel).not.toBe(before.get("nas")?.toplevel);
  await fleet.git("checkout", "-q", "hosts/nas");
  expect(remembered(await checked())).toContain("nas");
});

test("with an input overridden nothing is remembered, nor used", async () => {
  const override = ["--override-input", "nixpkgs", `path:${world.store.nixpkgs}`];
  expect(remembered(await checked(override))).toEqual([]);
  expect(remembered(await checked(override))).toEqual([]);
});

test("what is remembered can be compared when its derivations are gone", async () => {
  await fleet.edit("hosts/nas/configuration.nix", "pkgs.postgresql", "pkgs.curl");
  await fleet.commit("nas: curl");
  const now = await checked(["--base", "HEAD~1"]);
  expect(now.get("nas")?.status).toBe("changed");
  const expected = now.get("nas")?.packages;
  await succeed("nix-store", ["--gc"]);
  const { document } = await bentoJson<CheckDocument>(["check", "--base", "HEAD~1"], options());
  expect(document.hosts.find(({ name }) => name === "nas")?.packages).toEqual(expected);
  expect(expected).toEqual([
    { name: "curl", from: null, to: "8.17.0" },
    { name: "postgresql", from: "18.1", to: null },
  ]);
});

test("shards are parts of the fleet, and their documents make one report again", async () => {
  const { document: plan } = await bentoJson<{ shards: { shard: string; hosts: string[] }[] }>(
    ["plan", "--shards", "3"],
    options(),
  );
  expect(plan.shards.map(({ shard }) => shard)).toEqual(["1/3", "2/3", "3/3"]);
  expect(plan.shards.flatMap(({ hosts }) => hosts).sort()).toEqual(["laptop-anna", "laptop-ben", "nas", "router"]);
  const files: string[] = [];
  for (const { shard, hosts } of plan.shards) {
    const exit = await bentoJson<CheckDocument>(["check", "--shard", shard], options());
    expect(exit.document.hosts.map(({ name }) => name)).toEqual(hosts);
    const file = path.join(world.dir, `shard-${files.length}.json`);
    await fleet.write(path.relative(fleet.dir, file), exit.stdout);
    files.push(file);
  }
  const merged = await bentoJson<CheckDocument>(["report", ...files], options());
  expect(merged.document.hosts.map(({ name }) => name)).toEqual(["laptop-anna", "laptop-ben", "nas", "router"]);
  expect((await bento(["report", files[0] ?? "", files[0] ?? ""], options())).stderr).toContain("more than one");
  expect((await bento(["report", "fleet.yaml"], options())).status).toBe(2);
  expect((await bento(["check", "--shard", "4/3"], options())).stderr).toContain("a shard is I/N");
});

test("a host without a flake builds with the nixpkgs it is pinned to, wherever it is built", async () => {
  const tarball = path.join(world.dir, "nixpkgs.tar.gz");
  await succeed("tar", ["-czf", tarball, "-C", world.dir, "nixpkgs"]);
  const pin = { url: `file://${tarball}`, hash: await narDigest(world.store.nixpkgs) };
  const settings = parse(await fleet.read("fleet.yaml"));
  settings.hosts.router.nixpkgs = pin;
  await fleet.write("fleet.yaml", stringify(settings, { lineWidth: 0 }));
  await fleet.render();
  await fleet.commit("router: a nixpkgs of its own");
  const withoutChannel = { ...options(), env: { ...options().env, NIX_PATH: "" } };
  const { document } = await bentoJson<DeployDocument>(["deploy", "--hosts", "router"], withoutChannel);
  expect(document.hosts).toMatchObject([{ name: "router", status: "published" }]);
  const { document: check } = await bentoJson<CheckDocument>(["check", "--hosts", "router"], withoutChannel);
  expect(check.hosts).toMatchObject([{ status: "ok", reproducible: true, toplevel: document.hosts[0]?.toplevel }]);

  const router = await world.machine("router");
  const upgraded = await router.agent({ NIX_PATH: "" });
  expect(upgraded.status, upgraded.stderr).toBe(0);
  expect(await router.running()).toBe(document.hosts[0]?.toplevel);

  settings.hosts.router.nixpkgs.hash = await narDigest(path.join(fleet.dir, "utils"));
  await fleet.write("fleet.yaml", stringify(settings, { lineWidth: 0 }));
  await rm(tarball);
  const wrong = await bento(["check", "--hosts", "router"], withoutChannel);
  expect(wrong.stdout).toContain("the pinned nixpkgs file://");
  expect(wrong.status).toBe(1);
});
