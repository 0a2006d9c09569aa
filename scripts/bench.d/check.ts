// How long a check takes: see scripts/bench.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { type Figures, HEADING, measure, row } from "./measure.ts";

const root = path.join(import.meta.dirname, "../..");
const cli = path.join(root, "dist/cli.js");
const { values } = parseArgs({
  options: { hosts: { type: "string", default: "16" }, sizes: { type: "string", default: "10,100,1000" } },
});
const count = Number(values.hosts);
const sizes = values.sizes
  .split(",")
  .filter((size) => size !== "")
  .map(Number);
const tiny = path.join(root, "scripts/demo-fleet/nixpkgs");
const nixpkgs = process.env.BENTO_TEST_NIXPKGS ?? tiny;

const scratch = mkdtempSync(path.join(tmpdir(), "bento-bench-"));
process.on("exit", () => {
  execFileSync("chmod", ["-R", "u+w", scratch]);
  rmSync(scratch, { recursive: true, force: true });
});
process.on("SIGINT", () => process.exit(130));

/** A store of its own, and nothing remembered from before. */
function environment(name: string, source: string): NodeJS.ProcessEnv {
  const dir = path.join(scratch, name);
  for (const place of ["store", "conf", "home"]) mkdirSync(path.join(dir, place), { recursive: true });
  return {
    ...process.env,
    HOME: path.join(dir, "home"),
    XDG_CACHE_HOME: path.join(dir, "cache"),
    NIX_REMOTE: "local",
    NIX_STORE_DIR: path.join(dir, "store"),
    NIX_STATE_DIR: path.join(dir, "var"),
    NIX_LOG_DIR: path.join(dir, "log"),
    NIX_CONF_DIR: path.join(dir, "conf"),
    NIX_CONFIG: "experimental-features = nix-command flakes\nsandbox = false\nbuild-users-group =\nsubstituters =",
    NIX_PATH: `nixpkgs=${source}`,
  };
}

function git(fleet: string, ...args: string[]): void {
  execFileSync("git", ["-c", "user.name=bench", "-c", "user.email=bench@example.org", ...args], { cwd: fleet });
}

/** A fleet of `size` hosts in front of `source`, of which the first `flakes` are flakes. */
function makeFleet(name: string, size: number, flakes: number, source: string, env: NodeJS.ProcessEnv): string {
  const fleet = path.join(scratch, name);
  mkdirSync(path.join(fleet, "utils"), { recursive: true });
  writeFileSync(
    path.join(fleet, "utils/common.nix"),
    "{ pkgs, ... }: { environment.systemPackages = [ pkgs.htop ]; }\n",
  );
  let lock: string | undefined;
  for (let n = 0; n < size; n++) {
    const host = path.join(fleet, "hosts", `host-${n}`);
    mkdirSync(host, { recursive: true });
    symlinkSync("../../utils/", path.join(host, "utils"));
    writeFileSync(path.join(host, "configuration.nix"), configuration(n, source));
    if (n >= flakes) continue;
    writeFileSync(path.join(host, "flake.nix"), flake(n, source));
    if (lock === undefined) {
      execFileSync("nix", ["flake", "lock", `path:${host}`], { env, stdio: ["ignore", "ignore", "pipe"] });
      lock = readFileSync(path.join(host, "flake.lock"), "utf8");
    }
    writeFileSync(path.join(host, "flake.lock"), lock);
  }
  git(fleet, "init", "-q");
  git(fleet, "add", "-A");
  git(fleet, "commit", "-q", "-m", "A fleet");
  return fleet;
}

function configuration(n: number, source: string): string {
  const real =
    source === tiny
      ? ""
      : `  boot.loader.grub.device = "/dev/sda";
  fileSystems."/" = { device = "/dev/sda1"; fsType = "ext4"; };
  services.openssh.enable = true;
  ${["services.nginx.enable = true;", "services.postgresql.enable = true;", "services.xserver.enable = true;", ""][n % 4]}
  users.users.admin = { isNormalUser = true; extraGroups = [ "wheel" ]; };
`;
  return `{ pkgs, ... }:\n{\n  imports = [ ./utils/common.nix ];\n  networking.hostName = "host-${n}";\n${real}}\n`;
}

function flake(n: number, source: string): string {
  return `{
  inputs.nixpkgs.url = "path:${source}";
  outputs = { nixpkgs, ... }: {
    nixosConfigurations.host-${n} = nixpkgs.lib.nixosSystem { system = "x86_64-linux"; modules = [ ./configuration.nix ]; };
  };
}
`;
}

/** A copy in which symlinks are what they point to. */
function copyFollowing(from: string, to: string): void {
  mkdirSync(path.dirname(to), { recursive: true });
  execFileSync("cp", ["-RL", from, to]);
}

