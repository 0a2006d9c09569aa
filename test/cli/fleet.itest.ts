import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, readlink, stat, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "vitest";
import type {
  HostEditDocument,
  HostListDocument,
  InitDocument,
  KeygenDocument,
  RenderDocument,
} from "../../src/results.ts";
import { gitRepository } from "../platform/git.ts";
import { scratch } from "../platform/scratch.ts";
import type { FleetRepository } from "../support/fleet.ts";
import { makeKey } from "../support/keys.ts";
import { exec, succeed } from "../support/programs.ts";
import { withFleet } from "../support/with-fleet.ts";
import type { World } from "../support/world.ts";
import { bento, bentoJson, lineOf } from "./bento.ts";
import { configuration } from "./configurations.ts";

let world: World;
let fleet: FleetRepository;
let key: string;

withFleet({ resets: true }, async (made) => {
  ({ world, fleet } = made);
  key = (await makeKey(path.join(world.dir, "keys/printer"))).publicKey;
});

const inFleet = (...args: string[]) => bento(args, { cwd: fleet.dir });

// init

const MADE = [
  ".github/workflows/bento-check.yml",
  ".github/workflows/bento-comment.yml",
  ".github/workflows/bento-deploy.yml",
  ".github/workflows/bento-status.yml",
  ".github/workflows/bento-update.yml",
  "bento.lock",
  "fleet.json",
  "fleet.yaml",
  "utils/agent",
  "utils/bento.json",
  "utils/bento.nix",
  "utils/fleet.nix",
];

test("init makes a fleet, says what it made, and what is next", async () => {
  await using dir = await scratch();
  const { status, stdout, stderr } = await bento(["init", "my fleet"], { cwd: dir.path });
  for (const file of MADE) expect(stdout).toMatch(new RegExp(`^✓ ${file.replaceAll(".", "\\.")}$`, "m"));
  for (const file of [...MADE, "hosts"]) expect(existsSync(path.join(dir.path, "my fleet", file)), file).toBe(true);
  for (const step of ["bento keygen", "fill in the server", "bento host add", "git init -b main", "bento check"]) {
    expect(stdout.slice(stdout.indexOf("Next:"))).toContain(step);
  }
  expect(stderr).toBe("");
  expect(status).toBe(0);
  expect((await exec(path.join(dir.path, "my fleet/utils/agent/bento-agent"), ["version"])).status).toBe(0);
});

test("init overwrites nothing", async () => {
  await using dir = await scratch();
  const mine = { "utils/bento.nix": "# mine\n", ".github/workflows/bento-deploy.yml": "# mine, too\n" };
  for (const [file, text] of Object.entries(mine)) {
    await mkdir(path.join(dir.path, path.dirname(file)), { recursive: true });
    await writeFile(path.join(dir.path, file), text);
  }
  const { document } = await bentoJson<InitDocument>(["init"], { cwd: dir.path });
  for (const [file, text] of Object.entries(mine)) {
    expect(document.files).toContainEqual({ file, status: "unchanged" });
    expect(await readFile(path.join(dir.path, file), "utf8")).toBe(text);
  }
  expect(document).toMatchObject({ version: 1, command: "init", fleet: dir.path });
  const before = await readFile(path.join(dir.path, "fleet.yaml"), "utf8");
  const again = await bento(["init", dir.path]);
  expect(again).toEqual({
    status: 2,
    stdout: "",
    stderr: `error: there is a fleet.yaml in ${dir.path} already\n→ edit it, and then run bento render\n`,
  });
  expect(await readFile(path.join(dir.path, "fleet.yaml"), "utf8")).toBe(before);
});

