import { rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { loadFleet } from "../../src/fleet/load.ts";
import { renderedFiles, staleFiles } from "../../src/fleet/rendered.ts";
import { scratch, writeTree } from "../platform/scratch.ts";
import { ED25519_1, ED25519_2, ED25519_3, RSA } from "./keys.ts";

const CACHE = { url: "https://cache.example.org", key: `cache-1:${"A".repeat(43)}=` };
const FLEET = `server:
  address: fleet.example.org
  port: 2222
  publishers: [ "${RSA}" ]
  hostKeys: [ "${ED25519_1}" ]
  loginPrefix: b-
git: { remote: "git@example.org:fleet" }
signers: [ "${ED25519_2} ci" ]
substituters: [ { url: "${CACHE.url}", key: "${CACHE.key}" } ]
hosts:
  web: { key: "${ED25519_3} root@web", groups: [ canary ] }
  nas:
`;

async function fleetIn(dir: string) {
  await writeTree(dir, {
    "fleet.yaml": FLEET,
    "hosts/web/configuration.nix": "{ }",
    "hosts/nas/configuration.nix": "{ }",
  });
  return loadFleet(dir);
}

test("the server is told the logins and their keys; a host without a key has none", async () => {
  await using dir = await scratch();
  const files = renderedFiles(await fleetIn(dir.path));
  expect([...files.keys()]).toEqual(["fleet.json", "utils/bento.json"]);
  expect(JSON.parse(files.get("fleet.json") ?? "")).toEqual({
    version: 1,
    server: { root: "/home/chroot", user: "bento", publishers: [RSA], loginPrefix: "b-" },
    hosts: { web: { login: "b-web", key: `${ED25519_3} root@web` } },
    trees: expect.anything(),
  });
});

test("a fleet with git tells how each host's tree is staged; other fleets' files have none of it", async () => {
  await using dir = await scratch();
  const fleet = await fleetIn(dir.path);
  const [nas, web] = fleet.hosts;
  if (!nas || !web) throw new Error("the fleet has two hosts");
  const hosts = [
    { ...nas, deliver: "system" as const },
    { ...web, kind: "flake" as const, include: ["flake.nix"] },
    { ...web, name: "found", declared: false },
  ];
  const { trees } = JSON.parse(renderedFiles({ ...fleet, hosts }).get("fleet.json") ?? "");
  expect(trees).toEqual({
    web: { path: "hosts/web", include: ["flake.nix"], kind: "flake", attr: "web", nixpkgs: null },
  });
  expect(renderedFiles({ ...fleet, git: null }).get("fleet.json")).not.toContain("trees");
});

test("the server is told of unpacked trees only where there are to be any: the files of other fleets stay the same", async () => {
  await using dir = await scratch();
  const fleet = await fleetIn(dir.path);
  const server = fleet.server && { ...fleet.server, tree: true };
  expect(JSON.parse(renderedFiles({ ...fleet, server }).get("fleet.json") ?? "").server).toHaveProperty("tree", true);
});

test("hosts are told how to reach and whom to believe, and nothing of each other", async () => {
  await using dir = await scratch();
  const text = renderedFiles(await fleetIn(dir.path)).get("utils/bento.json") ?? "";
  expect(JSON.parse(text)).toEqual({
    version: 1,
    server: { address: "fleet.example.org", port: 2222, loginPrefix: "b-", hostKeys: [ED25519_1] },
    git: { remote: "git@example.org:fleet", refs: "refs/heads/bento/{host}", hostKeys: [] },
    signers: [`${ED25519_2} ci`],
    substituters: [CACHE],
  });
  expect(text).not.toMatch(/web|nas|canary/);
});

test("a cache over ssh: the server is told what to connect hosts to, and hosts which of the caches that is", async () => {
  await using dir = await scratch();
  const near = { url: "http://127.0.0.1:5000/fleet", key: CACHE.key };
  const text = FLEET.replace(
    "substituters: [",
    `cache: { over: ssh }\nsubstituters: [ { url: "${near.url}", key: "${near.key}" },`,
  );
  await writeTree(dir.path, {
    "fleet.yaml": text,
    "hosts/web/configuration.nix": "{ }",
    "hosts/nas/configuration.nix": "{ }",
  });
  const files = renderedFiles(await loadFleet(dir.path));
  expect(JSON.parse(files.get("fleet.json") ?? "").server.cache).toBe("127.0.0.1:5000");
  expect(JSON.parse(files.get("utils/bento.json") ?? "").substituters).toEqual([
    { ...near, over: "127.0.0.1:5000" },
    CACHE,
  ]);
});

test("stale: missing, another text, and another fleet.yaml since", async () => {
  await using dir = await scratch();
  const fleet = await fleetIn(dir.path);
  expect(await staleFiles(fleet)).toEqual(["fleet.json", "utils/bento.json"]);
  await writeTree(dir.path, Object.fromEntries(renderedFiles(fleet)));
  expect(await staleFiles(fleet)).toEqual([]);

  await writeFile(path.join(dir.path, "fleet.yaml"), FLEET.replace("canary", "edge"));
  expect(await staleFiles(await loadFleet(dir.path))).toEqual([]);
  await writeFile(path.join(dir.path, "fleet.yaml"), FLEET.replace("2222", "22"));
  expect(await staleFiles(await loadFleet(dir.path))).toEqual(["utils/bento.json"]);
  await writeFile(path.join(dir.path, "fleet.yaml"), FLEET.replace("  nas:", `  nas: { key: "${RSA}" }`));
  expect(await staleFiles(await loadFleet(dir.path))).toEqual(["fleet.json"]);

  await writeFile(path.join(dir.path, "fleet.json"), "{}");
  await rm(path.join(dir.path, "utils/bento.json"));
  expect(await staleFiles(fleet)).toEqual(["fleet.json", "utils/bento.json"]);
});

test("a fleet without a fleet.yaml has nothing that could be stale", async () => {
  await using dir = await scratch();
  await writeTree(dir.path, { "hosts/web/configuration.nix": "{ }" });
  expect(await staleFiles(await loadFleet(dir.path))).toEqual([]);
});
