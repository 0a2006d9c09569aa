import path from "node:path";
import { expect, test } from "vitest";
import type { CheckDocument } from "../../src/results.ts";
import { gitRepository } from "../platform/git.ts";
import { scratch } from "../platform/scratch.ts";
import { DEMO_HOSTS, type FleetRepository } from "../support/fleet.ts";
import { withFleet } from "../support/with-fleet.ts";
import type { World } from "../support/world.ts";
import { bento, bentoJson, bentoOnTerminal, hostIn, lineOf, pathWith } from "./bento.ts";
import { configuration } from "./configurations.ts";

let world: World;
let fleet: FleetRepository;

withFleet({ resets: true }, (made) => {
  ({ world, fleet } = made);
});

const check = (args: readonly string[] = [], env: Record<string, string> = {}, cwd = fleet.dir) =>
  bento(["check", ...args], { cwd, env });
const checkJson = (args: readonly string[] = [], cwd = fleet.dir) =>
  bentoJson<CheckDocument>(["check", ...args], { cwd });

/** Puts a mistake into the router's sixth line. */
const breakRouter = () => fleet.edit("hosts/router/configuration.nix", "pkgs.nginx", "pkgs.nginxx");

test("a fleet that is well: a line for each host, what it would cost, a sum, and nothing else", async () => {
  const { status, stdout, stderr } = await check();
  expect(stdout).toBe(
    [
      "✓  laptop-anna  ok  4 to build",
      "✓  laptop-ben   ok  4 to build",
      "✓  nas          ok  4 to build",
      "✓  router       ok  4 to build; not reproducible",
      "",
      "4 hosts: 4 ok",
      "",
    ].join("\n"),
  );
  expect(stderr).toBe("");
  expect(status).toBe(0);
});

test("a broken host: the file, line and column of the mistake, and the others are not affected", async () => {
  await breakRouter();
  const { status, stdout } = await check();
  expect(stdout).toMatch(
    /^✗ {2}router {7}failed\n {4}hosts\/router\/configuration\.nix:6:\d+: attribute 'nginxx' missing\n {4}→ Did you mean nginx\?$/m,
  );
  for (const host of ["laptop-anna", "laptop-ben", "nas"]) expect(lineOf(host, stdout)).toMatch(/^✓ .* ok /);
  expect(stdout).toMatch(/\n4 hosts: 1 failed, 3 ok\n$/);
  expect(status).toBe(1);
});

test("a mistake in what several hosts share is shown where it is: in utils/", async () => {
  await fleet.edit("utils/common.nix", "pkgs.htop", "pkgs.htopp");
  const { status, document } = await checkJson(["--hosts", "nas,router"]);
  for (const name of ["nas", "router"]) {
    expect(hostIn(document, name).error).toMatchObject({ file: "utils/common.nix", line: 5 });
  }
  expect(status).toBe(1);
});

test("--json: one document, with each host's system and derivation, or its error", async () => {
  await breakRouter();
  const { status, document, stderr } = await checkJson();
  const system = (name: string) =>
    expect.stringMatching(new RegExp(`^${world.store.dir}/[0-9a-z]{32}-nixos-system-${name}-26\\.05$`));
  const drv = (name: string) =>
    expect.stringMatching(new RegExp(`^${world.store.dir}/[0-9a-z]{32}-nixos-system-${name}-26\\.05\\.drv$`));
  const well = (name: string) => ({
    name,
    status: "ok",
    toplevel: system(name),
    drv: drv(name),
    base: null,
    packages: null,
    reboot: null,
    reproducible: true,
    remembered: false,
    plan: { build: 4, fetch: 0, download: 0, unpacked: 0 },
    warnings: [],
    error: null,
    duration: expect.any(Number),
  });
  expect(document).toEqual({
    version: 1,
    command: "check",
    base: null,
    warnings: [],
    hosts: [
      well("laptop-anna"),
      well("laptop-ben"),
      well("nas"),
      {
        ...well("router"),
        reproducible: false,
        status: "failed",
        toplevel: null,
        drv: null,
        plan: null,
        error: {
          message: "attribute 'nginxx' missing",
          hint: "Did you mean nginx?",
          file: "hosts/router/configuration.nix",
          line: 6,
          column: expect.any(Number),
          trace: expect.stringContaining("Did you mean nginx?"),
        },
      },
    ],
  });
  expect(stderr).toBe("");
  expect(status).toBe(1);
});