test("a fleet within a repository: its workflows are at the top, where GitHub looks, named and written for its place", async () => {
  await using repo = await gitRepository({ "README.md": "", ".gitignore": "/scratch/\n" });
  const fleet = path.join(repo.dir, "infra/fleet");
  // A repository around it may be a home directory's: what is outside of the fleet is written to by who says so.
  expect(await bento(["init", "infra/fleet"], { cwd: repo.dir })).toEqual({
    status: 2,
    stdout: "",
    stderr: `error: ${fleet} is within the git repository in ${repo.dir}\n→ git init -b main infra/fleet makes it one of its own first; or bento init --subdirectory, whose workflows go into ${repo.dir}/.github\n`,
  });
  expect(existsSync(path.join(repo.dir, "infra"))).toBe(false);
  const { document } = await bentoJson<InitDocument>(["init", "--subdirectory", "infra/fleet"], { cwd: repo.dir });
  const workflows = document.files.filter(({ file }) => file.includes("workflows"));
  expect(workflows.map(({ file }) => file)).toContain("../../.github/workflows/bento-infra+fleet-deploy.yml");
  expect(workflows).toHaveLength(5);
  for (const { file } of workflows) expect(existsSync(path.join(fleet, file)), file).toBe(true);
  expect(existsSync(path.join(fleet, ".github"))).toBe(false);
  const text = await readFile(path.join(repo.dir, ".github/workflows/bento-infra+fleet-deploy.yml"), "utf8");
  expect(text.match(/^ *fleet: .*$/gm)).toEqual(Array.from({ length: 3 }, () => "          fleet: infra/fleet"));
  expect(document.next.join("\n")).not.toMatch(/^git init/m);

  // A second one beside it, and one at the top, share nothing with it.
  await bentoJson<InitDocument>(["init", "--subdirectory", "infra/fleet-2"], { cwd: repo.dir });
  const top = await bentoJson<InitDocument>(["init"], { cwd: repo.dir });
  expect(top.document.files.filter(({ status }) => status === "unchanged")).toEqual([]);
  expect(await readdir(path.join(repo.dir, ".github/workflows"))).toHaveLength(15);

  // What the repository ignores is none of its business, nor what has a repository of its own; by way of a link, too.
  await mkdir(path.join(repo.dir, "own"));
  await succeed("git", ["init", "-q", path.join(repo.dir, "own")]);
  await symlink("scratch/deep", path.join(repo.dir, "link"));
  await mkdir(path.join(repo.dir, "scratch/deep"), { recursive: true });
  for (const place of ["scratch/new", "own", "link/fleet"]) {
    const { document } = await bentoJson<InitDocument>(["init", place], { cwd: repo.dir });
    expect(document.files, place).toContainEqual({ file: ".github/workflows/bento-deploy.yml", status: "written" });
    expect(document.next.includes("git init -b main"), place).toBe(place !== "own");
  }
});

test("init with something wrong makes nothing", async () => {
  await using dir = await scratch();
  const at = path.join(dir.path, "fleet");
  for (const [args, said] of [
    [["--host-key", key], "--host-key says how to know a server, but there is no --server"],
    [["--server", "two words", "--host-key", key], "server.address must be a host name or an address"],
    [["--server", "fleet.example.org", "--host-key", "AAAA"], "is not an ssh public key"],
    [
      ["--server", "fleet.example.org"],
      "--server needs the server's public host key, to pin it: --host-key\n→ scp root@",
    ],
    [
      ["--server", "fleet.example.org", "--host-key", key, "--port", "70000"],
      "error: server.port must be 65535 at most\n",
    ],
    [["--keys", "nowhere"], "nowhere/publisher.pub can't be read (ENOENT)"],
  ] as const) {
    const { status, stdout, stderr } = await bento(["init", at, ...args], { cwd: dir.path });
    expect(stderr).toContain(said);
    expect([status, stdout]).toEqual([2, ""]);
    expect(existsSync(at)).toBe(false);
  }
});

test.each([
  [["init", "/proc/bento"], "/proc/bento: it can't be made there"],
  [["keygen", "/proc/bento"], "/proc/bento: it can't be made there"],
  [["keygen", "/dev/null/bento"], "/dev/null/bento: a part of it is no directory"],
])("%j: what the file system refuses is no bug, and isn't tried for ever", async (args, said) => {
  expect(await bento(args)).toEqual({ status: 3, stdout: "", stderr: `error: ${said}\n` });
});

