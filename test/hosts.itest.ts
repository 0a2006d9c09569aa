import { readdir, readFile, readlink } from "node:fs/promises";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { check } from "../src/commands/check.ts";
import type { Context } from "../src/commands/context.ts";
import { loadFleet } from "../src/fleet/load.ts";
import { staleFiles } from "../src/fleet/rendered.ts";
import { inStore, nixpkgs, root } from "./modules/nixos.ts";
import { succeed } from "./support/programs.ts";

/** The example fleet. BENTO_TEST_NIXPKGS, the path of a nixpkgs of 20.09 or later, adds that its hosts are real NixOS systems. */

describe("as they are in the repository", () => {
  test("the rendered files are what fleet.yaml says", async () => {
    expect(await staleFiles(await loadFleet(root))).toEqual([]);
  });

  test("every host has a key, and is found where fleet.yaml says", async () => {
    const { hosts } = await loadFleet(root);
    expect(hosts.map(({ name, kind, path: place }) => `${name}: ${kind} in ${place}`)).toEqual([
      "nas: flake in hosts/nas",
      "router: channel in hosts/router",
      "t470: flake in hosts/laptops",
      "x1: flake in hosts/laptops",
    ]);
    for (const host of hosts) {
      expect(host.key, host.name).toMatch(/^ssh-ed25519 /);
      expect(host.declared, host.name).toBe(true);
    }
  });

  test("each host's utils is the shared directory", async () => {
    for (const host of await readdir(path.join(root, "hosts"))) {
      expect(await readlink(path.join(root, "hosts", host, "utils")), host).toBe("../../utils/");
    }
  });

  test.each(["nas", "laptops"])("the lock file of %s locks what its flake.nix asks for", async (host) => {
    const flake = await readFile(path.join(root, "hosts", host, "flake.nix"), "utf8");
    const lock = JSON.parse(await readFile(path.join(root, "hosts", host, "flake.lock"), "utf8"));
    expect(lock).toMatchObject({ version: 7, root: "root" });
    expect(Object.keys(lock.nodes).sort()).toEqual(["nixpkgs", "root"]);
    expect(lock.nodes.root.inputs).toEqual({ nixpkgs: "nixpkgs" });
    const { original, locked } = lock.nodes.nixpkgs;
    expect(flake).toContain(`inputs.nixpkgs.url = "github:${original.owner}/${original.repo}/${original.ref}";`);
    const { type, owner, repo } = original;
    expect(locked).toMatchObject({ type, owner, repo });
    expect(locked.rev).toMatch(/^[0-9a-f]{40}$/);
    expect(locked.narHash).toMatch(/^sha256-[A-Za-z0-9+/]{43}=$/);
    expect(locked.lastModified).toBeGreaterThan(0);
  });

  test("every .nix file parses", async () => {
    const files = (await succeed("git", ["-C", root, "ls-files", "--", "hosts/*.nix", "utils/*.nix"])).split("\n");
    expect(files).toEqual(expect.arrayContaining(["utils/bento.nix", "utils/fleet.nix", "hosts/nas/flake.nix"]));
    await succeed("nix-instantiate", ["--parse", ...files.map((file) => path.join(root, file))]);
  });
});

describe.skipIf(!nixpkgs)("on a real nixpkgs", () => {
  test("every host is a system, staged and evaluated as check does it", { timeout: 400_000 }, async () => {
    const source = await inStore(nixpkgs ?? "");
    const { warnings, hosts } = await check(quiet(), {
      fleet: root,
      hosts: [],
      base: null,
      shard: null,
      dirty: false,
      nix: { overrideInputs: [["nixpkgs", `path:${source}`]], options: [], searchPath: [`nixpkgs=${nixpkgs}`] },
      timeout: 300_000,
    });
    expect(warnings).toEqual([]);
    expect(hosts.map(({ name }) => name)).toEqual(["nas", "router", "t470", "x1"]);
    for (const host of hosts) {
      expect(host, host.name).toMatchObject({
        status: "ok",
        error: null,
        toplevel: expect.stringMatching(new RegExp(`^/nix/store/[0-9a-z]{32}-nixos-system-${host.name}-`)),
        drv: expect.stringMatching(/^\/nix\/store\/.*\.drv$/),
      });
      // What Nix says of its own installation is no matter of the host's.
      expect(host.warnings.filter((text) => !text.includes("build-users-group"))).toEqual([]);
    }
  });
});

function quiet(): Context {
  const silent = () => {};
  const output = {
    info: silent,
    debug: silent,
    warning: silent,
    progress: silent,
    done: silent,
    group: () => ({ line: silent, end: silent }),
    folded: silent,
  };
  return { output, signal: new AbortController().signal, env: {}, cwd: root };
}
