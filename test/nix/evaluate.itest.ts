import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import path from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { InterruptedError, UnavailableError } from "../../src/errors.ts";
import { inspectFlakes } from "../../src/nix/evaluate.ts";
import { Nix, NO_PASSTHROUGH, nixString } from "../../src/nix/nix.ts";
import {
  type EvaluateOptions,
  evaluateHost,
  evaluateTree,
  type Files,
  failureOf,
  IMPORT_FROM_DERIVATION,
  LIMITS,
} from "./evaluate-host.ts";
import { privateStore, type Store } from "./store.ts";

let store: Store;
let nix: Nix;
beforeAll(async () => {
  store = await privateStore();
  nix = await Nix.find();
});
afterAll(() => store.remove());

const evaluate = (name: string, files: Files, options: EvaluateOptions = {}) =>
  evaluateTree(store, nix, name, files, options);

const system = (modules: string) => `nixpkgs.lib.nixosSystem { system = "${store.system}"; modules = [ ${modules} ]; }`;

// Systems that can be built

test("a host without a flake: the system that nix-build would make", async () => {
  const { treeDir, result } = await evaluate("channel", {
    "configuration.nix": "{ pkgs, ... }:\n{ imports = [ ./part.nix ]; environment.systemPackages = [ pkgs.git ]; }",
    "part.nix": '{ networking.hostName = "web"; }',
  });
  const drv = execFileSync(
    "nix-instantiate",
    [`${store.nixpkgs}/nixos`, "-A", "system", "--arg", "configuration", path.join(treeDir, "configuration.nix")],
    { stdio: ["ignore", "pipe", "ignore"] },
  ).toString();
  const out = execFileSync("nix-store", ["--query", "--outputs", drv.trim()]).toString();
  expect(result).toMatchObject({ ok: true, drv: drv.trim(), toplevel: out.trim(), warnings: [] });
  expect(result.ok && existsSync(result.drv)).toBe(true);
});