test("from nothing to a checked fleet: keygen, init, host add, check", async () => {
  await using dir = await scratch();
  const cwd = dir.path;
  const keys = await bento(["keygen", "keys"], { cwd });
  expect(keys.status).toBe(0);
  const hostKey = await world.server.hostKey();
  const server = ["--server", "fleet.example.org", "--port", "2222", "--host-key", hostKey, "--keys", "keys"];
  expect((await bento(["init", "fleet", ...server], { cwd })).status).toBe(0);
  const at = { cwd: path.join(cwd, "fleet") };
  await succeed("git", ["init", "-q"], at);
  // As far as these small systems know of Bento's module.
  const withAgent = configuration("printer", "  services.bento.enable = true;");
  await mkdir(path.join(at.cwd, "hosts/printer"));
  await writeFile(path.join(at.cwd, "hosts/printer/configuration.nix"), withAgent);
  const added = await bento(["host", "add", "printer", "--key", `${key} root@printer`], at);
  expect(added.stdout).toContain("✓ added printer");
  expect(added.status).toBe(0);
  await succeed("git", ["add", "-A"], at);
  const { status, stdout, stderr } = await bento(["check"], at);
  expect(stdout).toBe("✓  printer  ok  1 to build; not reproducible\n\n1 host: 1 ok\n");
  expect(stderr).toBe("");
  expect(status).toBe(0);
  const settings = JSON.parse(await readFile(path.join(at.cwd, "fleet.json"), "utf8"));
  expect(settings.hosts).toEqual({ printer: { login: "printer", key: `${key} root@printer` } });
  const publisher = (await readFile(path.join(cwd, "keys/publisher.pub"), "utf8")).trim();
  expect(settings.server.publishers).toEqual([publisher]);
});

// render

test("render writes what is stale, and says what is as it was", async () => {
  await fleet.edit("fleet.json", '"version": 1', '"version": 2');
  const { status, stdout } = await inFleet("render");
  expect([status, stdout]).toEqual([0, "✓ fleet.json\n· utils/bento.json is as it was\n"]);
  expect(await fleet.git("status", "--porcelain")).toBe("");
  const { document } = await bentoJson<RenderDocument>(["render"], { cwd: fleet.dir });
  expect(document).toEqual({
    version: 1,
    command: "render",
    files: [
      { file: "fleet.json", status: "unchanged" },
      { file: "utils/bento.json", status: "unchanged" },
    ],
  });
});

test("render with a fleet.yaml that is wrong, or isn't there, writes nothing", async () => {
  await fleet.edit("fleet.yaml", "signers:", "singers:");
  const wrong = await inFleet("render");
  expect(wrong.status).toBe(2);
  expect(wrong.stderr).toMatch(/^error: fleet\.yaml:\d+:1: singers is not a known key; did you mean 'signers'\?\n/);
  expect(await fleet.git("status", "--porcelain")).toBe(" M fleet.yaml");
  await using other = await gitRepository({ "hosts/a/configuration.nix": configuration("a") });
  expect(await bento(["render"], { cwd: other.dir })).toEqual({
    status: 2,
    stdout: "",
    stderr: `error: there is no fleet.yaml in ${other.dir} to render from\n→ bento init makes one\n`,
  });
});

// keygen

test("keygen makes two keys that nobody else can read, and says where their public halves go", async () => {
  await using dir = await scratch();
  const { status, document } = await bentoJson<KeygenDocument>(["keygen", "keys"], { cwd: dir.path });
  expect(status).toBe(0);
  expect(document.keys.map(({ name }) => name)).toEqual(["signing", "publisher"]);
  expect((await stat(path.join(dir.path, "keys"))).mode & 0o777).toBe(0o700);
  for (const { name, file, publicKey } of document.keys) {
    expect(file).toBe(path.join(dir.path, "keys", name));
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await succeed("ssh-keygen", ["-y", "-P", "", "-f", file])).toBe(publicKey);
    expect(publicKey).toMatch(new RegExp(`^ssh-ed25519 \\S+ bento-${name}$`));
  }
  const text = await bento(["keygen", "more"], { cwd: dir.path });
  const half = async (name: string) => (await readFile(path.join(dir.path, "more", `${name}.pub`), "utf8")).trim();
  expect(text.stdout).toContain(`signers, an entry:            "${await half("signing")}"\n`);
  expect(text.stdout).toContain(`server.publishers, an entry:  "${await half("publisher")}"\n`);
  expect(text.stdout + text.stderr).not.toContain("PRIVATE KEY");
});