test("--verbose shows all that Nix said of a failure", async () => {
  await breakRouter();
  const args = ["--hosts", "router"];
  expect((await check([...args, "--verbose"])).stdout).toMatch(/^ {4,}error: attribute 'nginxx' missing$/m);
  expect((await check(args)).stdout).not.toContain("error:");
});

test("--hosts takes globs and lists, NAME is its older spelling, and the option goes first", async () => {
  const names = async (args: readonly string[], env: Record<string, string> = {}) => {
    const { stdout } = await check(args, env);
    return DEMO_HOSTS.filter((host) => stdout.includes(` ${host} `));
  };
  expect(await names(["--hosts", "laptop-*,router"])).toEqual(["router", "laptop-anna", "laptop-ben"]);
  expect(await names([], { NAME: "n?s" })).toEqual(["nas"]);
  expect(await names(["--hosts", "router"], { NAME: "nas" })).toEqual(["router"]);
});

test("a host that isn't there: nothing is done, and the nearest name is suggested", async () => {
  for (const run of [check(["--hosts", "ruoter"]), check([], { NAME: "ruoter" })]) {
    expect(await run).toEqual({
      status: 2,
      stdout: "",
      stderr: "error: no host is called 'ruoter'\n→ did you mean 'router'?\n",
    });
  }
});

test("without Nix, or git, there is nothing to check with", async () => {
  await using dir = await scratch();
  const withoutNix = await pathWith(path.join(dir.path, "a"), ["git"]);
  const noNix = await check([], { PATH: withoutNix });
  expect([noNix.status, noNix.stdout]).toEqual([3, ""]);
  expect(noNix.stderr).toMatch(/^error: Nix was not found on this machine \(no nix-store in PATH\)\n→ install it.*\n$/);
  // A store that can't be opened: old versions don't even say which they are.
  const { stdout, stderr } = await check([], { NIX_STATE_DIR: "/dev/null/nix" });
  expect(`${stdout}${stderr}`).toContain("/dev/null");
  const withoutGit = await pathWith(path.join(dir.path, "b"), ["nix", "nix-store", "nix-instantiate"]);
  expect(await check([], { PATH: withoutGit })).toEqual({
    status: 3,
    stdout: "",
    stderr: "error: git was not found on this machine\n",
  });
});

test("a file that git doesn't track is invisible, as it will be on the host", async () => {
  await fleet.edit("hosts/router/configuration.nix", "./utils/common.nix", "./utils/common.nix ./extra.nix");
  await fleet.write("hosts/router/extra.nix", "{ }");
  const { status, stdout } = await check(["--hosts", "router"]);
  expect(stdout).toMatch(/^ {4}hosts\/router\/configuration\.nix:3:\d+: .*hosts\/router\/extra\.nix/m);
  expect(stdout).toContain("→ if it is there: git add hosts/router/extra.nix");
  expect(status).toBe(1);
  await fleet.git("add", "hosts/router/extra.nix");
  expect((await check(["--hosts", "router"])).status).toBe(0);
});

test("a warning of the evaluation stands below its host", async () => {
  await fleet.edit("hosts/router/configuration.nix", "[ pkgs.nginx ]", 'builtins.trace "warning: nginx is old" [ ]');
  const { status, stdout } = await check(["--hosts", "router"]);
  expect(stdout).toMatch(/^✓ {2}router.*\n {4}warning: nginx is old$/m);
  expect(status).toBe(0);
});

const ESCAPE = "\u001b";

test("colours are for terminals, and for those who don't mind them", async () => {
  const args = ["check", "--hosts", "router"];
  const on = { cwd: fleet.dir };
  const terminal = await bentoOnTerminal(args, on);
  expect(terminal.stdout).toContain(`${ESCAPE}[32m✓${ESCAPE}[39m  router`);
  expect(terminal.stdout).toContain("evaluated 0 of 1 hosts");
  expect(terminal.status).toBe(0);
  for (const plain of [
    await bentoOnTerminal(args, { ...on, env: { NO_COLOR: "1" } }),
    await bentoOnTerminal([...args, "--no-color"], on),
  ]) {
    expect(plain.stdout).toContain("✓  router  ok");
    expect(plain.stdout).not.toContain(`${ESCAPE}[3`);
  }
  expect((await bento(args, on)).stdout).not.toContain(ESCAPE);
});

