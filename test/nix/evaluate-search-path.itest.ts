import { execFileSync } from "node:child_process";
import { createReadStream } from "node:fs";
import { mkdir, symlink } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Nix, NO_PASSTHROUGH } from "../../src/nix/nix.ts";
import { type EvaluateOptions, evaluateTree, type Files, failureOf } from "./evaluate-host.ts";
import { privateStore, type Store } from "./store.ts";

// Where a host without a flake gets its nixpkgs from.

let store: Store;
let nix: Nix;
beforeAll(async () => {
  store = await privateStore();
  nix = await Nix.find();
});
afterAll(() => store.remove());

const evaluate = (name: string, files: Files, options: EvaluateOptions = {}) =>
  evaluateTree(store, nix, name, files, options);

test("a host without a flake on a machine without a nixpkgs", async () => {
  vi.stubEnv("NIX_PATH", "");
  try {
    const { result } = await evaluate("no-nixpkgs", { "configuration.nix": "{ }" });
    expect(failureOf(result).hint).toBe(
      "a host without a flake needs a nixpkgs: set NIX_PATH=nixpkgs=… or pass -I nixpkgs=…",
    );
    const passed = await Nix.find({ ...NO_PASSTHROUGH, searchPath: [`nixpkgs=${store.nixpkgs}`] });
    expect((await evaluate("passed-nixpkgs", { "configuration.nix": "{ }" }, { nixWith: passed })).result.ok).toBe(
      true,
    );
  } finally {
    vi.unstubAllEnvs();
  }
});

test.each([
  ["NIX_PATH", "a file"],
  ["-I", "a web server"],
])("a nixpkgs that %s has as the tarball of %s", async (way, what) => {
  const file = path.join(store.dir, "nixexprs.tar.gz");
  execFileSync("tar", ["-C", store.dir, "-czf", file, "nixpkgs"]);
  await using server = createServer((_, response) => createReadStream(file).pipe(response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const entry = `nixpkgs=${what === "a file" ? `file://${file}` : `http://127.0.0.1:${port}/nixexprs.tar.gz`}`;
  // What else there is doesn't matter to whoever doesn't ask for it.
  vi.stubEnv("NIX_PATH", `other=file:///gone.tar.gz:${way === "NIX_PATH" ? entry : "nixpkgs=file:///gone.tar.gz"}`);
  try {
    const searchPath = way === "-I" ? [entry] : [];
    const nixWith = await Nix.find({ ...NO_PASSTHROUGH, searchPath });
    const { result } = await evaluate(`tarball-${way}`, { "configuration.nix": "{ }" }, { nixWith });
    expect(result).toMatchObject({ ok: true });
  } finally {
    vi.unstubAllEnvs();
  }
});

test("a nixpkgs of the search path that can't be fetched", async () => {
  vi.stubEnv("NIX_PATH", "nixpkgs=file:///gone/nixexprs.tar.gz");
  try {
    const { result } = await evaluate("tarball-gone", { "configuration.nix": "{ }" });
    expect(failureOf(result)).toMatchObject({
      message: expect.stringMatching(
        /^the nixpkgs of the search path, nixpkgs=file:\/\/\/gone\/nixexprs\.tar\.gz, can't be had: \S/,
      ),
      hint: "NIX_PATH or -I says where it is; nixpkgs: { url, hash } in fleet.yaml pins one",
    });
  } finally {
    vi.unstubAllEnvs();
  }
});

test("the user's own channel is found where Nix looks when NIX_PATH isn't set", async () => {
  const channels = path.join(store.dir, "home/.nix-defexpr/channels");
  await mkdir(channels, { recursive: true });
  await symlink(store.nixpkgs, path.join(channels, "nixpkgs"));
  vi.stubEnv("NIX_PATH", undefined);
  try {
    expect((await evaluate("channel-of-user", { "configuration.nix": "{ }" })).result).toMatchObject({ ok: true });
  } finally {
    vi.unstubAllEnvs();
  }
});

test("a configuration may ask for <nixos-config>", async () => {
  const { result } = await evaluate("nixos-config", {
    "configuration.nix": "{ networking.hostName = builtins.baseNameOf <nixos-config>; }",
  });
  expect(result).toMatchObject({ ok: true, toplevel: expect.stringContaining("nixos-system-configuration.nix-") });
});