test("keygen never overwrites a key, and makes none beside one", async () => {
  await using dir = await scratch();
  await writeFile(path.join(dir.path, "publisher"), "mine");
  expect(await bento(["keygen", "."], { cwd: dir.path })).toEqual({
    status: 2,
    stdout: "",
    stderr: `error: ${dir.path}/publisher is there already\n→ keys are never overwritten: choose another directory\n`,
  });
  expect(await readFile(path.join(dir.path, "publisher"), "utf8")).toBe("mine");
  expect(existsSync(path.join(dir.path, "signing"))).toBe(false);
});

test("keygen makes no key in a git repository, where it would be committed one day", async () => {
  const { status, stdout, stderr } = await inFleet("keygen", "keys");
  expect([status, stdout]).toEqual([2, ""]);
  expect(stderr).toMatch(/^error: .*\/keys is in the git repository .*\n→ choose a directory elsewhere: bento keygen /);
  // And there is not even the directory for it.
  expect(existsSync(path.join(fleet.dir, "keys"))).toBe(false);
});

// host

test("host list: kind, place, groups, and what is missing", async () => {
  await fleet.edit("fleet.yaml", "hosts:\n", `hosts:\n  printer: { groups: [ canary, office ] }\n`);
  for (const name of ["printer", "scanner"]) {
    await fleet.write(`hosts/${name}/configuration.nix`, configuration(name));
  }
  const { status, stdout } = await inFleet("host", "list");
  expect(stdout.split("\n")[0]).toMatch(/^HOST +KIND +PATH +GROUPS$/);
  expect(lineOf("router", stdout)).toMatch(/^router +channel +hosts\/router$/);
  expect(lineOf("laptop-anna", stdout)).toMatch(/^laptop-anna +flake +hosts\/laptops$/);
  expect(lineOf("printer", stdout)).toMatch(/^printer +channel +hosts\/printer +canary,office +no key yet$/);
  expect(lineOf("scanner", stdout)).toMatch(/^scanner +channel +hosts\/scanner +no entry in fleet\.yaml$/);
  expect(status).toBe(0);
  const { document } = await bentoJson<HostListDocument>(["host", "list", "--hosts", "r*,printer"], { cwd: fleet.dir });
  expect(document).toEqual({
    version: 1,
    command: "host list",
    hosts: [
      {
        name: "printer",
        status: "declared",
        kind: "channel",
        path: "hosts/printer",
        groups: ["canary", "office"],
        key: null,
        ssh: null,
      },
      {
        name: "router",
        status: "declared",
        kind: "channel",
        path: "hosts/router",
        groups: [],
        key: world.hostKeys.router?.publicKey,
        ssh: null,
      },
    ],
  });
});

/** fleet.yaml with comments of its administrator's. */
const commented = async () => {
  await fleet.edit("fleet.yaml", "server:", "# Our fleet.\nserver:");
  await fleet.edit("fleet.yaml", "hosts:\n", "# All of them.\nhosts:\n  # The one in the cellar:\n");
  return (await fleet.read("fleet.yaml")).trimEnd();
};