test("errors, too, are coloured on a terminal only, and not for NO_COLOR", async () => {
  const args = ["check", "--hosts", "nobody"];
  const on = { cwd: fleet.dir };
  expect((await bentoOnTerminal(args, on)).stdout).toContain(`${ESCAPE}[31merror:${ESCAPE}[39m no host is called`);
  expect((await bentoOnTerminal(args, { ...on, env: { NO_COLOR: "1" } })).stdout).toMatch(/^error: no host is called/m);
});

test("what Nix says can neither paint nor command, whoever reads it", async () => {
  // Printed by the evaluation, and part of its error: escape sequences, a carriage return, a direction override.
  const hostile = `::error::owned \${builtins.fromJSON ''"\\u001b]0;title\\u0007 \\r \\u202e \\u009b31m"''}`;
  await using repo = await gitRepository({
    "hosts/a/configuration.nix": configuration("a", `  networking.gateway = throw "${hostile}\\n::error::again";`),
    "hosts/b/configuration.nix": configuration("b", `  networking.gateway = builtins.trace "warning: ${hostile}" "x";`),
  });
  const { status, stdout, stderr } = await check(["--verbose"], {}, repo.dir);
  expect(stdout).toContain("owned");
  expect(stdout).toMatch(/^ {4}warning: ::error::owned/m);
  expect(stdout + stderr).not.toMatch(/^::/m);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: there must be none.
  expect(stdout + stderr).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/);
  expect(status).toBe(1);
  const { document } = await checkJson([], repo.dir);
  expect(document.hosts.map((host) => host.status)).toEqual(["failed", "ok"]);
});

test("bento runs where there is no home and no terminal, as in a bare CI job", async () => {
  const { status, stdout } = await bento(["check", "--hosts", "router", "-I", `nixpkgs=${world.store.nixpkgs}`], {
    cwd: fleet.dir,
    env: { HOME: undefined, NIX_PATH: undefined },
  });
  expect(lineOf("router", stdout)).toMatch(/^✓ .* ok /);
  expect(status).toBe(0);
});

test("a host that would lose its agent, or ask for another's releases, fails; unless the first is meant", async () => {
  await fleet.edit("utils/common.nix", "services.bento.enable = true;", "");
  await fleet.edit(
    "hosts/nas/configuration.nix",
    "networking",
    'services.bento = { enable = true; host = "nsa"; };\n  networking',
  );
  await fleet.commit("No agent");
  const { status, document } = await checkJson();
  expect(status).toBe(1);
  expect(hostIn(document, "router").error?.message).toContain("Bento's agent is not in this configuration");
  expect(hostIn(document, "nas").error?.message).toContain("would ask for the releases of 'nsa'");
  const yaml = await fleet.read("fleet.yaml");
  await fleet.write("fleet.yaml", yaml.replace(/( {2}router:\n)/, "$1    agent: false\n"));
  const { document: meant } = await checkJson(["--hosts", "router"]);
  expect(hostIn(meant, "router")).toMatchObject({ status: "ok", error: null });
});

test("a secret that the configuration declares, and git doesn't have, or another host's key opens", async () => {
  const declared = "services.bento.secrets = { wifi = { }; vpn = { }; disk = { }; };\n  networking";
  await fleet.edit("hosts/nas/configuration.nix", "networking", declared);
  for (const [host, name] of [
    ["nas", "vpn"],
    ["router", "disk"],
  ] as const) {
    expect((await bento(["secret", "set", host, name], { cwd: fleet.dir, input: "value" })).status).toBe(0);
  }
  await fleet.write("secrets/nas/disk.age", await fleet.read("secrets/router/disk.age"));
  await fleet.commit("Two secrets");
  // On disk is not in git.
  await fleet.write("secrets/nas/wifi.age", "age");
  const { status, document } = await checkJson(["--hosts", "nas,router"]);
  expect(hostIn(document, "nas").warnings).toEqual([
    "secrets/nas/disk.age is not encrypted to the host's key, and the host will refuse the release: bento secret rekey nas disk",
    "services.bento.secrets.wifi has no secrets/nas/wifi.age in git, and the host will refuse the release: bento secret set nas wifi",
  ]);
  expect(hostIn(document, "router").warnings).toEqual([]);
  expect(status).toBe(0);
});
