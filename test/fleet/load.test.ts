import { mkdir, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import { FleetError, formatLocation } from "../../src/errors.ts";
import { addFlakeHosts, findFleet, loadFleet } from "../../src/fleet/load.ts";
import { type Entry, scratch, writeTree } from "../platform/scratch.ts";
import { brief } from "./host.ts";
import { ED25519_1, ED25519_2 } from "./keys.ts";

/** Loads a fleet of these files. */
async function load(files: Readonly<Record<string, Entry>>) {
  await using dir = await scratch();
  await writeTree(dir.path, files);
  return await loadFleet(dir.path);
}

/** The same with flakes that have these configurations, by their directory; null for a flake that can't be evaluated. */
async function loadWithFlakes(
  files: Readonly<Record<string, Entry>>,
  flakes: Readonly<Record<string, string[] | null>>,
) {
  const asked: string[] = [];
  const fleet = await addFlakeHosts(await load(files), async (flake) => {
    asked.push(flake.path);
    return flakes[flake.path] ?? null;
  });
  expect(asked.sort()).toEqual([...new Set(asked)].sort());
  return fleet;
}

async function complaint(files: Readonly<Record<string, Entry>>) {
  const error = await load(files).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(FleetError);
  const { at, message, hint } = error as FleetError;
  return { text: at === undefined ? message : `${formatLocation(at)}: ${message}`, hint };
}

// ---- What there is

test("a file in the place of a fleet", async () => {
  await using dir = await scratch();
  const file = path.join(dir.path, "fleet.yaml");
  await writeFile(file, "");
  await expect(loadFleet(file)).rejects.toThrow(`${file} is a file, and a fleet is a directory`);
});

test("without a fleet.yaml: what is below hosts/, of both kinds, by name", async () => {
  const fleet = await load({
    "hosts/web/configuration.nix": "{ }",
    "hosts/nas/flake.nix": "{ }",
    "hosts/nas/configuration.nix": "{ }",
    "hosts/notes/README.md": "no host",
    "hosts/file.nix": "{ }",
    "utils/configuration.nix": "{ }",
  });
  expect(brief(fleet)).toEqual(["nas: flake hosts/nas#nas, undeclared", "web: channel hosts/web, undeclared"]);
  expect([fleet.file, fleet.server, fleet.signers]).toEqual([null, null, []]);
});

test("no hosts at all is for the commands to say", async () => {
  expect((await load({ "fleet.yaml": "" })).hosts).toEqual([]);
});

test("defaults are filled in, and what an entry says is kept", async () => {
  const fleet = await load({
    "fleet.yaml": `substituters: [ { url: "https://cache.example.org", key: "c-1:${"A".repeat(43)}=" } ]
hosts:
  a:
  b: { path: machines/b, config: nixos/entry.nix, groups: [ canary ], ssh: root@b, deliver: system, key: "${ED25519_1}" }
  c: { path: machines, attr: "c.example.org" }
`,
    "hosts/a/configuration.nix": "{ }",
    "machines/b/nixos/entry.nix": "{ }",
    "machines/flake.nix": "{ }",
  });
  expect(brief(fleet)).toEqual(["a: channel hosts/a", "b: channel machines/b", "c: flake machines#c.example.org"]);
  expect(fleet.hosts[1]).toMatchObject({
    config: "nixos/entry.nix",
    groups: ["canary"],
    ssh: "root@b",
    deliver: "system",
    key: ED25519_1,
  });
});

test("a directory that has an entry under another name is that host", async () => {
  const fleet = await load({
    "fleet.yaml": "hosts:\n  www: { path: hosts/web }\n",
    "hosts/web/configuration.nix": "{ }",
    "hosts/nas/configuration.nix": "{ }",
  });
  expect(brief(fleet)).toEqual(["nas: channel hosts/nas, undeclared", "www: channel hosts/web"]);
});

test("a symlink below hosts/ isn't another host", async () => {
  await using dir = await scratch();
  await writeTree(dir.path, { "hosts/web/configuration.nix": "{ }" });
  await symlink("web", path.join(dir.path, "hosts/alias"));
  expect(brief(await loadFleet(dir.path))).toEqual(["web: channel hosts/web, undeclared"]);
});

// ---- Flakes, whose hosts only Nix knows

test("every configuration of a flake in a directory is a host", async () => {
  const fleet = await loadWithFlakes(
    { "hosts/laptops/flake.nix": "{ }", "hosts/web/configuration.nix": "{ }" },
    { "hosts/laptops": ["anna", "ben"] },
  );
  expect(brief(fleet)).toEqual([
    "anna: flake hosts/laptops#anna, undeclared",
    "ben: flake hosts/laptops#ben, undeclared",
    "web: channel hosts/web, undeclared",
  ]);
  expect(fleet.warnings).toEqual([]);
});

test("a flake at the root; its modules below hosts/ aren't hosts of their own as well", async () => {
  const files = {
    "flake.nix": "{ }",
    "hosts/router/configuration.nix": "{ }",
    "hosts/nas/configuration.nix": "{ }",
    "hosts/old/configuration.nix": "{ }",
  };
  expect(brief(await loadWithFlakes(files, { ".": ["router", "nas"] }))).toEqual([
    "nas: flake .#nas, undeclared",
    "old: channel hosts/old, undeclared",
    "router: flake .#router, undeclared",
  ]);
  const declared = await loadWithFlakes(
    { ...files, "fleet.yaml": "hosts:\n  router: { path: ., include: [ flake.nix, hosts/router, hosts/old ] }\n" },
    { ".": ["router", "nas"] },
  );
  expect(brief(declared)).toEqual(["nas: flake .#nas, undeclared", "router: flake .#router"]);
  expect(declared.warnings).toEqual([]);
});

test("before Nix was asked, no two hosts have one name either", async () => {
  const fleet = await load({
    "fleet.yaml": "hosts:\n  router: { path: . }\n",
    "flake.nix": "{ }",
    "hosts/router/configuration.nix": "{ }",
  });
  expect(brief(fleet)).toEqual(["router: flake .#router"]);
});

test("declared attributes keep their entry's name, and the others are found", async () => {
  const fleet = await loadWithFlakes(
    { "fleet.yaml": "hosts:\n  gate: { path: ., attr: router }\n", "flake.nix": "{ }" },
    { ".": ["router", "nas"] },
  );
  expect(brief(fleet)).toEqual(["gate: flake .#router", "nas: flake .#nas, undeclared"]);
});

test("a flake that can't be evaluated stands for its hosts, so that its error is shown", async () => {
  const fleet = await loadWithFlakes({ "hosts/laptops/flake.nix": "{ }" }, { "hosts/laptops": null });
  expect(brief(fleet)).toEqual(["laptops: flake hosts/laptops#laptops, undeclared"]);
  const declared = await loadWithFlakes(
    { "fleet.yaml": "hosts:\n  anna: { path: hosts/laptops }\n", "hosts/laptops/flake.nix": "{ }" },
    { "hosts/laptops": null },
  );
  expect(brief(declared)).toEqual(["anna: flake hosts/laptops#anna"]);
});

test("a flake that can't be evaluated takes no other host's name", async () => {
  const fleet = await loadWithFlakes(
    {
      "fleet.yaml": "hosts:\n  web: { path: machines/web }\n",
      "machines/web/configuration.nix": "{ }",
      "hosts/web/flake.nix": "broken",
    },
    { "hosts/web": null },
  );
  expect(new Set(fleet.hosts.map((host) => host.name)).size).toBe(fleet.hosts.length);
  expect(brief(fleet)).toContain("web: channel machines/web");
  expect(fleet.warnings.join() + brief(fleet).join()).toContain("hosts/web");
});

test("configurations that can't be hosts are left out, and it is said", async () => {
  const fleet = await loadWithFlakes(
    { "hosts/lab/flake.nix": "{ }", "hosts/web/configuration.nix": "{ }" },
    { "hosts/lab": ["ok", "Bad_Name", "web", "__proto__"] },
  );
  expect(brief(fleet)).toEqual(["ok: flake hosts/lab#ok, undeclared", "web: channel hosts/web, undeclared"]);
  expect(fleet.warnings).toEqual([
    'hosts/lab/flake.nix: nixosConfigurations."Bad_Name" is no host name, and is left out',
    "hosts/lab/flake.nix: nixosConfigurations.web is left out, as there is another host of that name",
    'hosts/lab/flake.nix: nixosConfigurations."__proto__" is no host name, and is left out',
  ]);
});

test("a flake below hosts/ without any configuration is no host, and it is said", async () => {
  const fleet = await loadWithFlakes(
    { "hosts/lab/flake.nix": "{ }", "hosts/web/configuration.nix": "{ }", "flake.nix": "a shell for developers" },
    { "hosts/lab": [], ".": [] },
  );
  expect(brief(fleet)).toEqual(["web: channel hosts/web, undeclared"]);
  expect(fleet.warnings).toEqual(["hosts/lab/flake.nix has no nixosConfigurations: it is no host"]);
});

// ---- Entries that are wrong

test("an entry whose configuration is gone is an error at its line, never a host that is dropped", async () => {
  const fleet = "hosts:\n  nas:\n  web:\n    groups: [ a ]\n";
  expect(await complaint({ "fleet.yaml": fleet, "hosts/nas/configuration.nix": "{ }" })).toEqual({
    text: "fleet.yaml:3:3: web: there is no hosts/web/configuration.nix",
    hint: "add it, or take the host out: bento host remove web",
  });
  const entry = "hosts:\n  web: { path: ., config: nixos/web.nix }\n";
  expect((await complaint({ "fleet.yaml": entry })).text).toBe("fleet.yaml:2:3: web: there is no nixos/web.nix");
  expect((await complaint({ "fleet.yaml": "hosts:\n  web:\n", "hosts/web/configuration.nix/x": "" })).text).toBe(
    "fleet.yaml:2:3: web: there is no hosts/web/configuration.nix",
  );
});

test("two hosts with one key could be each other", async () => {
  const fleet = `hosts:\n  nas:\n    key: "${ED25519_1} a"\n  web:\n    key: "${ED25519_1} b"\n`;
  const files = { "hosts/nas/configuration.nix": "{ }", "hosts/web/configuration.nix": "{ }" };
  expect((await complaint({ ...files, "fleet.yaml": fleet })).text).toBe(
    "fleet.yaml:5:5: web and nas have the same key",
  );
  await load({ ...files, "fleet.yaml": fleet.replace(`${ED25519_1} b`, ED25519_2) });
});

test("two entries for one system", async () => {
  const fleet = "hosts:\n  nas:\n  web:\n    path: hosts/nas\n";
  expect((await complaint({ "fleet.yaml": fleet, "hosts/nas/configuration.nix": "{ }" })).text).toBe(
    "fleet.yaml:3:3: web and nas are the same system",
  );
});

test("names that can't be logins at the server", async () => {
  const server = `server: { address: x, hostKeys: [ "${ED25519_1}" ] }\n`;
  const hosts = (name: string) => ({ [`hosts/${name}/configuration.nix`]: "{ }" });
  const long = "a".repeat(33);
  for (const name of ["1st", long]) {
    const { text, hint } = await complaint({ "fleet.yaml": `${server}hosts:\n  ${name}:\n`, ...hosts(name) });
    expect(text).toMatch(`fleet.yaml:3:3: ${name}: its login at the server would be '${name}', which is no unix login`);
    expect(hint).toBe("rename the host, or set server.loginPrefix");
    expect((await load({ "fleet.yaml": `hosts:\n  ${name}:\n`, ...hosts(name) })).hosts).toHaveLength(1);
  }
  expect((await complaint({ "fleet.yaml": `${server}hosts:\n  bento:\n`, ...hosts("bento") })).text).toBe(
    "fleet.yaml:3:3: bento: its login at the server would be the publisher's, 'bento'",
  );
});

test("a fleet.yaml that is a directory", async () => {
  expect((await complaint({ "fleet.yaml/file": "" })).text).toBe("fleet.yaml: it can't be read (EISDIR)");
});

// ---- Where the fleet is

test("the nearest directory upwards that has a fleet.yaml or hosts/", async () => {
  await using dir = await scratch();
  await writeTree(dir.path, { "fleet.yaml": "", "deep/er/hosts/web/configuration.nix": "{ }", "deep/x/y": "" });
  expect(findFleet(path.join(dir.path, "deep/er/hosts/web"))).toBe(path.join(dir.path, "deep/er"));
  expect(findFleet(path.join(dir.path, "deep/x"))).toBe(dir.path);
  expect(findFleet(dir.path)).toBe(dir.path);
});

test("a repository with a flake is a fleet", async () => {
  await using dir = await scratch();
  await writeTree(dir.path, { "flake.nix": "{ }", "a/flake.nix": "{ }" });
  await mkdir(path.join(dir.path, ".git"));
  expect(findFleet(path.join(dir.path, "a"))).toBe(dir.path);
});

test("a file called hosts makes no fleet: every machine has an /etc/hosts", async () => {
  await using dir = await scratch();
  await writeTree(dir.path, { hosts: "127.0.0.1 localhost\n", "nixos/configuration.nix": "{ }" });
  expect(() => findFleet(path.join(dir.path, "nixos"))).toThrow(
    `no fleet here: neither ${path.join(dir.path, "nixos")} nor a directory above it has a fleet.yaml or hosts/`,
  );
});

// ---- A cache that hosts reach through the server

const SERVER = `server: { address: fleet.example.org, hostKeys: [ "${ED25519_1}" ], publishers: [ "${ED25519_2}" ] }\n`;
const KEY = `cache-1:${"A".repeat(43)}=`;
const substituters = (...urls: string[]) =>
  `substituters:\n${urls.map((url) => `  - { url: "${url}", key: "${KEY}" }\n`).join("")}`;

test("cache over ssh: one address in numbers, whose keys may be several, beside caches that need no way", async () => {
  for (const url of ["http://127.0.0.1:5000", "http://[fd00::1]:5000/cache?priority=3", "http://10.0.0.1"]) {
    const text = `${SERVER}${substituters("https://cache.example.org", url, url)}cache: { over: ssh }\n`;
    const { cache } = await load({ "fleet.yaml": text });
    expect(cache).toEqual({ push: null, over: "ssh" });
  }
});

test.each([
  [
    "no server",
    substituters("http://127.0.0.1:5000"),
    "fleet.yaml:3:10: cache.over: there is no server to reach it through",
  ],
  ["no cache at all", SERVER, "fleet.yaml:2:10: cache.over: none of the substituters can be forwarded"],
  [
    "a name",
    SERVER + substituters("http://localhost:5000", "https://127.0.0.1:5000"),
    "fleet.yaml:5:10: cache.over: none of the substituters can be forwarded",
  ],
  [
    "two",
    SERVER + substituters("http://127.0.0.1:5000", "http://127.0.0.1:5001"),
    "fleet.yaml:4:7: cache.over: only one cache can be forwarded, and beside 127.0.0.1:5000 this is a second",
  ],
])("cache over ssh, with %s", async (_, text, message) => {
  const { text: said, hint } = await complaint({ "fleet.yaml": `${text}cache: { over: ssh }\n` });
  expect(said).toBe(message);
  expect(hint).toBeTruthy();
});