test("a flake's host: the system that nix build would make, and the lock isn't touched", async () => {
  const { treeDir, result } = await evaluate("flake", {
    "flake.nix": store.flake(`{ web = ${system("./configuration.nix")}; }`),
    "configuration.nix": '{ networking.hostName = "web"; }',
  });
  const reference = `path:${treeDir}#nixosConfigurations.web.config.system.build.toplevel`;
  const before = await readFile(path.join(treeDir, "flake.lock"), "utf8");
  const json = execFileSync("nix", ["build", "--dry-run", "--json", reference], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const [built] = JSON.parse(json.toString());
  expect(result).toMatchObject({ ok: true, drv: built.drvPath, toplevel: built.outputs.out, warnings: [] });
  expect(await readFile(path.join(treeDir, "flake.lock"), "utf8")).toBe(before);
});

test("the same tree in another place is the same system", async () => {
  const files = { "configuration.nix": '{ environment.etc.motd = "hello"; }' };
  const flake = { "flake.nix": store.flake(`{ web = ${system("./configuration.nix")}; }`), ...files };
  for (const [index, tree] of [files, flake].entries()) {
    const one = await evaluate(`place-${index}-a`, tree);
    const two = await evaluate(`place-${index}-b`, tree);
    expect(one.result.ok && one.result.toplevel).toBeTruthy();
    expect(two.result).toEqual({ ...one.result, duration: two.result.duration });
  }
});

test("a host without a flake, staged in a directory with spaces and signs in its name", async () => {
  const files = { "configuration.nix": '{ networking.hostName = "web"; }' };
  for (const [index, name] of ["a b", "a+b", `a $\{x} "b" 'c'`].entries()) {
    const channel = await evaluate("", files, { inDir: `signs-${index}/${name}` });
    expect(channel.result).toMatchObject({ ok: true });
  }
});

async function lockText(): Promise<string> {
  const dir = await store.tree(`lock-${Math.random()}`, { "flake.nix": store.flake("{ }") });
  await store.lock(dir);
  return readFile(path.join(dir, "flake.lock"), "utf8");
}

test("attributes with dots, quotes and interpolations are names, and nothing else", async () => {
  const names = ["web.example.org", 'we"b', `we$\{b}`, "we\\b", "config"];
  const attributes = names.map((name) => `${nixString(name)} = ${system('{ networking.hostName = "n"; }')};`);
  const flake = {
    "flake.nix": store.flake(`{ ${attributes.join(" ")} web.example.org = 1; }`),
    "flake.lock": await lockText(),
  };
  for (const [index, attr] of names.entries()) {
    const { result } = await evaluate(`attribute-${index}`, flake, { attr });
    expect([attr, result.ok]).toEqual([attr, true]);
  }
  expect(failureOf((await evaluate("attribute-none", flake, { attr: "gone" })).result).message).toBe(
    "attribute 'gone' missing",
  );
});

test("any text is one Nix string", () => {
  const special = fc.constantFrom(
    "$",
    "{",
    "}",
    '"',
    "\\",
    "''",
    "$${",
    "${",
    "\\${",
    "\n",
    "\r",
    "\r\n",
    "\t",
    "é",
    "n",
    "r",
  );
  const text = fc
    .array(fc.oneof(special, fc.string({ unit: "grapheme", maxLength: 3 })), { maxLength: 12 })
    .map((parts) => parts.join(""));
  const usable = text.filter((value) => !value.includes("\0") && value.isWellFormed());
  // All at once, since starting Nix takes longer than evaluating.
  const texts = fc.sample(usable, 400);
  const list = `[ ${texts.map(nixString).join(" ")} ]`;
  const json = execFileSync("nix-instantiate", ["--eval", "--strict", "--json", "-"], { input: list });
  expect(JSON.parse(json.toString())).toEqual(texts);
});

test("warnings of an evaluation that works", async () => {
  const { result } = await evaluate("warning", {
    "configuration.nix": '{ networking.hostName = builtins.trace "warning: it is late" "web"; }',
  });
  expect(result).toMatchObject({ ok: true, warnings: ["it is late"] });
});

// Locks and inputs

test("a flake without its lock isn't given one", async () => {
  const { treeDir, result } = await evaluate(
    "no-lock",
    { "flake.nix": store.flake(`{ web = ${system("{ }")}; }`) },
    { lock: false },
  );
  expect(failureOf(result).hint).toBe(
    "its flake.lock is missing or stale: run 'nix flake lock ./hosts/web' and commit it",
  );
  expect(existsSync(path.join(treeDir, "flake.lock"))).toBe(false);
  // And the network isn't asked for what it would be.
  const elsewhere = store.flake("{ web = 1; }").replace(/"path:.*"/, '"http://127.0.0.1:1/nixpkgs.tar.gz"');
  const { result: far } = await evaluate("no-lock-far", { "flake.nix": elsewhere }, { lock: false });
  expect(failureOf(far).hint).toBe(failureOf(result).hint);
});

test("a lock that doesn't fit its flake any more is left alone", async () => {
  const stale = JSON.stringify({ nodes: { root: {} }, root: "root", version: 7 });
  const { treeDir, result } = await evaluate("stale-lock", {
    "flake.nix": store.flake(`{ web = ${system("{ }")}; }`),
    "flake.lock": stale,
  });
  expect(failureOf(result).hint).toBe(
    "its flake.lock is missing or stale: run 'nix flake lock ./hosts/web' and commit it",
  );
  expect(await readFile(path.join(treeDir, "flake.lock"), "utf8")).toBe(stale);
});

test("an input can be overridden, without any lock being written", async () => {
  const other = await store.tree("other-nixpkgs", {
    "flake.nix": `{ outputs = { self }: { lib.nixosSystem = _: { config.system.build.toplevel = { drvPath = "/other.drv"; outPath = "/other"; }; }; }; }`,
  });
  const overriding = await Nix.find({ ...NO_PASSTHROUGH, overrideInputs: [["nixpkgs", `path:${other}`]] });
  const flake = { "flake.nix": store.flake(`{ web = ${system("{ }")}; }`), "flake.lock": await lockText() };
  const { treeDir, result } = await evaluate("overridden", flake, { nixWith: overriding });
  expect(result).toMatchObject({ ok: true, toplevel: "/other" });
  expect(await readFile(path.join(treeDir, "flake.lock"), "utf8")).toBe(flake["flake.lock"]);
});

test("a mistake has its place with an input overridden as well", async () => {
  const overriding = await Nix.find({ ...NO_PASSTHROUGH, overrideInputs: [["nixpkgs", `path:${store.nixpkgs}`]] });
  const flake = {
    "flake.nix": store.flake(`{ web = ${system("./configuration.nix")}; }`),
    "flake.lock": await lockText(),
    "configuration.nix": "{\n  networking.hostName = nmae;\n}\n",
  };
  const { result } = await evaluate("overridden-mistake", flake, { nixWith: overriding });
  expect(failureOf(result)).toEqual({
    message: "undefined variable 'nmae'",
    file: "hosts/web/configuration.nix",
    line: 2,
    column: 25,
  });
});

test.each([false, true])(
  "a flake can't allow itself what a check doesn't, accept-flake-config = %s",
  async (accept) => {
    const text = store
      .flake(`{ web = ${system("./configuration.nix")}; }`)
      .replace("{\n", "{\n  nixConfig.allow-import-from-derivation = true;\n");
    const files = {
      "flake.nix": text,
      "flake.lock": await lockText(),
      "configuration.nix": IMPORT_FROM_DERIVATION,
    };
    // As some actions that install Nix set it.
    vi.stubEnv("NIX_CONFIG", `${process.env.NIX_CONFIG}\naccept-flake-config = ${accept}`);
    try {
      const { result } = await evaluate(`nix-config-${accept}`, files);
      expect(failureOf(result).message).toContain("'allow-import-from-derivation' is disabled");
    } finally {
      vi.unstubAllEnvs();
    }
  },
);

// Which hosts a flake has

test("the hosts of a flake, without evaluating them", async () => {
  const { source } = await evaluate("listed", {
    "flake.nix": store.flake(`{ b = throw "not looked at"; a = 1; "c.d" = 2; }`),
  });
  expect(await inspectFlakes(nix, [source], LIMITS)).toEqual([{ ok: true, hosts: ["a", "b", "c.d"] }]);
});

test("a flake for developers alone has none", async () => {
  const { source } = await evaluate("shell", { "flake.nix": "{ outputs = { self }: { devShells = { }; }; }" });
  expect(await inspectFlakes(nix, [source], LIMITS)).toEqual([{ ok: true, hosts: [] }]);
});

test("a flake that is broken says where", async () => {
  const { source } = await evaluate("broken", {
    "flake.nix": "{\n  outputs = { self }: { nixosConfigurations = ; };\n}\n",
    "flake.lock": "{}",
  });
  const failure = {
    message: "syntax error, unexpected ';'",
    file: "hosts/web/flake.nix",
    line: 2,
    column: 47,
  };
  expect(await inspectFlakes(nix, [source], LIMITS)).toMatchObject([{ ok: false, failure }]);
});

// Limits

test("interrupting ends an evaluation", async () => {
  const abort = new AbortController();
  const interruptible = await Nix.find(NO_PASSTHROUGH, abort.signal);
  const { host, source } = await evaluate("interrupted", { "configuration.nix": "{ }" });
  const running = evaluateHost(interruptible, host, source, LIMITS);
  abort.abort();
  await expect(running).rejects.toBeInstanceOf(InterruptedError);
});

test("a machine without Nix", async () => {
  vi.stubEnv("PATH", "/nonexistent");
  try {
    const error = await Nix.find().catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(UnavailableError);
    expect((error as Error).message).toBe("Nix was not found on this machine (no nix-store in PATH)");
  } finally {
    vi.unstubAllEnvs();
  }
});