test("host add enters a host, links utils/ into its directory, and renders; comments stay", async () => {
  const before = await commented();
  await fleet.write("hosts/printer/configuration.nix", "{ imports = [ ./utils/bento.nix ]; }");
  const groups = ["--group", "canary", "--group", "office", "--ssh", "root@10.0.0.9"];
  const { status, stdout, stderr } = await inFleet("host", "add", "printer", "--key", `${key} root@printer`, ...groups);
  expect(stdout).toBe("✓ added printer\n✓ hosts/printer/utils\n✓ fleet.json\n· utils/bento.json is as it was\n");
  expect([status, stderr]).toEqual([0, ""]);
  expect(await fleet.read("fleet.yaml")).toBe(
    `${before}\n  printer:\n    key: ${key} root@printer\n    groups:\n      - canary\n      - office\n    ssh: root@10.0.0.9\n`,
  );
  expect(await readlink(path.join(fleet.dir, "hosts/printer/utils"))).toBe("../../utils/");
  expect(JSON.parse(await fleet.read("fleet.json")).hosts.printer.key).toBe(`${key} root@printer`);
  const removed = await bentoJson<HostEditDocument>(["host", "remove", "printer"], { cwd: fleet.dir });
  expect(removed.document).toMatchObject({
    command: "host remove",
    hosts: [{ name: "printer", status: "removed" }],
    warnings: ["hosts/printer is left as it is: it is still checked, and never deployed"],
  });
  expect((await fleet.read("fleet.yaml")).trimEnd()).toBe(before);
  expect(existsSync(path.join(fleet.dir, "hosts/printer/configuration.nix"))).toBe(true);
});

test("host add without a key, or an agent, says what is still missing", async () => {
  await fleet.write("hosts/printer/configuration.nix", configuration("printer"));
  const { status, stdout } = await inFleet("host", "add", "printer");
  expect(stdout).toContain("warning: printer has no key yet, so nothing is deployed to it");
  expect(stdout).toContain("warning: hosts/printer does not seem to import ./utils/bento.nix");
  expect(status).toBe(0);
});

test("host add takes the key from a file, as it is copied from the machine", async () => {
  await fleet.write("hosts/printer/configuration.nix", configuration("printer"));
  await writeFile(path.join(world.dir, "printer.pub"), `${key} root@printer\n`);
  const { status } = await inFleet("host", "add", "printer", "--key-file", path.join(world.dir, "printer.pub"));
  expect(status).toBe(0);
  expect(JSON.parse(await fleet.read("fleet.json")).hosts.printer.key).toBe(`${key} root@printer`);
});

test("host add refuses what would be wrong, and leaves fleet.yaml as it is", async () => {
  await commented();
  const before = await fleet.read("fleet.yaml");
  await fleet.write("hosts/printer/configuration.nix", configuration("printer"));
  await fleet.write("hosts/Laser Printer/configuration.nix", configuration("printer"));
  const taken = world.hostKeys.nas?.publicKey ?? "";
  for (const [args, said] of [
    [
      ["nobody", "--key", key],
      /there is neither hosts\/nobody\/configuration\.nix nor hosts\/nobody\/flake\.nix\n→ bring the machine's configuration into the fleet first: /,
    ],
    [["router", "--key", key], /there is a host 'router' already/],
    [["printer", "--key", "AAAA"], /hosts\.printer\.key is not an ssh public key/],
    [["printer", "--key", taken], /printer and nas have the same key|nas and printer have the same key/],
    [["printer", "--key-file", "/nonexistent"], /the key can't be read from \/nonexistent \(ENOENT\)/],
    [["Laser Printer", "--key", key], /must be a host name/],
    // Not: to bring its configuration to where no host may have one.
    [["Nobody", "--key", key], /^error: hosts\.Nobody must be a host name: /],
    [["nobody", "--path", "/etc"], /^error: hosts\.nobody\.path must be a path inside the fleet, /],
    [["printer", "--group", "Ü"], /must be lower-case letters/],
  ] as const) {
    const { status, stdout, stderr } = await inFleet("host", "add", ...args);
    expect(stderr).toMatch(said);
    expect([status, stdout]).toEqual([2, ""]);
    expect(await fleet.read("fleet.yaml")).toBe(before);
  }
});

test("host remove of nobody", async () => {
  expect(await inFleet("host", "remove", "printer")).toEqual({
    status: 2,
    stdout: "",
    stderr: "error: there is no host 'printer' in fleet.yaml\n",
  });
});