/** What Bento's shell version and most workflows do. */
const LOOP = `for host in hosts/*; do
  if [ -e "$host/flake.nix" ]; then
    cp -RL "$host" "$TMPDIR/\${host##*/}"
    nix build --dry-run --no-write-lock-file "path:$TMPDIR/\${host##*/}#nixosConfigurations.\${host##*/}.config.system.build.toplevel"
  else
    nix-build --dry-run '<nixpkgs/nixos>' -A system -I "nixos-config=$PWD/$host/configuration.nix"
  fi || exit 1
done`;

/** Every host in one process, which is the least work and the most memory. */
function single(fleet: string): string {
  return `let hosts = builtins.attrNames (builtins.readDir ${fleet}/hosts);
    system = name: let dir = ${fleet}/hosts + "/\${name}"; copy = builtins.path { path = dir; name = "source"; }; in
      if builtins.pathExists (dir + "/flake.nix")
      then (builtins.getFlake "path:\${fleet}/staged/\${name}").nixosConfigurations.\${name}.config.system.build.toplevel.drvPath
      else (import <nixpkgs/nixos> { configuration = dir + "/configuration.nix"; }).config.system.build.toplevel.drvPath;
    fleet = "${fleet}";
  in map system hosts`;
}

function must(figures: Figures, what: string): Figures {
  if (figures.status === 0) return figures;
  throw new Error(`${what} failed: ${figures.stdout.slice(-1000)}`);
}

const flakes = Math.floor(count / 2);
console.log(
  `${count} hosts, ${flakes} of them flakes, of ${nixpkgs === tiny ? "the tiny nixpkgs" : "a real nixpkgs"}, nothing remembered:\n`,
);
console.log(HEADING);

// Each has a store of its own, in which the sources of nixpkgs are already, as on any runner but the first.
const loopEnv = { ...environment("loop", nixpkgs), TMPDIR: mkdtempSync(path.join(scratch, "tmp-")) };
const fleet = makeFleet("fleet", count, flakes, nixpkgs, loopEnv);
const warm = async (env: NodeJS.ProcessEnv) => {
  const other = path.join(scratch, "other");
  copyFollowing(path.join(fleet, "hosts/host-0"), other);
  await measure(
    "nix",
    [
      "eval",
      "--no-write-lock-file",
      `path:${other}#nixosConfigurations`,
      "--apply",
      "x: x.host-0.config.networking.hostName",
    ],
    { env },
  );
  rmSync(other, { recursive: true });
  rmSync(path.join(env.XDG_CACHE_HOME ?? "", "bento"), { recursive: true, force: true });
};
await warm(loopEnv);
const loop = must(await measure("bash", ["-c", LOOP], { cwd: fleet, env: loopEnv }), "the loop");
console.log(row("a loop of dry builds", loop));

const singleEnv = environment("single", nixpkgs);
await warm(singleEnv);
for (let n = 0; n < flakes; n++) {
  copyFollowing(path.join(fleet, `hosts/host-${n}`), path.join(fleet, `staged/host-${n}`));
}
const one = must(
  await measure("nix-instantiate", ["--eval", "--strict", "--json", "--read-write-mode", "--expr", single(fleet)], {
    env: singleEnv,
  }),
  "the single process",
);
rmSync(path.join(fleet, "staged"), { recursive: true, force: true });
console.log(row("one process for all, no plan", one, loop));

const bentoEnv = environment("bento", nixpkgs);
await warm(bentoEnv);
const check = ["check", "--json", "--fleet"];
const cold = must(await measure(process.execPath, [cli, ...check, fleet], { env: bentoEnv }), "bento check");
console.log(row("bento check", cold, loop));

if (count > 2) {
  writeFileSync(path.join(fleet, "hosts/host-1/configuration.nix"), "{ networking.hostName = nmae; }\n");
  const brokenEnv = environment("broken", nixpkgs);
  await warm(brokenEnv);
  const broken = await measure(process.execPath, [cli, ...check, fleet], { env: brokenEnv });
  console.log(row("bento check, one host broken", broken, loop));
}

console.log("\nEverything remembered, of the tiny nixpkgs:\n");
console.log(HEADING);
for (const size of sizes) {
  const env = environment(`size-${size}`, tiny);
  const large = makeFleet(`fleet-${size}`, size, size, tiny, env);
  must(await measure(process.execPath, [cli, ...check, large], { env }), "the first check");
  const again = must(await measure(process.execPath, [cli, ...check, large], { env }), "the second check");
  console.log(row(`bento check, ${size} hosts`, again));
}
